"""Templates: a machine as its user set it up, kept as an image, to start from again and to share.

(The hub's HTML is in the folder ``templates``.) What stays out of one is ``contents``; how an image is
written by hand, ``imagefile``; the records, ``store``; who may do what, ``rights``; a
save under way, ``saving``. ``library`` joins them, in the hub's process, and is what others ask. All calls
of the engines, of which ``storage`` says what they must answer, are in `gpubox.engines.images` for
containers and `gpubox.engines.disks` for virtual machines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..refusal import PoolRefusal

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?")
LONGEST_NOTE = 500
EVERYONE = "everyone"
SHARE_KINDS = ("user", "group", EVERYONE)


class NoSuchTemplate(KeyError):
    """There is no such template, or not for who asked; args[0] is the sentence."""


class NotAllowed(PoolRefusal):
    """What was asked is somebody else's to do; str() is the sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, "not_allowed")


@dataclass(frozen=True)
class Actor:
    """Who asks: a user with groups, or, with no name, the command line. ``is_admin`` manages everybody's."""

    name: str
    groups: frozenset[str] = frozenset()
    is_admin: bool = False


@dataclass(frozen=True)
class Share:
    """With whom: a ``user`` or a ``group`` of that name, or ``everyone`` (whose name is empty)."""

    kind: str
    name: str = ""


@dataclass(frozen=True)
class Version:
    """One save. ``image`` is its name at the ``engine``, ``base`` in words what the machine had started from.

    ``size_bytes`` is what it adds to that; ``secrets`` are paths that look like one. Others than the owner
    see it once it is ``cleared``: nothing looked like a secret, or the owner has said that it is none.
    """

    template_id: int
    number: int
    image: str
    base: str
    machine: str
    size_bytes: int
    saved_at: float
    secrets: tuple[str, ...] = ()
    cleared: bool = True
    # As machine types name it: empty for a container's image, "libvirt" for a virtual machine's disk.
    engine: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What pages and programs are told; the image's name is the engine's business."""
        return {
            "number": self.number,
            "base": self.base,
            "machine": self.machine,
            "size_bytes": self.size_bytes,
            "saved_at": self.saved_at,
            "secrets": list(self.secrets),
            "cleared": self.cleared,
            "engine": self.engine,
        }


@dataclass(frozen=True)
class Template:
    """A template of ``owner`` with its versions, the newest last."""

    id: int
    owner: str
    name: str
    note: str
    created_at: float
    versions: tuple[Version, ...] = ()
    shares: tuple[Share, ...] = ()

    @property
    def reference(self) -> str:
        """What the API and the form call it: ``ada/torch-lab``."""
        return f"{self.owner}/{self.name}"

    @property
    def size_bytes(self) -> int:
        """What all versions add together."""
        return sum(version.size_bytes for version in self.versions)


def check_name(name: str) -> str:
    """The name, if it may be one. Raises `PoolRefusal` with a sentence."""
    if not _NAME.fullmatch(name):
        raise PoolRefusal(
            f"A template cannot be called {name!r}: up to 40 lower-case letters, digits, '-', '.' and '_',"
            " beginning"
            " and ending with a letter or a digit.",
            "name",
        )
    return name


def check_note(note: str) -> str:
    """The note, trimmed. Raises `PoolRefusal` with a sentence."""
    words = note.strip()
    if len(words) > LONGEST_NOTE or not words.isprintable():
        raise PoolRefusal(f"The note: one line of plain text, {LONGEST_NOTE} characters at most.", "note")
    return words


def split_reference(reference: str) -> tuple[str, str, int | None]:
    """Owner, name and version of ``ada/torch-lab:2``; no version is the newest.

    Raises `NoSuchTemplate` for what can be none.
    """
    owner, slash, rest = reference.rpartition("/")
    name, colon, number = rest.partition(":")
    is_number = number.isascii() and number.isdecimal() and len(number) < 10
    if not (slash and owner and _NAME.fullmatch(name)) or (colon and not is_number):
        raise NoSuchTemplate(
            f"There is no template {reference!r}: expected owner/name or owner/name:version."
        )
    return owner, name, int(number) if colon else None
