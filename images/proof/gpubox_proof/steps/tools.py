"""The programs of a terminal: git, git-lfs, tmux, htop, nvtop, ffmpeg, a compiler."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from pathlib import Path

from .. import gpu
from ..failure import Wrong
from ..step import Seen

PROGRAM = """
#include <algorithm>
#include <iostream>
#include <thread>
#include <vector>
int main() {
    std::vector<int> numbers{3, 1, 2};
    std::thread([&] { std::ranges::sort(numbers); }).join();
    for (int number : numbers) std::cout << number;
}
"""


def git() -> Seen:
    """Commit a file and read it back from the history."""
    _told("git", "init", "-q", ".")
    Path("notes.txt").write_text("hello\n")
    _told("git", "add", "notes.txt")
    _told("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", "Begin")
    if _told("git", "show", "HEAD:notes.txt") != "hello\n":
        raise Wrong("git does not give back what was committed.")
    return Seen(_version("git", "--version"), "")


def git_lfs() -> Seen:
    """Add a file through its filter: git stores the pointer."""
    _told("git", "init", "-q", ".")
    _told("git", "lfs", "install", "--local")
    Path(".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    Path("weights.bin").write_bytes(b"\0" * 10_000)
    _told("git", "add", ".")
    if not _told("git", "show", ":weights.bin").startswith("version https://git-lfs"):
        raise Wrong("git-lfs does not store a pointer for a large file.")
    return Seen(_version("git-lfs", "version"), "")


def tmux() -> Seen:
    """Run a command in a session and read its screen."""
    server = ("tmux", "-S", f"{os.getcwd()}/tmux", "-f", "/dev/null")
    _told(*server, "new-session", "-d", "-x", "80", "-y", "24", "echo $((6 * 7)); sleep 30")
    try:
        end = time.monotonic() + 5
        while (screen := _told(*server, "capture-pane", "-p").strip()) != "42":
            if time.monotonic() > end:
                raise Wrong(f"tmux shows {screen!r} where a command printed 42.")
            time.sleep(0.05)
    finally:
        _told(*server, "kill-server")
    return Seen(_version("tmux", "-V"), "")


def htop() -> Seen:
    """Draw one screen in a terminal, and leave when told."""
    _on_screen("htop", "q", "Load average")
    return Seen(_version("htop", "--version"), "")


def nvtop() -> Seen:
    """It lists the GPUs; where there is none it says so."""
    shown, machine = _told("nvtop", "--snapshot"), gpu.look()
    if "No GPU" in shown and machine.has_gpu:
        raise Wrong(
            "nvtop finds no GPU though there is one: the driver's libnvidia-ml.so.1 is not in this box."
        )
    return Seen(_version("nvtop", "--version"), "", "" if machine.has_gpu else "there is no GPU to show")


def ffmpeg() -> Seen:
    """Encode a second of video and decode all its frames."""
    video = ("-f", "lavfi", "-i", "testsrc=duration=1:size=160x120:rate=25", "-pix_fmt", "yuv420p")
    _told("ffmpeg", "-v", "error", *video, "-c:v", "libx264", "-y", "second.mp4")
    count = ("-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0")
    if (frames := _told("ffprobe", "-v", "error", *count, "second.mp4").strip()) != "25":
        raise Wrong(f"ffmpeg's video of 25 frames has {frames}.")
    return Seen(_version("ffmpeg", "-version"), "", note="H.264")


def compiler() -> Seen:
    """Compile and run a program in C++20, with a thread."""
    Path("sort.cpp").write_text(PROGRAM)
    _told("g++", "-std=c++20", "-O2", "-pthread", "-o", "sort", "sort.cpp")
    if (told := _told("./sort")) != "123":
        raise Wrong(f"The program that g++ compiled prints {told!r} where 123 is right.")
    return Seen(_version("g++", "--version"), "")


def _on_screen(program: str, key: str, expected: str) -> None:
    """Fails where a program does not show a text on its terminal within five seconds."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm", "LINES": "40", "COLUMNS": "120"}
        os.execvp(program, [program])
    shown, end = b"", time.monotonic() + 5
    os.set_blocking(terminal, False)
    while expected.encode() not in shown and time.monotonic() < end:
        try:
            shown += os.read(terminal, 65536)
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:  # the program is gone
            break
    try:
        os.write(terminal, key.encode())
    except OSError:
        pass
    os.close(terminal)
    os.waitpid(child, 0)
    if expected.encode() not in shown:
        raise Wrong(f"{program} does not draw its screen: {shown[-100:]!r}")


def _told(*command: str) -> str:
    """What a command prints; Wrong with its last words where it fails."""
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise Wrong(f"`{' '.join(command[:3])}` fails: {(ran.stderr or ran.stdout).strip()[-200:]}")
    return ran.stdout


def _version(*command: str) -> str:
    return _number(_told(*command))


def _number(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+\w*", text)
    return found[0] if found else ""
