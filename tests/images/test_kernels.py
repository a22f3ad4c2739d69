"""The kernels: they start, are interrupted and shut down, and what is installed from a notebook stays."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest

SESSION = """
import json, os, sys, time
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import start_new_kernel

def execute(client, code):
    "The texts that a cell prints, and the name of the error that ended it."
    printed, error = [], None
    client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=60)
        content = message["content"]
        if message["msg_type"] == "stream":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            error = content["ename"]
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            return "".join(printed).strip(), error

told = {}
for name, spec in KernelSpecManager().get_all_specs().items():
    manager, client = start_new_kernel(kernel_name=name, startup_timeout=60)
    pid = int(execute(client, "import os; print(os.getpid())")[0])
    client.execute("import time\\nprint('asleep', flush=True)\\ntime.sleep(600)")
    while client.get_iopub_msg(timeout=60)["content"].get("text") != "asleep\\n":
        pass
    manager.interrupt_kernel()
    ended = ""
    while ended != "idle":
        content = client.get_iopub_msg(timeout=60)["content"]
        error = content.get("ename", None) or locals().get("error")
        ended = content.get("execution_state", "")
    after = execute(client, "print(6 * 7)")
    client.stop_channels()
    manager.shutdown_kernel()
    told[name] = {
        "title": spec["spec"]["display_name"],
        "interrupted by": error,
        "after": after,
        "gone": not os.path.exists(f"/proc/{pid}"),
    }
print(json.dumps(told))
"""
INSTALL = """
import nbformat, nbclient, sys
cells = [nbformat.v4.new_code_cell(code) for code in sys.argv[1:]]
notebook = nbclient.execute(nbformat.v4.new_notebook(cells=cells))
print(notebook.cells[-1].outputs[0].text.strip())
"""


def in_box(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """What a command prints in a new container that has no network."""
    box = ("docker", "run", "--rm", "--network=none", *options, image)
    ran = subprocess.run([*box, *command], capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def kernels(image: str) -> Any:
    """What became of each kernel in a session of starting, interrupting and shutting down."""
    return json.loads(in_box(image, "python", "-c", SESSION).splitlines()[-1])


def test_the_cpu_image_has_one_kernel_with_a_name_for_people(kernels: Any) -> None:
    assert [kernel["title"] for kernel in kernels.values()] == ["Python (ML)"]


def test_a_cell_is_interrupted_and_the_kernel_goes_on(kernels: Any) -> None:
    for kernel in kernels.values():
        assert kernel["interrupted by"] == "KeyboardInterrupt"
        assert kernel["after"] == ["42", None]


def test_a_kernel_that_is_shut_down_is_gone(kernels: Any) -> None:
    assert all(kernel["gone"] for kernel in kernels.values())


@pytest.fixture
def volume(docker_client: docker.DockerClient) -> Iterator[str]:
    """A new volume, for a home."""
    name = f"gpubox-test-{uuid4().hex[:12]}"
    docker_client.volumes.create(name)
    yield name
    docker_client.volumes.get(name).remove(force=True)


def test_what_a_notebook_installs_is_there_in_the_next_container(
    image: str, volume: str, tmp_path: Path
) -> None:
    metadata = "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"
    with zipfile.ZipFile(tmp_path / "greeting-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("greeting.py", "word = 'hello'")
        wheel.writestr("greeting-1.0.dist-info/METADATA", metadata)
        wheel.writestr("greeting-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("greeting-1.0.dist-info/RECORD", "")
    tmp_path.chmod(0o755)
    options = (f"--volume={volume}:/home/jovyan", f"--volume={tmp_path}:/wheels:ro")
    install = "%pip install -q --no-index --find-links /wheels greeting"
    use = "import greeting; print(greeting.word)"
    assert in_box(image, "python", "-c", INSTALL, install, use, options=options) == "hello"
    assert in_box(image, "python", "-c", INSTALL, use, options=options[:1]) == "hello"


def test_pip_refuses_what_would_lie_unused_behind_a_framework_of_the_image(
    image: str, tmp_path: Path
) -> None:
    metadata = "Metadata-Version: 2.1\nName: numpy\nVersion: 99.0\n"
    with zipfile.ZipFile(tmp_path / "numpy-99.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("numpy/__init__.py", "")
        wheel.writestr("numpy-99.0.dist-info/METADATA", metadata)
        wheel.writestr("numpy-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("numpy-99.0.dist-info/RECORD", "")
    tmp_path.chmod(0o755)
    options = (f"--volume={tmp_path}:/wheels:ro",)
    install = "pip install --no-index --find-links /wheels numpy==99.0 2>&1 || true"
    assert "The user requested (constraint) numpy==" in in_box(image, "sh", "-c", install, options=options)
    own = (
        "python -m venv --without-pip /tmp/own"
        " && pip -q --python /tmp/own/bin/python install --no-index --find-links /wheels numpy==99.0"
        " && /tmp/own/bin/python -c 'import numpy; print(numpy.__file__)'"
    )
    assert in_box(image, "sh", "-c", own, options=options).startswith("/tmp/own/")


def test_every_package_has_what_it_asks_for(image: str) -> None:
    """Else pip refuses whatever depends on one that has not."""
    assert in_box(image, "pip", "check") == "No broken requirements found."
