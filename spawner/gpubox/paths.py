"""Where gpubox keeps what outlives it, and who may pass on the way to a file."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection
from pathlib import Path


def state_dir() -> Path:
    """The state directory, made where it is missing, for its owner's eyes only (mode 700).

    ``$GPUBOX_DIR``; by default ``/var/lib/gpubox`` for root and ``~/.local/share/gpubox`` for
    others. Raises OSError where it cannot be made.
    """
    directory = _chosen()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)
    return directory


def hub_id() -> str:
    """The random id by which this hub's containers are known; the first call makes it.

    It lies beside the ledger and not only in it: when the ledger is lost, running containers are
    still known as this hub's own. Raises OSError where it cannot be read or made.
    """
    file = state_dir() / "hub-id"
    try:
        with file.open("x") as new:
            new.write(secrets.token_hex(8) + "\n")
    except FileExistsError:
        pass
    return file.read_text().strip()


def closed_to(program: str | Path, uid: int | None, groups: Collection[int] = ()) -> Path | None:
    """The first directory or file on the way that an account may not pass or run; None if it may.

    ``uid`` None is any account that owns nothing on the way.
    """
    path = Path(program).resolve()
    if uid == 0:
        return None
    for part in (*reversed(path.parents), path):
        status = part.stat()
        if status.st_uid == uid:
            allowed = stat.S_IXUSR
        else:
            allowed = stat.S_IXGRP if status.st_gid in groups else stat.S_IXOTH
        if not status.st_mode & allowed:
            return part
    return None


def _chosen() -> Path:
    if named := os.environ.get("GPUBOX_DIR"):
        return Path(named).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/gpubox")
    return Path("~/.local/share/gpubox").expanduser()
