"""Templates of virtual machines: disks in libvirt's pool, made of machines while they run.

The same questions as `gpubox.engines.images` answers for containers. Every call blocks: use threads.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..machine_templates.storage import Kept, Say
from ..refusal import PoolRefusal
from . import EngineError, diskfile, domain
from .guests import Guests
from .volumes import READY, Volume

# The copy of a disk, its system, and what is in use of that.
_COPIES = 3


@dataclass(frozen=True)
class FoundDisk:
    """A running machine before it is kept. ``size_bytes`` is what its disk has over ``base``."""

    domain: str
    base: str
    contents: str
    size_bytes: int
    base_bytes: int
    secrets: tuple[str, ...] = ()


class TemplateDisks:
    """Makes, counts and removes disks that machines of one hub start from."""

    def __init__(self, guests: Guests, hub_id: str, folder: str) -> None:
        self._guests = guests
        self._hub_id = hub_id
        self._folder = Path(folder)
        self._saving, self._kept = f"gpubox-saving-{hub_id}-", f"gpubox-template-{hub_id}-"

    # --- a save ------------------------------------------------------------------------------------

    def look(self, box: str) -> FoundDisk:
        """What a save of the running machine will keep."""
        volumes = {volume.name: volume for volume in self._guests.volumes()}
        disk = volumes.get(f"{box}{domain.DISK}")
        if disk is None or not self._guests.is_active(box):
            raise PoolRefusal("The machine does not run any more.", "not_held")
        base = self._guests.below(disk.name)
        return FoundDisk(
            domain=box,
            base=base.stem,
            contents=base.contents,
            size_bytes=disk.size_bytes,
            base_bytes=volumes[f"{base.stem}.qcow2"].size_bytes,
        )

    def keep(self, found: FoundDisk, save: str, base: str, say: Say) -> Kept:
        """Make a disk of the machine's, which goes on meanwhile. ``save`` is a name of its own.

        Whatever goes wrong, nothing of it is left in the pool.
        """
        needed = _COPIES * (found.size_bytes + found.base_bytes)
        if shutil.disk_usage(self._folder).free < needed:
            raise _no_room(self._folder, needed)
        copy, name = f"{self._saving}{save}.qcow2", self.name_of(save)
        with self._work() as work:
            disk = work / "disk.qcow2"
            say("Copying its disk")
            self._guests.copy_disk(found.domain, copy, say)
            try:
                with disk.open("wb") as file:
                    self._guests.download(copy, file)
            finally:
                self._guests.remove_volume(copy)
            diskfile.give_to_tools(disk)
            try:
                flat = diskfile.flatten(disk, work, say)
            except diskfile.NotOurs as error:
                raise PoolRefusal(str(error), "engine") from error
            say("Handing it to libvirt")
            self._guests.add_template(name, flat.files, found.contents, lambda words: None)
            size = flat.files["qcow2"].stat().st_size
        return Kept(name, size, flat.secrets)

    @contextmanager
    def _work(self) -> Iterator[Path]:
        try:
            with tempfile.TemporaryDirectory(prefix=self._saving, dir=self._folder) as work:
                diskfile.give_to_tools(Path(work))
                yield Path(work)
        except (EngineError, OSError) as error:
            if "No space left" in str(error):
                raise PoolRefusal(
                    "There was no room left to make the template, so nothing was kept. Tell the admin.",
                    "engine",
                ) from error
            if isinstance(error, OSError):
                raise EngineError(f"{error.filename or self._folder}: {error.strerror}") from error
            raise

    # --- disks that are there -----------------------------------------------------------------------

    def users_of(self, image: str) -> list[str]:
        """Whose machines' disks, started or stopped, are based on a template's."""
        volumes = self._guests.volumes()
        paths = {volume.path for volume in volumes if volume.name == f"{image}.qcow2"}
        based = [volume.name.removesuffix(domain.DISK) for volume in volumes if volume.backing in paths]
        owners = {name: domain.server_of(facts) for name, facts, _ in self._guests.all()}
        return [owners.get(name, name) for name in based]

    def name_of(self, save: str) -> str:
        """The name that the disk of a save gets."""
        return f"{self._kept}{save}"

    def remove(self, image: str) -> None:
        """Remove a disk; one that is gone already is no error."""
        self._guests.remove_template(image)

    def sweep(self) -> int:
        """Remove what saves of a hub that ended in the middle have left; how many those were."""
        self._guests.settle()
        for folder in self._folder.glob(f"{self._saving}*"):
            shutil.rmtree(folder, ignore_errors=True)
        volumes = self._guests.volumes()
        left = {volume.name for volume in volumes if volume.name.startswith(self._saving)}
        for name in left:
            self._guests.remove_volume(name)
        unfinished = _stems(volumes, self._kept) - _stems(volumes, self._kept, READY)
        for stem in unfinished:
            self._guests.remove_template(stem)
        return len(left | unfinished)

    def unrecorded(self, recorded: set[str]) -> list[str]:
        """Disks of templates of this hub that no record names."""
        return sorted(_stems(self._guests.volumes(), self._kept, READY) - recorded)


def _stems(volumes: list[Volume], begin: str, end: str = "") -> set[str]:
    names = (volume.name for volume in volumes)
    return {name.partition(".")[0] for name in names if name.startswith(begin) and name.endswith(end)}


def _no_room(folder: Path, needed: int) -> PoolRefusal:
    return PoolRefusal(
        f"Making the template takes {needed / 1e9:.0f} GB for a while, and {folder} of the hub's machine has"
        " less. Tell the admin.",
        "engine",
    )
