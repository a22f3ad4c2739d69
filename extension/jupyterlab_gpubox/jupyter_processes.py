"""Which processes are kernels and terminals of this Jupyter server, and what people call them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from .records import Owner


async def known_processes(server: Any) -> dict[int, Owner]:
    """The owners by pid, of a running `jupyter_server.serverapp.ServerApp`. For its event loop; never blocks.

    A kernel with no process of this machine (a gateway's, a remote provisioner's) is left out.
    """
    kernels = dict(_kernels(server.kernel_manager))
    owners = dict(_terminals(server))
    if kernels:  # with a gateway, the sessions would be asked for over the network
        sessions = await server.session_manager.list_sessions()
        owners |= {pid: _owner(*kernel, sessions) for pid, kernel in kernels.items()}
    return owners


def _kernels(manager: Any) -> Iterator[tuple[int, tuple[str, str]]]:
    """Pid, id and kernel name (such as ``python3``) of each local kernel."""
    for kernel_id in list(manager.list_kernel_ids()):
        try:
            kernel = manager.get_kernel(kernel_id)
        except KeyError:
            continue
        provisioner = getattr(kernel, "provisioner", None)
        # Others may have a pid, too: of another machine.
        if isinstance(provisioner, LocalProvisioner) and provisioner.pid:
            yield provisioner.pid, (kernel_id, kernel.kernel_name)


def _owner(kernel_id: str, kernel_name: str, sessions: Iterable[Mapping[str, Any]]) -> Owner:
    mine = [session for session in sessions if (session["kernel"] or {}).get("id") == kernel_id]
    # A console beside a notebook is the notebook's.
    mine = [session for session in mine if session["type"] == "notebook"] or mine
    mine.sort(key=lambda session: str(session["path"]))
    if not mine:
        return Owner("kernel", kernel_id, kernel_name)
    names = dict.fromkeys(map(_name, mine))
    return Owner("kernel", kernel_id, ", ".join(names), mine[0]["path"] or "")


def _name(session: Mapping[str, Any]) -> str:
    # A notebook's session may keep the name that the file had before.
    path = PurePosixPath(session["path"] or "").name
    return path if session["type"] == "notebook" else session["name"] or path


def _terminals(server: Any) -> Iterator[tuple[int, Owner]]:
    """Each terminal's shell; none where terminals are switched off."""
    manager = server.web_app.settings.get("terminal_manager")
    for name, terminal in list(getattr(manager, "terminals", {}).items()):
        process = getattr(terminal, "ptyproc", None)
        if process is not None and process.pid:
            yield process.pid, Owner("terminal", name, f"Terminal {name}")
