"""Builds the simulated ``libnvidia-ml.so.1`` from ``nvml/*.c`` with the system's C compiler.

Every NVML symbol that nvidia-ml-py names is defined: those that the C files do not write answer
"function not found", as an older driver's library would through nvidia-ml-py.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_SOURCES = Path(__file__).parent / "nvml"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden")
_STUB = '__attribute__((weak, visibility("default"))) int {name}(void) {{ return 13; }}\n'
SONAME = "libnvidia-ml.so.1"


class CannotBuild(RuntimeError):
    """The simulated library could not be compiled; the message says what is missing."""


def build_library() -> Path:
    """The compiled library, alone in its directory; built at most once for the same sources."""
    stubs = "".join(_STUB.format(name=name) for name in sorted(_nvml_symbols()))
    digest = hashlib.sha256(f"{_FLAGS} {os.uname().machine}\n{stubs}".encode())
    for source in sorted(_SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    library = _cache() / digest.hexdigest()[:16] / SONAME
    if not library.exists():
        _compile(stubs, library)
    return library


def calls(function: str | None = None) -> int:
    """How often this process has called an NVML function (its name without version), or any of them."""
    count = ctypes.CDLL(SONAME).simgpu_calls
    count.restype, count.argtypes = ctypes.c_ulonglong, [ctypes.c_char_p]
    return int(count(function.encode() if function else None))


def _nvml_symbols() -> set[str]:
    """The names of NVML's functions, from nvidia-ml-py's own source (reading it loads no library)."""
    found = importlib.util.find_spec("pynvml")
    if found is None or found.origin is None:
        raise CannotBuild("nvidia-ml-py is not installed: pip install nvidia-ml-py.")
    return set(re.findall(r'_nvmlGetFunctionPointer\("(nvml\w+)"\)', Path(found.origin).read_text()))


def _cache() -> Path:
    """A directory of our own that everyone may read: servers of other users load the library, too."""
    cache = Path(tempfile.gettempdir()) / f"simgpu-{os.getuid()}"
    cache.mkdir(mode=0o755, exist_ok=True)
    if cache.is_symlink() or cache.stat().st_uid != os.getuid():
        raise CannotBuild(f"{cache} belongs to someone else: remove it, or set TMPDIR.")
    return cache


def _compile(stubs: str, library: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotBuild("No C compiler found: install one (apt install gcc libc6-dev).")
    library.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent.parent) as scratch:
        stub_file, built = Path(scratch, "stubs.c"), Path(scratch, SONAME)
        stub_file.write_text(stubs)
        sources = [*sorted(_SOURCES.glob("*.c")), stub_file]
        command = [
            compiler,
            *_FLAGS,
            f"-Wl,-soname,{SONAME}",
            "-o",
            str(built),
            *map(str, sources),
            "-lpthread",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CannotBuild(f"The simulated NVML does not compile:\n{done.stderr}")
        built.chmod(0o755)
        built.replace(library)
