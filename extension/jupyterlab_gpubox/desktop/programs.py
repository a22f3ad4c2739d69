"""What the desktop is made of: which programs run, with which arguments, in which environment. Pure but
for `find`.

TigerVNC's Xvnc is display and VNC server in one; XFCE runs on it, below a message bus of its own. Nothing of
it listens on a network: viewers come through a Unix socket in a folder that is the user's alone, X programs
through X's own with a cookie.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

SESSION = "/usr/local/lib/gpubox/desktop-session"
# Before a page has told its own.
FIRST_SIZE = "1280x800"
_LONGEST_CUT_TEXT = 1 << 20
# Any host, for `xauth` entries (Xauth.h): the display's number is known only once it runs.
_FAMILY_WILD = 65535
_COOKIE = b"MIT-MAGIC-COOKIE-1"


@dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    display: str
    session: str


@dataclass(frozen=True)
class Places:
    """The files of one desktop, in a folder that only its user may enter."""

    folder: Path

    @property
    def vnc(self) -> Path:
        """The socket that viewers are joined to."""
        return self.folder / "vnc"

    @property
    def fast_lane(self) -> Path:
        """The socket of the fast lane's server, where there is one."""
        return self.folder / "fast"

    @property
    def cookie(self) -> Path:
        """What X programs prove themselves with."""
        return self.folder / "Xauthority"

    @property
    def words(self) -> Path:
        """The pipe that programs on the desktop tell things through: a word a line."""
        return self.folder / "words"

    @property
    def runtime(self) -> Path:
        """XDG_RUNTIME_DIR."""
        return self.folder / "run"


def find() -> Programs | None:
    """The programs of this machine; None where one is missing."""
    display = which("Xvnc")
    return Programs(display, SESSION) if display and which(SESSION) else None


def display_command(programs: Programs, places: Places, number_to: int) -> list[str]:
    """Xvnc's, which writes the number of the display that it found free to a file descriptor."""
    return [
        *ends_with_the_server(programs.display),
        *("-displayfd", str(number_to)),
        *("-rfbunixpath", str(places.vnc), "-rfbunixmode", "0600", "-rfbport", "-1"),
        *("-auth", str(places.cookie), "-nolisten", "tcp", "-nolisten", "local"),
        *("-SecurityTypes", "None", "-AlwaysShared", "-desktop", "gpubox"),
        *("-geometry", FIRST_SIZE, "-depth", "24", "-dpi", "96"),
        *("-MaxCutText", str(_LONGEST_CUT_TEXT)),
        # No screen saver, and no reset when the last program has gone.
        *("-s", "0", "-dpms", "-noreset"),
    ]


def session_command(programs: Programs) -> list[str]:
    """XFCE's."""
    return ends_with_the_server(programs.session)


def session_environment(
    environment: Mapping[str, str], places: Places, display: int, graphics: Mapping[str, str]
) -> dict[str, str]:
    """The server's own environment, as its terminals have it, with where the display is."""
    return {
        **environment,
        **graphics,
        "DISPLAY": f":{display}",
        "XAUTHORITY": str(places.cookie),
        "XDG_RUNTIME_DIR": str(places.runtime),
        "GPUBOX_DESKTOP": str(places.words),
    }


def cookie_file(cookie: bytes) -> bytes:
    """An Xauthority file with one cookie, for every display of this machine (libXau, AuRead.c)."""
    fields = (b"", b"", _COOKIE, cookie)
    return struct.pack(">H", _FAMILY_WILD) + b"".join(struct.pack(">H", len(each)) + each for each in fields)


def ends_with_the_server(program: str) -> list[str]:
    """The command of a program of which nothing stays, should the server be killed."""
    return ["setpriv", "--pdeathsig", "TERM", "--", program]
