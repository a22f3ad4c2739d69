"""A real Jupyter server says which processes are its kernels and terminals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import psutil
import pytest
from jupyter_server.serverapp import ServerApp

from jupyterlab_gpubox.jupyter_processes import known_processes
from jupyterlab_gpubox.owners import Owners
from jupyterlab_gpubox.procfs import Procfs
from jupyterlab_gpubox.records import Owner, Use

CHILD = "import subprocess; child = subprocess.Popen(['sleep', '600'])"


class OnTheHost(Procfs):
    """Pids are as they seem, wherever the tests run."""

    def is_of_the_host(self) -> bool:
        return True


@pytest.fixture
def make_server(tmp_path, monkeypatch) -> Callable[..., ServerApp]:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))

    def make(*options: str) -> ServerApp:
        server = ServerApp()
        arguments = ["--port=0", "--no-browser", "--allow-root", f"--ServerApp.root_dir={tmp_path}"]
        server.initialize([*arguments, *options], new_httpserver=False)
        return server

    return make


@pytest.fixture
async def server(make_server) -> AsyncIterator[ServerApp]:
    server = make_server()
    yield server
    await server.kernel_manager.shutdown_all(now=True)
    await server.web_app.settings["terminal_manager"].terminate_all()
    ServerApp.clear_instance()


async def start(server: ServerApp, path: str, type: str = "notebook") -> dict[str, Any]:
    name = path.rpartition("/")[2]
    return await server.session_manager.create_session(path=path, name=name, type=type, kernel_name="python3")


def pid_of(server: ServerApp, session: dict[str, Any]) -> int:
    return server.kernel_manager.get_kernel(session["kernel"]["id"]).provisioner.pid


async def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")


async def test_a_kernel_is_its_notebook_and_so_is_the_process_that_it_starts(server):
    session = await start(server, "lab/train.ipynb")
    pid = pid_of(server, session)
    client = server.kernel_manager.get_kernel(session["kernel"]["id"]).client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        client.execute(CHILD)
        process = psutil.Process(pid)
        (child,) = await until(
            lambda: [one for one in process.children() if one.name() == "sleep"], "the kernel has a child"
        )
    finally:
        client.stop_channels()

    known = await known_processes(server)
    told = await asyncio.to_thread(
        Owners(lambda: known, proc=OnTheHost()).processes,
        [Use("GPU-a", pid, 5), Use("GPU-a", child.pid, 6)],
        [],
    )

    owner = Owner("kernel", session["kernel"]["id"], "train.ipynb", "lab/train.ipynb")
    assert known == {pid: owner}
    assert [(one.pid, one.owner) for one in told.processes] == [(pid, owner), (child.pid, owner)]
    child.kill()


async def test_a_terminal_is_known_by_its_name(server):
    terminal = server.web_app.settings["terminal_manager"]
    name = terminal.create()["name"]

    known = await known_processes(server)

    assert known == {terminal.terminals[name].ptyproc.pid: Owner("terminal", name, f"Terminal {name}")}


async def test_a_notebook_that_was_renamed_has_its_new_name(server):
    session = await start(server, "old.ipynb")
    await server.session_manager.update_session(session["id"], path="lab/new.ipynb")

    (owner,) = (await known_processes(server)).values()

    assert (owner.name, owner.path) == ("new.ipynb", "lab/new.ipynb")


async def test_two_notebooks_and_a_console_on_one_kernel_are_the_two_notebooks(server):
    session = await start(server, "b.ipynb")
    for path, kind in (("a.ipynb", "notebook"), ("console-1", "console")):
        await server.session_manager.save_session(
            f"another-{path}", path=path, name="Console 1", type=kind, kernel_id=session["kernel"]["id"]
        )

    known = await known_processes(server)

    assert [(owner.name, owner.path) for owner in known.values()] == [("a.ipynb, b.ipynb", "a.ipynb")]


async def test_a_console_has_its_own_name(server):
    session = await start(server, "lab/console-1-ab12", "console")
    await server.session_manager.update_session(session["id"], name="Console 1")

    (owner,) = (await known_processes(server)).values()

    assert (owner.name, owner.path) == ("Console 1", "lab/console-1-ab12")


async def test_a_kernel_without_a_notebook_has_its_kernels_name(server):
    kernel_id = await server.kernel_manager.start_kernel(kernel_name="python3")

    (owner,) = (await known_processes(server)).values()

    assert owner == Owner("kernel", kernel_id, "python3", "")


async def test_a_kernel_of_another_machine_is_left_out(server, monkeypatch):
    """Its pid means nothing here, where some process may have the same."""
    session = await start(server, "train.ipynb")
    kernel = server.kernel_manager.get_kernel(session["kernel"]["id"])
    local = kernel.provisioner

    kernel.provisioner = type("Remote", (), {"pid": local.pid})()
    try:
        assert await known_processes(server) == {}
        kernel.provisioner = None  # about to start
        assert await known_processes(server) == {}
    finally:
        kernel.provisioner = local


async def test_a_kernel_that_was_shut_down_is_gone(server):
    session = await start(server, "train.ipynb")
    await server.session_manager.delete_session(session["id"])
    assert await known_processes(server) == {}


async def test_a_server_without_terminals_knows_its_kernels(make_server):
    server = make_server("--ServerApp.terminals_enabled=False")
    try:
        session = await start(server, "train.ipynb")
        assert list(await known_processes(server)) == [pid_of(server, session)]
    finally:
        await server.kernel_manager.shutdown_all(now=True)
        ServerApp.clear_instance()
