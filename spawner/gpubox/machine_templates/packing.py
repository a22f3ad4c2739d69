"""Templates on their way between hubs: what goes along, and what of a file from elsewhere is believed.

A file is what ``docker save`` writes and ``docker load`` reads: a tar archive with ``manifest.json``, a
config and the layers (Docker Image Specification v1.2). Nothing of one from elsewhere reaches the engine as
it is: the config is made anew (`imagefile.foreign_config`), names are not looked at, and each layer is what
its digest says before an image has it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ..refusal import PoolRefusal
from . import check_name, check_note
from .imagefile import LABEL_BASE, LABEL_MACHINE, LABEL_NAME, LABEL_NOTE, LABEL_SAVED, foreign_config

_MOST_MEMBERS = 2000
_MOST_JSON_BYTES = 4 * 2**20
MOST_LAYERS_IN = 100
_GZIP = b"\x1f\x8b"
_LONGEST_WORDS = 200


class Cancelled(Exception):
    """Whoever asked for it wants it no more."""


@dataclass(frozen=True)
class About:
    """What a template tells of itself elsewhere. Empty, or 0, is what it does not tell."""

    name: str = ""
    note: str = ""
    base: str = ""
    machine: str = ""
    saved_at: float = 0.0

    def as_labels(self) -> dict[str, str]:
        """The same as an image's labels."""
        return {
            LABEL_NAME: self.name,
            LABEL_NOTE: self.note,
            LABEL_BASE: self.base,
            LABEL_MACHINE: self.machine,
            LABEL_SAVED: f"{self.saved_at:.0f}",
        }


def about(labels: object) -> About:
    """What an image's labels tell; what cannot be is left out: they are somebody's words."""
    told = labels if isinstance(labels, Mapping) else {}

    def words(label: str) -> str:
        text = str(told.get(label) or "").strip()
        return text if text.isprintable() and len(text) <= _LONGEST_WORDS else ""

    return About(
        name=_if_taken(check_name, words(LABEL_NAME)),
        note=_if_taken(check_note, str(told.get(LABEL_NOTE) or "")),
        base=words(LABEL_BASE),
        machine=words(LABEL_MACHINE)[:64],
        saved_at=_moment(words(LABEL_SAVED)),
    )


def _if_taken(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except PoolRefusal:
        return ""


def _moment(text: str) -> float:
    seconds = float(text) if text.isdecimal() and len(text) < 12 else 0.0
    return seconds if seconds <= time.time() else 0.0


def not_a_template(why: str) -> PoolRefusal:
    """The refusal of a file or an image from elsewhere."""
    return PoolRefusal(
        f"This is no template that can be taken: {why}. Expected is what gpubox template export writes, or"
        " docker save.",
        "not_a_template",
    )


class ImageFile:
    """An archive from elsewhere, looked at before anything is done with it. Close it, or use it as a context.

    ``config`` is made anew; ``layers`` are the archive's members by digest, in the order of the image.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._archive = tarfile.open(path, mode="r:")  # noqa: SIM115  # closed by `close`
        except (tarfile.TarError, EOFError) as error:
            raise not_a_template("it is no tar archive, or a compressed one (gunzip it first)") from error
        except OSError as error:
            raise PoolRefusal(f"{path} cannot be read: {error.strerror}.", "file") from error
        try:
            self._read()
        except (tarfile.TarError, EOFError, OSError) as error:
            self.close()
            raise not_a_template("it is damaged") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def _read(self) -> None:
        members: dict[str, tarfile.TarInfo] = {}
        for number, member in enumerate(self._archive):
            if number >= _MOST_MEMBERS:
                raise not_a_template("it holds too many files")
            # A sparse file is read as large as it says, whatever is there.
            if member.isreg() and not member.issparse():
                members[member.name] = member
        manifest = self._json(members.get("manifest.json"), "manifest.json")
        if not isinstance(manifest, list) or len(manifest) != 1 or not isinstance(manifest[0], dict):
            raise not_a_template("it holds several images, or none")
        names = manifest[0].get("Layers")
        config = self._json(members.get(str(manifest[0].get("Config"))), "the config")
        if not isinstance(config, dict) or not isinstance(names, list):
            raise not_a_template("its manifest is none")
        try:
            self.config = foreign_config(config, time.time())
        except ValueError as error:
            raise not_a_template(str(error)) from error
        self.about = about((config.get("config") or {}).get("Labels"))  # checked just now
        chain = self.config["rootfs"]["diff_ids"]
        if len(names) != len(chain) or len(chain) > MOST_LAYERS_IN:
            raise not_a_template("its layers are not those of its config, or too many")
        found = [members.get(str(name)) for name in names]
        if any(member is None for member in found):
            raise not_a_template("a layer is missing")
        self.layers = {digest: member for digest, member in zip(chain, found, strict=True) if member}

    def _json(self, member: tarfile.TarInfo | None, what: str) -> Any:
        if member is None or member.size > _MOST_JSON_BYTES:
            raise not_a_template(f"{what} is missing, or too large")
        file = self._archive.extractfile(member)
        assert file is not None  # a regular file
        try:
            return json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise not_a_template(f"{what} is damaged") from error

    def open(self, digest: str, heed: Callable[[int], None]) -> IO[bytes]:
        """A layer to read. ``heed`` is called with the number of bytes of each piece.

        Its last piece is not handed out where the whole is not what the digest says: `PoolRefusal`.
        """
        file = self._archive.extractfile(self.layers[digest])
        assert file is not None
        if file.read(2) == _GZIP:
            raise not_a_template("its layers are compressed")
        file.seek(0)
        return cast(IO[bytes], _Checked(file, digest, self.layers[digest].size, heed))


class _Checked:
    """A file that is read once, from its beginning to its end, and must be what its digest says."""

    def __init__(self, file: IO[bytes], digest: str, size: int, heed: Callable[[int], None]) -> None:
        self._file, self._digest, self._missing, self._heed = file, digest, size, heed
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._sum.update(part)
        self._missing -= len(part)
        self._heed(len(part))
        if self._missing <= 0 and f"sha256:{self._sum.hexdigest()}" != self._digest:
            raise not_a_template("a layer is not what its digest says")
        return part

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
