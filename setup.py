"""The one distribution, `gpubox`: the hub's side (spawner/) and the box's side (extension/).

The tools' settings are in pyproject.toml; exact versions in spawner/locks/. The GPU panel and the pages,
which are TypeScript, are built on the way into a wheel where that was not done yet.
"""

import os
import re
import subprocess
from pathlib import Path
from shutil import which

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "spawner/gpubox/__init__.py").read_text())[1]

EXTENSION = Path("extension")
PANEL = EXTENSION / "jupyterlab_gpubox/labextension"
PAGES = EXTENSION / "jupyterlab_gpubox/desktop/static"
PANEL_IN_JUPYTER = Path("share/jupyter/labextensions/@gpubox/jupyterlab-gpubox")


def panel_sources():
    """All that the panel and the pages are made of."""
    names = ("package.json", "yarn.lock", ".yarnrc.yml", "tsconfig.json", "install.json")
    trees = (file for name in ("src", "pages", "style", "schema") for file in (EXTENSION / name).rglob("*"))
    return [*(EXTENSION / name for name in names), *(file for file in trees if file.is_file())]


def panel_files():
    """The built panel's files; none where it is not built."""
    return sorted(file for file in PANEL.rglob("*") if file.is_file())


def panel_places():
    """The folders below the environment's with the panel's files that belong there."""
    places = {}
    for file in panel_files():
        folder = PANEL_IN_JUPYTER / file.parent.relative_to(PANEL)
        places.setdefault(str(folder), []).append(str(file))
    if places:
        places[str(PANEL_IN_JUPYTER)].append(str(EXTENSION / "install.json"))
    return places


def build_panel(say):
    """Build the panel if it is missing or older than its sources, and the tools for it are there."""
    # What a build writes last.
    built = PANEL / "package.json"
    is_there = built.exists() and PAGES.is_dir()
    if is_there and built.stat().st_mtime >= max(file.stat().st_mtime for file in panel_sources()):
        return
    if os.environ.get("GPUBOX_PANEL") == "as-is" or not (which("jlpm") and which("node")):
        state = "is older than its sources" if is_there else "is not built, and left out"
        say(f"The GPU panel {state}: that takes node and jlpm, both of which `make .venv/.panel` brings.")
        return
    for step in (["install", "--immutable"], ["build"]):
        subprocess.run(["jlpm", *step], cwd=EXTENSION, check=True)


class BuildPy(build_py):
    """Puts the panel into a wheel where JupyterLab looks for it; for an editable install `make` links it."""

    def run(self):
        if not self.editable_mode:
            build_panel(self.warn)
            self.distribution.data_files += panel_places().items()
        super().run()


class Sdist(sdist):
    """With the panel built, so that the wheel made of it asks for no node, and its sources."""

    def run(self):
        build_panel(self.warn)
        super().run()

    def make_release_tree(self, base_dir, files):
        panel = [str(file) for file in [*panel_sources(), *panel_files(), *PAGES.glob("*")]]
        super().make_release_tree(base_dir, [*files, *panel])


setup(
    name="gpubox",
    version=VERSION,
    description="ML-in-a-box for your own GPU machines: pick a GPU in the browser, work on it",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    author="the gpubox authors",
    keywords=["jupyterhub", "jupyterlab", "gpu", "nvidia", "docker", "machine learning"],
    classifiers=[
        "Environment :: GPU :: NVIDIA CUDA",
        "Framework :: Jupyter",
        "Intended Audience :: Science/Research",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.11",
    package_dir={"gpubox": "spawner/gpubox", "jupyterlab_gpubox": "extension/jupyterlab_gpubox"},
    packages=[*find_packages("spawner"), *find_packages("extension")],
    package_data={
        "gpubox": [
            "py.typed",
            "templates/**/*",
            "service/*.json",
            "service/static/**/*",
            "service/templates/**/*",
            "migrations/*",
            "migrations/versions/*.py",
        ],
        "jupyterlab_gpubox": ["*.json", "desktop/static/*"],
    },
    cmdclass={"build_py": BuildPy, "sdist": Sdist},
    data_files=[
        # The config that `gpubox run` takes where the directory has none of its own.
        ("share/gpubox", ["jupyterhub_config.py"]),
        # Jupyter servers load the server's half of the panel.
        ("etc/jupyter/jupyter_server_config.d", ["extension/jupyter-config/jupyterlab_gpubox.json"]),
    ],
    install_requires=["nvidia-ml-py>=12.575"],
    extras_require={
        "hub": [
            "alembic>=1.13",
            "aiohttp>=3.9",
            # The SSH gateway goes past its public names in places: gpubox/ssh/relay.py says which.
            "asyncssh>=2.24,<2.25",
            "docker>=7.2",
            "dockerspawner>=14",
            "jinja2>=3.1",
            "jupyterhub>=6.1,<7",
            "jupyterhub-idle-culler>=2",
            "prometheus_client>=0.20",
            "psutil>=5.9",
            "PyYAML>=6",
            "requests>=2.31",
            "SQLAlchemy>=2.0.42",
            "traitlets>=5.14",
        ],
        # Servers as processes of this machine: the single-user server beside the hub.
        "process": ["jupyterhub>=6.1,<7", "jupyterlab>=4.4"],
        # Servers as virtual machines. It is compiled here, with libvirt-dev, pkg-config and gcc.
        "vm": ["libvirt-python>=9"],
        "postgres": ["psycopg[binary]>=3.2"],
        "test": [
            "build",
            "hypothesis",
            "jsonschema",
            "mypy",
            "nvitop",
            "playwright",
            "pytest",
            "pytest-asyncio",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "schemathesis",
            "types-docker",
            "types-psutil",
            "types-requests",
            "websocket-client",
        ],
    },
    entry_points={
        "console_scripts": [
            "gpubox = gpubox.cli:main",
            "gpubox-singleuser = jupyterlab_gpubox.singleuser:main",
        ],
        "jupyterhub.spawners": [
            "gpubox = gpubox.engines.docker:DockerGPUSpawner",
            "gpubox-docker = gpubox.engines.docker:DockerGPUSpawner",
            "gpubox-libvirt = gpubox.engines.libvirt:LibvirtGPUSpawner",
            "gpubox-process = gpubox.engines.process:ProcessGPUSpawner",
        ],
    },
    # Not beside README.md: the top of the tree holds only what people read.
    options={"egg_info": {"egg_base": "spawner"}},
    zip_safe=False,
)
