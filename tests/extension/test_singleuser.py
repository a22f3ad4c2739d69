"""`gpubox-singleuser`: which server it starts, and what it does when the imports are not as it knows them.

A package in the place of JupyterHub tells what it was started with; the real one is tested in the image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXTENSION = Path(__file__).parents[2] / "extension"
TELL = """
import gc, json, os, sys
def main():
    modules = {name: type(module).__name__ for name, module in sys.modules.items()}
    json.dump({"arguments": sys.argv[1:], "stock": os.environ.get("GPUBOX_STOCK_SINGLEUSER", ""),
               "orm": type(orm).__name__, "left": [n for n, kind in modules.items() if kind == "StandIn"],
               "collecting garbage": gc.isenabled()}, sys.stdout)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The single-user server's module of a JupyterHub; a test writes its head."""
    package = tmp_path / "jupyterhub"
    (package / "singleuser").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "orm.py").write_text("import time\nUser = 'the real one'\n")
    server = package / "singleuser" / "__init__.py"
    server.write_text("from jupyterhub import orm\n" + TELL)
    return server


def start(hub: Path, *arguments: str, **environment: str) -> tuple[dict[str, object], str]:
    """What the server was started with, and what stands in its log."""
    ran = subprocess.run(
        [sys.executable, "-c", "from jupyterlab_gpubox.singleuser import main; main()", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{hub.parents[2]}:{EXTENSION}"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), ran.stderr


def test_the_server_starts_with_stand_ins_and_its_arguments(hub: Path) -> None:
    told, log = start(hub, "--debug", "--ServerApp.root_dir=/tmp")
    assert told == {
        "arguments": ["--debug", "--ServerApp.root_dir=/tmp"],
        "stock": "",
        "orm": "StandIn",
        "left": [],
        "collecting garbage": True,
    }
    assert log == ""


def test_one_setting_starts_it_without(hub: Path) -> None:
    told, log = start(hub, "--debug", GPUBOX_STOCK_SINGLEUSER="1")
    assert (told["orm"], told["arguments"], told["collecting garbage"]) == ("module", ["--debug"], True)
    assert log == ""


def test_a_server_that_needs_the_real_module_at_once_gets_it(hub: Path) -> None:
    hub.write_text("from jupyterhub import orm\nassert orm.User == 'the real one'\n" + TELL)
    told, log = start(hub)
    assert told["stock"] == ""
    assert log == ""


def test_a_server_that_cannot_be_imported_with_stand_ins_starts_without(hub: Path) -> None:
    hub.write_text("from jupyterhub import orm\nassert orm.__file__\n" + TELL)
    told, log = start(hub, "--debug")
    assert (told["stock"], told["orm"], told["arguments"]) == ("1", "module", ["--debug"])
    assert "starting again with GPUBOX_STOCK_SINGLEUSER=1" in log


def test_a_server_that_cannot_be_imported_at_all_says_why(hub: Path) -> None:
    hub.write_text("import no_such_module\n")
    with pytest.raises(AssertionError, match="No module named 'no_such_module'"):
        start(hub)
