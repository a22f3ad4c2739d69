"""The disk that virtual machines start from: afterwards libvirt's pool has it.

It is made of a container image by the engine (``images/Dockerfile``, target ``vm``), then copied into the
pool, on this host or another one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from . import Say
from .contents import contents
from .image import ImageProblem, build_into, source_tree

if TYPE_CHECKING:
    from ..engines.guests import Guests

NAME = "gpubox-vm"
"""What the disk is called where nobody says otherwise: the default of ``c.LibvirtSpawner.image``."""

_FILES = {"qcow2": "disk.qcow2", "vmlinuz": "vmlinuz", "initrd": "initrd"}
MADE_OF = "cpu"
"""What it is made of where no build argument says otherwise, as ``images/Dockerfile`` has it."""


def make_disk(
    client: docker.DockerClient, guests: Guests, say: Say, arguments: Mapping[str, str], name: str = NAME
) -> str:
    """Build the disk and copy it into the pool; older ones that no machine is based on are removed.

    ``arguments`` are build arguments of the Dockerfile; VM_OF names the target that it is made of. Returns
    what its volumes' names begin with. Raises `ImageProblem`, and `EngineError` where libvirt fails.
    """
    # Not in /tmp, which may be memory: the disk is large.
    with tempfile.TemporaryDirectory(prefix="gpubox-vm-", dir="/var/tmp") as folder:
        build_into(client, "vm", Path(folder), say, arguments)
        files = {kind: Path(folder) / file for kind, file in _FILES.items()}
        if missing := [file.name for file in files.values() if not file.is_file()]:
            raise ImageProblem(f"The build ended well, and made no {', '.join(missing)}.")
        made_of = arguments.get("VM_OF", MADE_OF)
        return add_disk(
            guests, files, say, holds=contents(source_tree() / "images", made_of).words, name=name
        )


def add_disk(guests: Guests, files: Mapping[str, Path], say: Say, *, holds: str, name: str = NAME) -> str:
    """Copy a disk that was built into the pool. Raises `EngineError`."""
    stem = f"{name}-{datetime.now(UTC):%Y%m%d%H%M%S}"
    guests.add_template(stem, files, holds, say)
    for old in guests.remove_unused(name):
        say(f"removed {old}, which no machine is based on")
    return stem
