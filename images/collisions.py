#!/usr/bin/env python3
"""List the files that two packages of a lock both write, with content that differs.

    images/collisions.py images/locks/cpu.lock ...      exit status 1 where there is any

An installer lets the last package win and says nothing, and the first one is broken: TensorFlow on CUDA 12
and PyTorch on CUDA 13 do that to each other's cuDNN and NCCL. Wheels are gigabytes; the list of a wheel's
files with their hashes, RECORD, is some kilobytes near its end, and these alone are fetched. They are kept in
~/.cache/gpubox/records, with the hashes that the lock names.

Environment: PIP_INDEX_URL, an index that speaks JSON (PEP 691), PyPI's by default. Needs the packages
requests and packaging.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import sys
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import requests
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

PYTHON = (3, 13)
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(41, 4, -1)] + [
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
]
TAGS: dict[Tag, int] = {}
for _tag in itertools.chain(
    cpython_tags(PYTHON, platforms=PLATFORMS), compatible_tags(PYTHON, "cp313", PLATFORMS)
):
    TAGS.setdefault(_tag, len(TAGS))

TAIL_BYTES = 256 << 10  # RECORD and the zip's directory of all but the largest wheels
JSON = "application/vnd.pypi.simple.v1+json"


class Written(NamedTuple):
    """A file that a package writes."""

    digest: str
    size_bytes: int


Files = Mapping[str, Written]
"""What a package writes, by path below the environment."""


@dataclass(frozen=True)
class Locked:
    """A package of a lock, with the hashes of the files that it may come as."""

    name: str
    version: str
    hashes: frozenset[str]


@dataclass(frozen=True)
class Collision:
    """A file that several packages write, differently."""

    path: str
    packages: tuple[str, ...]


def collisions(packages: Mapping[str, Files]) -> list[Collision]:
    """The files that differ between two packages, by name of the package."""
    writers: dict[str, dict[str, str]] = defaultdict(dict)
    for package, files in packages.items():
        for path, file in files.items():
            writers[path][package] = file.digest
    return [
        Collision(path, tuple(sorted(digests)))
        for path, digests in sorted(writers.items())
        if len(set(digests.values())) > 1
    ]


def unpacked_bytes(packages: Mapping[str, Files]) -> int:
    """What the files of packages take on a disk, before anything is taken out or compiled."""
    return sum(file.size_bytes for files in packages.values() for file in files.values())


def read_lock(text: str) -> list[Locked]:
    """The packages of a lock file with hashes."""
    found = re.findall(r"^([\w.-]+)==(\S+)(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    return [
        Locked(name, version, frozenset(re.findall(r"sha256:([0-9a-f]{64})", rest)))
        for name, version, rest in found
    ]


# --- what a wheel writes ---------------------------------------------------------------------------


def files_of_record(record: str) -> dict[str, Written]:
    """The files of a RECORD, where an installer puts them, without metadata, of which each has its own."""
    found = {}
    for row in csv.reader(io.StringIO(record)):
        if len(row) < 3 or not row[1] or ".dist-info/" in row[0]:
            continue
        found[installed_path(row[0])] = Written(row[1], int(row[2] or 0))
    return found


def installed_path(path: str) -> str:
    """Where a file of a wheel goes: ``x-1.data/scripts/y`` is bin/y, and so on."""
    place, slash, rest = path.partition("/")
    if not place.endswith(".data") or not slash:
        return f"site-packages/{path}"
    scheme, _, rest = rest.partition("/")
    roots = {"purelib": "site-packages/", "platlib": "site-packages/", "scripts": "bin/", "data": ""}
    return (roots.get(scheme, f"{scheme}/") + rest).replace("lib/python3.13/site-packages/", "site-packages/")


class RemoteFile(io.RawIOBase):
    """A file on a web server, read in ranges; its end is read once and kept."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self._session, self._url, self._position = session, url, 0
        answer = self._get(f"bytes=-{TAIL_BYTES}")
        self._tail = answer.content
        whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
        self._size = int(whole) if answer.status_code == 206 else len(self._tail)

    def _get(self, span: str) -> requests.Response:
        answer = self._session.get(self._url, headers={"Range": span}, timeout=60)
        answer.raise_for_status()
        return answer

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        start, end = self._position, min(self._position + len(buffer), self._size)
        if start >= end:
            return 0
        tail_start = self._size - len(self._tail)
        if start >= tail_start:
            content = self._tail[start - tail_start : end - tail_start]
        else:
            content = self._get(f"bytes={start}-{end - 1}").content
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


class Records:
    """The lists of files of wheels: from the folder where they are kept, else from the index."""

    def __init__(self, folder: Path, index: str = "") -> None:
        self._folder = folder
        self._index = (index or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple").rstrip("/")
        self._own = threading.local()  # a session a thread: sessions are not safe to share

    def files(self, package: Locked) -> Files:
        """What a package writes into an environment for this image."""
        kept = self._folder / f"{package.name}-{package.version}.json"
        wanted = sorted(package.hashes)
        if kept.exists():
            content = json.loads(kept.read_text())
            if content["hashes"] == wanted:
                return {path: Written(*file) for path, file in content["files"].items()}
        files = files_of_record(self._record(self._wheel(package)))
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{threading.get_ident()}")
        fresh.write_text(json.dumps({"hashes": wanted, "files": files}))
        fresh.replace(kept)
        return files

    def _session(self) -> requests.Session:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        session: requests.Session = self._own.session
        return session

    def _wheel(self, package: Locked) -> str:
        """The address of the wheel that an installer would take."""
        answer = self._session().get(f"{self._index}/{package.name}/", headers={"Accept": JSON}, timeout=60)
        answer.raise_for_status()
        allowed = [file for file in answer.json()["files"] if file["hashes"].get("sha256") in package.hashes]
        best = {rank: file["url"] for file in allowed if (rank := _rank(file["filename"])) is not None}
        if not best:
            raise LookupError(f"{package.name} {package.version}: the index has no wheel of these hashes")
        return str(requests.compat.urljoin(f"{self._index}/{package.name}/", best[min(best)]))

    def _record(self, url: str) -> str:
        with zipfile.ZipFile(io.BufferedReader(RemoteFile(self._session(), url), TAIL_BYTES)) as wheel:
            [record] = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", name)]
            return wheel.read(record).decode()


def _rank(filename: str) -> int | None:
    try:
        tags = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return None
    return min((TAGS[tag] for tag in tags if tag in TAGS), default=None)


# --- the command ------------------------------------------------------------------------------------


def files_of(lock: Path, records: Records) -> dict[str, Files]:
    """What each package of a lock file writes."""
    packages = read_lock(lock.read_text())
    with ThreadPoolExecutor(16) as threads:
        return dict(zip((p.name for p in packages), threads.map(records.files, packages), strict=True))


def check(lock: Path, records: Records) -> list[Collision]:
    """The collisions of a lock file."""
    return collisions(files_of(lock, records))


def cache_folder() -> Path:
    """Where lists are kept from run to run."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpubox" / "records"


def main(arguments: Iterable[str]) -> int:
    """Check lock files; 1 where packages collide."""
    records, status = Records(cache_folder()), 0
    for argument in arguments:
        files = files_of(Path(argument), records)
        found = collisions(files)
        told = f"{len(found)} files collide" if found else "no file twice"
        print(f"{argument}: {len(files)} packages, {unpacked_bytes(files) / 1e9:.1f} GB, {told}")
        for collision in found:
            print(f"  {collision.path}: {', '.join(collision.packages)}")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
