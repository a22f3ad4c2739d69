"""A virtual machine's disk as a file, made into one that others may start from: no mount, no privilege.

The disk is one of ``images/vm/make-disk``: its third partition is the system, ext4. What names one machine or
one person is taken out by e2fsprogs; then what is in use is copied and nothing else, because a block that was
freed keeps what it held.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..machine_templates.contents import (
    holds_private_key,
    is_private,
    outermost,
    suspects,
)
from . import EngineError

_SECTOR = 512
_SYSTEM = 2  # the third entry of the partition table
# UEFI specification, 5.3.3: the table is at LBA 2; of an entry, the first and last block follow two ids.
_ENTRY = struct.Struct("<16s16sQQ")
_BACKUP_SECTORS = 33  # of the table, at the disk's end
_ROOT_INODE = 2
_MOST_KEYS_READ, _KEY_BYTES = 200, 65536
_NOBODY = 65534
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# One entry as debugfs's `ls -p` prints it: /inode/mode/uid/gid/name/size/.
_LISTED = re.compile(r"/(\d+)/(\d{6})/\d+/\d+/([^/\0]+)/\d*/")
_LINK = re.compile(r'^Fast link dest: "(.+)"$', re.MULTILINE)
Say = Callable[[str], None]


class NotOurs(EngineError):
    """The disk is not as the machine was made; str() is a sentence for its user."""


@dataclass(frozen=True)
class Node:
    """A file or folder: ``inode``, and the inode of the ``folder`` that it is in."""

    path: str
    inode: int
    folder: int
    is_folder: bool

    @property
    def is_private(self) -> bool:
        """Whether it stays out of templates."""
        return is_private(self.path, is_folder=self.is_folder)


@dataclass(frozen=True)
class Flat:
    """A disk that others may start from, with the kernel in it (no such files where it has none).

    ``secrets`` are paths in it that look like one.
    """

    files: dict[str, Path]
    secrets: tuple[str, ...]


def flatten(disk: Path, work: Path, say: Say) -> Flat:
    """Make a template of the machine's ``disk`` (qcow2, nothing below it), in the folder ``work``.

    ``disk`` is removed once it is not needed. Raises `NotOurs`, and `EngineError` where a tool fails.
    """
    start, size, whole = _system(disk, work)
    part = work / "system.raw"
    say("Reading its files")
    _run("qemu-img", "convert", "--image-opts", _part_of(disk, start, size), "-O", "raw", str(part))
    _check(part)  # what waits in its journal is written first
    _clear(part, tree(part))
    nodes = tree(part)
    if left := [node.path for node in nodes if node.is_private]:
        raise _not_left_out(left)
    _forget_id(part, work)
    secrets, kernel = _secrets(part, nodes, work), _kernel(part, nodes, work)
    say("Leaving out what was deleted")
    out = work / "flat.raw"
    _run("e2image", "-ra", "-O", str(start), str(part), str(out))
    part.unlink()
    os.truncate(out, whole)
    _copy_tables(disk, out, start, whole, work)
    disk.unlink()
    say("Writing the template")
    made = work / "template.qcow2"
    _run("qemu-img", "convert", "-O", "qcow2", str(out), str(made))
    out.unlink()
    return Flat({"qcow2": made, **kernel}, tuple(secrets))


# --- the disk -----------------------------------------------------------------------------------------


def _part_of(disk: Path, start: int, size: int) -> str:
    escaped = str(disk).replace(",", ",,")
    return f"driver=raw,offset={start},size={size},file.driver=qcow2,file.file.filename={escaped}"


def _system(disk: Path, work: Path) -> tuple[int, int, int]:
    """Where the system's partition begins, how long it is, and how large the disk is, in bytes."""
    with disk.open("rb") as header:
        # QCOW2's header has the size of the disk at 24 (QEMU's docs/interop/qcow2.txt).
        (whole,) = struct.unpack_from(">Q", header.read(32), 24)
    head = work / "head.raw"
    _run("qemu-img", "convert", "--image-opts", _part_of(disk, 0, 2**20), "-O", "raw", str(head))
    table = head.read_bytes()
    _, _, first, last = _ENTRY.unpack_from(table, 2 * _SECTOR + _SYSTEM * 128)
    start, size = first * _SECTOR, (last + 1 - first) * _SECTOR
    if table[_SECTOR : _SECTOR + 8] != b"EFI PART" or not 2**20 <= start < start + size <= whole:
        raise NotOurs(
            "The partitions of this machine's disk are not as they were made, so it cannot be a template."
        )
    return start, size, whole


def _copy_tables(disk: Path, out: Path, start: int, whole: int, work: Path) -> None:
    """What is before the system, which boots it, and the second copy of the partition table."""
    tail = whole - _BACKUP_SECTORS * _SECTOR
    with out.open("r+b") as target:
        for begin, size in ((0, start), (tail, whole - tail)):
            piece = work / "piece.raw"
            _run("qemu-img", "convert", "--image-opts", _part_of(disk, begin, size), "-O", "raw", str(piece))
            target.seek(begin)
            target.write(piece.read_bytes())
            piece.unlink()


# --- the system's files ---------------------------------------------------------------------------------


def tree(part: Path) -> list[Node]:
    """All files and folders of the file system. Raises `EngineError`."""
    found: list[Node] = []
    paths = {_ROOT_INODE: ""}
    while paths:
        listed = _debugfs(part, [f"ls -p <{inode}>" for inode in paths])
        deeper: dict[int, str] = {}
        folder = 0
        for inode, mode, name in _LISTED.findall(listed):
            if name == ".":
                folder = int(inode)
            elif name != ".." and folder in paths:
                node = Node(f"{paths[folder]}/{name}", int(inode), folder, mode.startswith("04"))
                found.append(node)
                if node.is_folder:
                    deeper[node.inode] = node.path
        paths = deeper
    return found


def _check(part: Path) -> None:
    # -D: folders are written anew, without the names of what is gone. 1: it had something to do, and did it.
    _run("e2fsck", "-fyD", str(part), allowed=(0, 1))


def _clear(part: Path, nodes: Sequence[Node]) -> None:
    """Take out what is private, and the journal, which has pieces of it."""
    doomed = {node.path: node for node in nodes if node.is_private}
    if odd := [path for path in doomed if not path.isprintable() or '"' in path]:
        raise _not_left_out(odd)
    # A file may have another name elsewhere, which stays: caches are linked to what was installed.
    staying = {node.inode for node in nodes if not node.is_private}
    commands = []
    for path in outermost(doomed):
        commands += [f"cd <{doomed[path].folder}>", f'unlink "{path.rpartition("/")[2]}"']
    commands += [f"clri <{inode}>" for inode in {node.inode for node in doomed.values()} - staying]
    _debugfs(part, commands, write=True)
    _check(part)  # which gives back what they took
    _run("tune2fs", "-O", "^has_journal", str(part))
    _run("tune2fs", "-j", str(part))


def _forget_id(part: Path, work: Path) -> None:
    """Leave an empty /etc/machine-id: the first boot then makes one (machine-id(5))."""
    empty = work / "empty"
    empty.touch()
    empty.chmod(0o444)
    _debugfs(part, ["cd /etc", f"write {empty} machine-id"], write=True)


def _secrets(part: Path, kept: Iterable[Node], work: Path) -> list[str]:
    inodes = {node.path: node.inode for node in kept if not node.is_folder}
    named, keys = suspects(inodes)
    read = {path: work / f"key{number}" for number, path in enumerate(keys[:_MOST_KEYS_READ])}
    _debugfs(part, [f"dump <{inodes[path]}> {file}" for path, file in read.items()])
    holding = [path for path, file in read.items() if file.is_file() and _holds_key(file)]
    return sorted(named + holding)


def _holds_key(file: Path) -> bool:
    with file.open("rb") as content:
        return holds_private_key(content.read(_KEY_BYTES))


def _kernel(part: Path, kept: Iterable[Node], work: Path) -> dict[str, Path]:
    """The newest kernel and its initial file system, as the names in / say."""
    inodes = {node.path: node.inode for node in kept}
    found = {}
    for kind, name in (("vmlinuz", "/vmlinuz"), ("initrd", "/initrd.img")):
        link = _LINK.search(_debugfs(part, [f"stat {name}"])) if name in inodes else None
        target = f"/{link[1].lstrip('/')}" if link else name
        if target not in inodes:
            return {}
        found[kind] = work / kind
        _debugfs(part, [f"dump <{inodes[target]}> {found[kind]}"])
    return found if all(file.is_file() and file.stat().st_size for file in found.values()) else {}


# --- tools ------------------------------------------------------------------------------------------------


def _debugfs(part: Path, commands: Sequence[str], *, write: bool = False) -> str:
    if not commands:
        return ""
    script = "".join(f"{command}\n" for command in commands)
    return _run("debugfs", *(["-w"] if write else []), "-f", "-", str(part), told=script)


def _run(program: str, *arguments: str, allowed: tuple[int, ...] = (0,), told: str = "") -> str:
    """What a program prints. A hub that is root does not read a user's file system as root."""
    who, groups = (_NOBODY, ()) if os.geteuid() == 0 else (None, None)
    try:
        ran = subprocess.run(
            [program, *arguments],
            capture_output=True,
            check=False,
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
            input=told.encode(errors="surrogateescape"),
            user=who,
            group=who,
            extra_groups=groups,
        )
    except FileNotFoundError as error:
        raise EngineError(
            f"{program} is not installed on the hub's machine; the admin installs it: apt-get install"
            " qemu-utils e2fsprogs"
        ) from error
    if ran.returncode not in allowed:
        said = ran.stderr.decode(errors="replace").strip() or ran.stdout.decode(errors="replace").strip()
        raise EngineError(f"{program} failed: {said[-500:]}")
    return ran.stdout.decode(errors="surrogateescape")


def give_to_tools(file: Path) -> None:
    """Let the tools have a file or folder of ours, whoever they run as."""
    if os.geteuid() == 0:
        os.chown(file, _NOBODY, _NOBODY)


def _not_left_out(paths: Sequence[str]) -> NotOurs:
    shown = ", ".join(map(repr, sorted(paths)[:5]))
    return NotOurs(
        f"These must not be in a template and could not be left out: {shown}. Delete them and save again."
    )
