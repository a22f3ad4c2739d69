"""The admin's password: made once, at random, and kept in a file that only the hub's account reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from .. import paths
from . import HostProblem

# JupyterHub's shared-password authenticator refuses an admin password under 32 characters.
_RANDOM_BYTES = 24
_LEAST_LENGTH = 32


def password_file() -> Path:
    """Where the admin password is kept."""
    return paths.state_dir() / "admin-password"


def admin_password() -> str:
    """The admin password; the first call makes it.

    Raises `HostProblem` where the file was edited into something too short, and OSError where it
    cannot be read or made.
    """
    file = password_file()
    try:
        _make(file)
    except FileExistsError:
        pass
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    password = file.read_text().strip()
    if len(password) < _LEAST_LENGTH:
        raise HostProblem(
            f"The admin password in {file} has {len(password)} characters, JupyterHub asks for"
            f" {_LEAST_LENGTH} or more. Write a longer one, or remove the file for a new one."
        )
    return password


def _make(file: Path) -> None:
    # Written under another name and linked into place: nobody ever reads half a password, and of
    # two hubs that start at once the first one's stays. link() fails where the file exists.
    if file.exists():
        raise FileExistsError(file)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as output:
            output.write(secrets.token_urlsafe(_RANDOM_BYTES) + "\n")
        os.link(draft, file)
    finally:
        draft.unlink()
