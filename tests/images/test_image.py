"""The cpu image: what a person finds in it, with no network, as the unprivileged user."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import docker
import pytest

from gpubox.host.image import ca_bundle

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s+-----END")

TRAIN = """
import torch
torch.manual_seed(0)
x = torch.linspace(-1, 1, 64).unsqueeze(1)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, 3 * x + 1), batch_size=16, num_workers=2)
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
losses = []
for epoch in range(30):
    for inputs, targets in data:
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    losses.append(loss.item())
assert losses[-1] < losses[0] / 100, losses
print("trained")
"""
EXCHANGE = """
import numpy, torch
array = numpy.arange(6.0).reshape(2, 3)
tensor = torch.from_numpy(array)
tensor += 1
assert array.sum() == 21 and (tensor @ tensor.T).numpy().shape == (2, 2)
print("exchanged")
"""
DRAW = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 3, 2], label="loss")
axes.legend()
figure.savefig("plot.png")
print(open("plot.png", "rb").read(8) == b"\\x89PNG\\r\\n\\x1a\\n", plt.imread("plot.png").std() > 0)
"""


def in_box(image: str, *command: str, options: tuple[str, ...] = ("--init", "--network=none")) -> str:
    """What a command prints in a new container."""
    ran = subprocess.run(
        ["docker", "run", "--rm", *options, image, *command], capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.strip()


def test_a_model_trains_with_data_loader_workers_and_no_network(image: str) -> None:
    options = ("--init", "--network=none", "--shm-size=256m")
    assert in_box(image, "python", "-c", TRAIN, options=options) == "trained"


def test_torch_and_numpy_share_memory(image: str) -> None:
    assert in_box(image, "python", "-c", EXCHANGE) == "exchanged"


def test_matplotlib_draws(image: str) -> None:
    assert in_box(image, "python", "-c", DRAW) == "True True"


def test_a_notebook_runs_in_the_kernel(image: str) -> None:
    run = (
        "import nbformat, nbclient\n"
        "cells = [nbformat.v4.new_code_cell('import torch; torch.arange(4).sum().item()')]\n"
        "notebook = nbclient.execute(nbformat.v4.new_notebook(cells=cells))\n"
        "print(notebook.cells[0].outputs[0].data['text/plain'])"
    )
    assert in_box(image, "python", "-c", run) == "6"


def test_versions_are_those_promised(image: str) -> None:
    told = in_box(
        image,
        "python",
        "-c",
        "import sys, importlib.metadata as m\n"
        "print(*sys.version_info[:2], *(m.version(n) for n in ('jupyterhub', 'jupyterlab', 'torch')))",
    ).split()
    assert told[:2] == ["3", "13"]
    assert [re.match(r"\d+\.\d+", version)[0] for version in told[2:]] == ["6.1", "4.6", "2.6"]  # type: ignore[index]


def test_nvidia_ml_py_waits_for_a_driver_from_the_host(image: str) -> None:
    ask = "import pynvml\ntry: pynvml.nvmlInit()\nexcept pynvml.NVMLError_LibraryNotFound: print('no driver')"
    assert in_box(image, "python", "-c", ask) == "no driver"


def test_the_user_is_not_root_and_changes_nothing_of_the_image(image: str) -> None:
    assert in_box(image, "id", "-u", "-n") == "jovyan"
    assert in_box(image, "id", "-u") == "1000"
    assert in_box(image, "id", "-g") == "100"
    # sudo is there for machines in which people may become root; here it is no set-uid program.
    assert in_box(image, "sh", "-c", "sudo -n id -u 2>/dev/null || echo refused") == "refused"
    programs = "find / -xdev -type f -perm /6000 2>/dev/null || true"
    assert in_box(image, "sh", "-c", programs) == ""
    find = "find / -xdev -writable -not -type l -not -path '/home/jovyan*' 2>/dev/null || true"
    found = in_box(image, "sh", "-c", find).split()
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock", "/var/lock"}


def test_packages_a_user_installs_go_home_and_hide_none_of_the_image(image: str, tmp_path: Path) -> None:
    for name, version, content in (("greeting", "1.0", "word = 'hello'"), ("numpy", "99.0", "")):
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        with zipfile.ZipFile(tmp_path / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", content)
            wheel.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
            wheel.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}-{version}.dist-info/RECORD", "")
    script = (
        "pip install -q --no-index /wheels/greeting-1.0-py3-none-any.whl 2>&1 &&"
        " pip install -q --no-index --user /wheels/numpy-99.0-py3-none-any.whl >/dev/null 2>&1;"
        " cd /tmp && python -c 'import greeting, numpy as np;"
        " print(greeting.word, greeting.__file__, np.__version__)'"
    )
    volume = ("--init", "--network=none", "-v", f"{tmp_path}:/wheels:ro")
    tmp_path.chmod(0o755)
    word, file, numpy_version = in_box(image, "sh", "-c", script, options=volume).split()[-3:]
    assert word == "hello"
    assert file.startswith("/home/jovyan/.local/")
    assert not numpy_version.startswith("99")


@pytest.mark.parametrize(("options", "init"), [(("--init",), "docker-init"), ((), "tini")])
def test_one_init_reaps_zombies_whether_the_engine_brings_it_or_not(
    image: str, options: tuple[str, ...], init: str
) -> None:
    processes = in_box(image, "ps", "-e", "-o", "pid=,comm=", options=("--network=none", *options))
    inits = [line.split() for line in processes.splitlines() if "init" in line or "tini" in line]
    assert inits == [["1", init]]


def test_a_login_shell_finds_the_boxs_python_first(image: str) -> None:
    assert in_box(image, "bash", "-l", "-c", "command -v python pip gpubox-singleuser").split() == [
        "/opt/ml/bin/python",
        "/opt/ml/bin/pip",
        "/opt/ml/bin/gpubox-singleuser",
    ]
    assert in_box(image, "python", "-c", "import sys; print(sys.stdout.encoding, 'ä')") == "utf-8 ä"


# --- what must not be in it ------------------------------------------------------------------------


def test_the_image_says_what_it_is_and_sets_no_secret(image: str, docker_client: docker.DockerClient) -> None:
    config = docker_client.images.get(image).attrs["Config"]
    names = {setting.partition("=")[0] for setting in config["Env"]}
    assert names == {"PATH", "LANG", "SHELL", "TF_CPP_MIN_LOG_LEVEL", "OMP_WAIT_POLICY"}
    assert config["User"] == "jovyan"
    assert config["Cmd"] == ["gpubox-singleuser"]
    assert config["Labels"]["gpubox.image.version"] == config["Labels"]["org.opencontainers.image.version"]
    history = json.dumps(docker_client.images.get(image).history())
    assert "CERTIFICATE" not in history
    assert not re.search(r"(token|password|secret)=[^,\s]", history, re.IGNORECASE)


def test_no_layer_holds_a_certificate_of_the_machine_that_built_it(image: str) -> None:
    bundle = ca_bundle(os.environ) or "/etc/ssl/certs/ca-certificates.crt"
    here = certificates(Path(bundle).read_bytes())
    public, found = set(), {}
    for path, content in files_of_all_layers(image):
        assert "run/secrets" not in path
        if "usr/share/ca-certificates/" in path:  # as Debian's package has them, now or before an upgrade
            public |= certificates(content)
        else:
            found.update(dict.fromkeys(here & certificates(content), path))
    assert public
    assert not {path for certificate, path in found.items() if certificate not in public}


def certificates(content: bytes) -> set[bytes]:
    """The certificates in a file, without their line ends."""
    return {b"".join(pem.split()) for pem in PEM.findall(content)}


def files_of_all_layers(image: str) -> Iterator[tuple[str, bytes]]:
    """Every file of at most 8 MB in every layer; larger ones are libraries and hold no bundle."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        with tarfile.open(fileobj=saving.stdout, mode="r|") as archive:
            for part in archive:
                if part.isfile():
                    yield from _files(archive.extractfile(part))
    assert saving.returncode == 0


def _files(layer: IO[bytes] | None) -> Iterator[tuple[str, bytes]]:
    try:
        files = tarfile.open(fileobj=layer, mode="r|")  # noqa: SIM115  # closed below
    except tarfile.ReadError:
        return  # what describes the image
    with files:
        for file in files:
            if file.isfile() and file.size <= 8 << 20:
                yield file.name, files.extractfile(file).read()  # type: ignore[union-attr]


def test_the_locks_name_no_place_that_packages_come_from() -> None:
    for lock in (Path(__file__).parents[2] / "images" / "locks").glob("*.lock"):
        text = lock.read_text()
        assert not re.search(r"://|--(extra-)?index|--find-links", text), lock.name
        requirements = re.findall(r"^[\w.-]+==.*?(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
        assert requirements
        assert all("--hash=sha256:" in requirement for requirement in requirements), lock.name
