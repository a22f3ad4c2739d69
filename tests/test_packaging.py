"""The distribution: what is in the wheel, and that all its versions agree."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import gpubox
from fixtures.parts import is_missing

REPOSITORY = Path(__file__).parents[1]
PANEL = REPOSITORY / "extension/jupyterlab_gpubox/labextension"
PAGES = REPOSITORY / "extension/jupyterlab_gpubox/desktop/static"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what git would give: build leftovers must not be needed."""
    source = tmp_path_factory.mktemp("source")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listing.split("\0")):
        if not (REPOSITORY / name).is_file():
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((REPOSITORY / name).read_bytes())
    # But for the panel and the pages, which take a minute: as `make` built them, if it did.
    for built in filter(Path.is_dir, (PANEL, PAGES)):
        shutil.copytree(built, source / built.relative_to(REPOSITORY))
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source],
        check=True,
        capture_output=True,
        env={**os.environ, "GPUBOX_PANEL": "as-is"},
    )
    (file,) = target.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.mark.parametrize("root", ["spawner/gpubox", "extension/jupyterlab_gpubox"])
def test_everything_in_the_packages_is_in_the_wheel(wheel, root):
    package = Path(root).name
    folder = REPOSITORY / root
    there = {
        f"{package}/{file.relative_to(folder)}"
        for file in folder.rglob("*")
        if file.is_file() and not {"__pycache__", "labextension"} & set(file.parts)
    }
    assert there - set(wheel.namelist()) == set()


def test_pages_and_migrations_are_in_the_wheel(wheel):
    names = wheel.namelist()
    assert any(name.startswith("gpubox/templates/") for name in names)
    assert any(name.startswith("gpubox/migrations/versions/") for name in names)


def test_nothing_else_is_in_the_wheel(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {
        "gpubox",
        "jupyterlab_gpubox",
        f"gpubox-{gpubox.__version__}.data",
        f"gpubox-{gpubox.__version__}.dist-info",
    }
    assert not any("test" in name for name in wheel.namelist())


def test_the_config_that_run_takes_is_shipped(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/jupyterhub_config.py")]
    assert name.endswith("data/share/gpubox/jupyterhub_config.py")
    assert wheel.read(name) == (REPOSITORY / "jupyterhub_config.py").read_bytes()


def test_jupyter_finds_both_halves_of_the_panel(wheel):
    data = f"gpubox-{gpubox.__version__}.data/data"
    enabled = json.loads(wheel.read(f"{data}/etc/jupyter/jupyter_server_config.d/jupyterlab_gpubox.json"))
    assert enabled == {"ServerApp": {"jpserver_extensions": {"jupyterlab_gpubox": True}}}
    if not PANEL.is_dir():
        is_missing("the panel is not built (make .venv/.panel)")
    place = f"{data}/share/jupyter/labextensions/@gpubox/jupyterlab-gpubox"
    assert json.loads(wheel.read(f"{place}/install.json"))["packageName"] == "gpubox"
    built = json.loads(wheel.read(f"{place}/package.json"))["jupyterlab"]["_build"]
    assert f"{place}/{built['load']}" in wheel.namelist()
    assert f"{place}/schemas/@gpubox/jupyterlab-gpubox/plugin.json" in wheel.namelist()
    there = {str(file.relative_to(PANEL)) for file in PANEL.rglob("*") if file.is_file()}
    assert there == {
        name.removeprefix(f"{place}/") for name in wheel.namelist() if name.startswith(f"{place}/")
    } - {"install.json"}


def test_the_pages_name_files_that_are_there(wheel):
    if not PAGES.is_dir():
        is_missing("the pages are not built (make .venv/.panel)")
    for page in ("desktop", "terminal"):
        html = wheel.read(f"jupyterlab_gpubox/desktop/static/{page}.html").decode()
        named = re.findall(r'(?:src|href)="(?:\.\./)?desktop/static/([^"]+)"', html)
        assert len(named) == 2
        assert {f"jupyterlab_gpubox/desktop/static/{name}" for name in named} <= set(wheel.namelist())


def test_versions_agree(wheel):
    (metadata,) = [name for name in wheel.namelist() if name.endswith("dist-info/METADATA")]
    assert f"\nVersion: {gpubox.__version__}\n" in wheel.read(metadata).decode()
    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == gpubox.__version__
    panel = json.loads((REPOSITORY / "extension/package.json").read_text())
    assert panel["version"] == gpubox.__version__


@pytest.mark.parametrize("name", ["gpubox", "gpubox-docker", "gpubox-process"])
def test_jupyterhub_finds_the_spawner_by_name(name):
    (found,) = entry_points(group="jupyterhub.spawners", name=name)
    assert issubclass(found.load(), gpubox_spawner())


def gpubox_spawner():
    from gpubox.spawner import GPUSpawner

    return GPUSpawner


@pytest.mark.parametrize("name", ["gpubox", "gpubox-singleuser"])
def test_commands_are_installed(name):
    (found,) = entry_points(group="console_scripts", name=name)
    assert callable(found.load())


def test_locks_name_no_place_to_fetch_from():
    for lock in [*REPOSITORY.glob("*/locks/*.lock"), *REPOSITORY.glob("*/locks/*/package-lock.json")]:
        text = lock.read_text()
        assert "--index-url" not in text and "--find-links" not in text
        assert '"resolved"' not in text
    assert "http" not in (REPOSITORY / "extension/yarn.lock").read_text()


def test_every_locked_package_has_a_hash():
    for lock in REPOSITORY.glob("*/locks/*.lock"):
        pins = re.findall(r"^[a-z0-9][\w.-]*(?:\[[\w,]+\])?==.*", lock.read_text(), re.MULTILINE)
        assert pins
        assert all(pin.endswith("\\") for pin in pins), lock  # the hashes follow


def test_what_is_tested_is_what_is_run():
    def pins(name):
        text = (REPOSITORY / "spawner/locks" / name).read_text()
        return dict(re.findall(r"^([a-z0-9][\w.-]*)(?:\[[\w,]+\])?==(\S+)", text, re.MULTILINE))

    run, test = pins("run.lock"), pins("test.lock")
    assert run.items() <= test.items()
