"""All that virtual machines ask of libvirt's storage: the disks that they start from, and their own.

What libvirt refuses is an `EngineError` with its own words. Every call blocks: use threads.
"""

from __future__ import annotations

import io
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

import libvirt

from . import EngineError, domain
from .domain import Names

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 2**20
# Written last, so that a disk that is still being copied is none; it says what the disk holds, in words.
READY = ".ready"
# The name of a golden disk, and when it was made (`gpubox.host.vmdisk`).
_GOLDEN = re.compile(r"(.+)-\d{14}")
# libvirt prints what it raises; here it is raised alone.
libvirt.registerErrorHandler(lambda context, error: None, None)


@cache
def _watch_connections() -> None:
    """Let libvirt send and hear signs of life, which takes a thread; to be called before a connection."""
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="gpubox-libvirt-events", daemon=True).start()


class NoTemplate(EngineError):
    """The pool has no disk to start from."""


@dataclass(frozen=True)
class Template:
    """A disk in the pool to start from, ``stem``.qcow2, and the kernel beside it (empty where there is none).

    A golden one, or one that was saved.
    """

    stem: str
    path: str
    capacity_bytes: int
    kernel: str = ""
    initrd: str = ""
    contents: str = ""


@dataclass(frozen=True)
class Volume:
    """A volume of the pool: the bytes that it takes, when it was written last, the path of what it is based
    on (empty for nothing)."""

    name: str
    path: str
    size_bytes: int
    changed_at: float
    backing: str


def in_words(method: Callable[P, T]) -> Callable[P, T]:
    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except libvirt.libvirtError as error:
            said = error.get_error_message() or error
            # A connection that breaks in the middle of a call.
            is_gone = error.get_error_domain() == libvirt.VIR_FROM_RPC
            raise EngineError(f"libvirt {'does not answer' if is_gone else 'says'}: {said}") from error

    return called


class Volumes:
    """A libvirt and its pool of volumes. Safe to use from several threads."""

    def __init__(self, uri: str, *, pool: str, pool_path: str) -> None:
        self._uri = uri
        self.pool, self.pool_path = pool, pool_path
        self._connecting = threading.Lock()
        self._connection: Any = None

    @property
    def _libvirt(self) -> Any:
        """A connection that works: one that broke (libvirtd was restarted) is made anew."""
        with self._connecting:
            if self._connection is None or not self._connection.isAlive():
                _watch_connections()
                try:
                    self._connection = libvirt.open(self._uri)
                except libvirt.libvirtError as error:
                    self._connection = None
                    raise EngineError(
                        f"libvirt does not answer at {self._uri}: {error.get_error_message()}"
                    ) from error
                # Notices a peer that is gone where a call would wait for ever.
                self._connection.setKeepAlive(5, 3)
            return self._connection

    # --- pool and templates ------------------------------------------------------------------------

    @in_words
    def _pool(self) -> Any:
        try:
            pool = self._libvirt.storagePoolLookupByName(self.pool)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            pool = self._libvirt.storagePoolDefineXML(domain.pool_xml(self.pool, self.pool_path))
            pool.build()
            pool.setAutostart(True)
        if not pool.isActive():
            pool.create()
        return pool

    @in_words
    def template(self, name: str) -> Template:
        """The newest golden disk of that name that is whole. Raises `NoTemplate`."""
        stems = _stems(name, self._pool().listVolumes())
        if not stems:
            raise NoTemplate(f"The pool {self.pool!r} of libvirt has no disk {name!r}.")
        return self.template_called(stems[-1])

    @in_words
    def newest_stems(self) -> frozenset[str]:
        """The newest golden disk of each name."""
        whole = [name.removesuffix(READY) for name in self._pool().listVolumes() if name.endswith(READY)]
        named = {found[1] for stem in whole if (found := _GOLDEN.fullmatch(stem))}
        return frozenset(_stems(name, (f"{stem}{READY}" for stem in whole))[-1] for name in named)

    @in_words
    def template_called(self, stem: str) -> Template:
        """The disk whose volumes' names begin so. Raises `NoTemplate`."""
        pool = self._pool()
        names = set(pool.listVolumes())
        if not {f"{stem}{READY}", f"{stem}.qcow2"} <= names:
            raise NoTemplate(f"The pool {self.pool!r} of libvirt has no disk {stem!r} that is whole.")
        volume = pool.storageVolLookupByName(f"{stem}.qcow2")
        kernel, initrd = (f"{stem}.{kind}" for kind in ("vmlinuz", "initrd"))
        has_kernel = {kernel, initrd} <= names
        return Template(
            stem,
            volume.path(),
            volume.info()[1],
            kernel if has_kernel else "",
            initrd if has_kernel else "",
            self._read(f"{stem}{READY}").decode(errors="replace").strip(),
        )

    @in_words
    def below(self, disk: str) -> Template:
        """What a machine's disk is based on. Raises `NoTemplate` where that is gone, or the disk."""
        volume = self._volume(disk)
        path = _backing_path(volume.XMLDesc(0)) if volume is not None else ""
        return self.template_called(Path(path).name.removesuffix(".qcow2"))

    @in_words
    def volumes(self) -> list[Volume]:
        """All volumes of the pool."""
        pool = self._pool()
        pool.refresh(0)  # libvirt does not follow how they grow
        return [_volume(one.XMLDesc(0)) for one in pool.listAllVolumes(0)]

    @in_words
    def add_template(
        self, stem: str, files: Mapping[str, Path], contents: str, tell: Callable[[str], None]
    ) -> None:
        """Copy a golden disk and its kernel into the pool, as ``STEM.KIND``; it counts once all is there."""
        pool = self._pool()
        made = []
        try:
            for kind, file in files.items():
                size = file.stat().st_size
                tell(f"copying {kind}, {size / 1e9:.1f} GB")
                made.append(pool.createXML(domain.volume_xml(f"{stem}.{kind}", size, kind="raw"), 0))
                with file.open("rb") as source:
                    self._send(made[-1], source.read, size)
            pool.refresh(0)  # libvirt looks what each is
            self.write(f"{stem}{READY}", contents.encode())
        except BaseException:
            for volume in made:
                volume.delete(0)
            raise

    def _send(self, volume: Any, read: Callable[[int], bytes], size: int) -> None:
        stream = self._libvirt.newStream(0)
        volume.upload(stream, 0, size)
        while chunk := read(_CHUNK):
            while chunk:
                chunk = chunk[stream.send(chunk) :]
        stream.finish()

    @in_words
    def remove_unused(self, name: str) -> list[str]:
        """Remove older golden disks of that name that no machine's disk is based on; which those were."""
        volumes = {one.name(): one for one in self._pool().listAllVolumes(0)}
        below = {_backing_path(one.XMLDesc(0)) for one in volumes.values()}
        stems = _stems(name, volumes)
        old = [
            stem
            for stem in stems[:-1]
            if (disk := volumes.get(f"{stem}.qcow2")) is None or disk.path() not in below
        ]
        for stem in old:
            self.remove_template(stem)
        return old

    @in_words
    def remove_template(self, stem: str) -> None:
        """Remove a disk to start from, with all that is beside it; one that is gone already is no error."""
        self.remove_volume(f"{stem}{READY}")  # first: what is left then is none
        for kind in ("qcow2", "vmlinuz", "initrd"):
            self.remove_volume(f"{stem}.{kind}")

    @in_words
    def remove_volume(self, volume: str) -> None:
        """Remove a volume; one that is gone already is no error."""
        if (found := self._volume(volume)) is not None:
            found.delete(0)

    def _volume(self, name: str) -> Any:
        try:
            return self._pool().storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return None

    # --- a machine's volumes -----------------------------------------------------------------------

    @in_words
    def ensure_disk(self, names: Names, template: Template, capacity_bytes: int) -> bool:
        """The system's disk, over the template where there was none; whether it was made now."""
        return self._ensure(names.disk, max(capacity_bytes, template.capacity_bytes), template.path)

    @in_words
    def ensure_home(self, names: Names, capacity_bytes: int) -> bool:
        """The volume of the home; a larger one than before grows it."""
        return self._ensure(names.home, capacity_bytes)

    def _ensure(self, name: str, capacity_bytes: int, backing: str = "") -> bool:
        volume = self._volume(name)
        if volume is None:
            self._pool().createXML(domain.volume_xml(name, capacity_bytes, backing=backing), 0)
            return True
        if volume.info()[1] < capacity_bytes:
            volume.resize(capacity_bytes, 0)
        return False

    @in_words
    def write(self, name: str, content: bytes) -> None:
        """A volume with that content in place of the old one."""
        self.remove_volume(name)
        content = content or b"\n"
        made = self._pool().createXML(domain.volume_xml(name, len(content), kind="raw"), 0)
        self._send(made, io.BytesIO(content).read, len(content))

    @in_words
    def console(self, names: Names) -> str:
        """What the guest has said on its console since its start."""
        return self._read(names.console).decode(errors="replace")

    def _read(self, name: str) -> bytes:
        if self._volume(name) is None:
            return b""
        content = io.BytesIO()
        self.download(name, content)
        return content.getvalue()

    @in_words
    def download(self, name: str, file: IO[bytes]) -> None:
        """Copy what is in a volume."""
        stream = self._libvirt.newStream(0)
        self._pool().storageVolLookupByName(name).download(stream, 0, 0)
        while part := stream.recv(_CHUNK):
            file.write(part)
        stream.finish()


def _stems(name: str, volumes: Iterable[str]) -> list[str]:
    """How the volumes of the golden disks of that name begin, oldest first."""
    whole = [one.removesuffix(READY) for one in volumes if one.endswith(READY)]
    return sorted(stem for stem in whole if (found := _GOLDEN.fullmatch(stem)) and found[1] == name)


def _backing_path(xml: str) -> str:
    return (ET.fromstring(xml).findtext("backingStore/path") or "").strip()  # noqa: S314


def _volume(xml: str) -> Volume:
    found = ET.fromstring(xml)  # noqa: S314  # libvirt's own word
    return Volume(
        name=found.findtext("name") or "",
        path=found.findtext("target/path") or "",
        size_bytes=int(found.findtext("physical") or found.findtext("allocation") or 0),
        changed_at=float(found.findtext("target/timestamps/mtime") or 0),
        backing=_backing_path(xml),
    )
