"""The lock files: nothing in them is written twice, and what they name fits together."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import re
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gpubox.host.contents import LOCKS as CONTENTS

IMAGES = Path(__file__).parents[2] / "images"
LOCKS = IMAGES / "locks"
ENVIRONMENTS = sorted({*LOCKS.glob("*.lock")} - {LOCKS / "uv.lock"})

_spec = importlib.util.spec_from_file_location("collisions", IMAGES / "collisions.py")
assert _spec is not None and _spec.loader is not None
checker: Any = importlib.util.module_from_spec(_spec)
sys.modules["collisions"] = checker  # dataclasses look there
_spec.loader.exec_module(checker)


@pytest.fixture(scope="session")
def records() -> Any:
    """The lists of files of real wheels, kept from run to run."""
    return checker.Records(checker.cache_folder())


@pytest.mark.parametrize("lock", ENVIRONMENTS, ids=lambda lock: lock.stem)
def test_no_two_packages_of_a_lock_write_the_same_file(lock: Path, records: Any) -> None:
    assert checker.check(lock, records) == []


def test_one_environment_for_both_cudas_would_be_broken(records: Any, tmp_path: Path) -> None:
    both = tmp_path / "both.lock"
    both.write_text((LOCKS / "cuda.lock").read_text() + (LOCKS / "cuda-tf.lock").read_text())
    found = checker.check(both, records)
    assert len(found) > 50
    libraries = {re.split(r"[/-]", package)[1] for collision in found for package in collision.packages}
    assert {"cudnn", "nccl"} <= libraries


@pytest.mark.parametrize(("target", "gigabytes"), [("cuda", 16), ("cuda12", 16)])
def test_a_cuda_image_which_is_too_large_to_be_built_here_will_have_its_size(
    target: str, gigabytes: int, records: Any
) -> None:
    """Its wheels without what `slim` takes out, a file that both environments have once, and 1.3 GB for
    Debian's packages and for bytecode."""
    taken_out = re.compile(r"/tests/|^site-packages/(tensorflow/include|clang/native)/")
    files = {}
    for name in CONTENTS[target]:
        for writes in checker.files_of(LOCKS / f"{name}.lock", records).values():
            kept = (file for path, file in writes.items() if not taken_out.search(path))
            files |= {file.digest: file.size_bytes for file in kept}
    assert sum(files.values()) + 1.3e9 <= gigabytes * 1e9


# --- the check itself, on wheels made here -----------------------------------------------------------


class Index(http.server.SimpleHTTPRequestHandler):
    """An index of the wheels of a folder, which answers ranges as real ones do."""

    asked: list[str] = []

    def do_GET(self) -> None:
        folder = Path(self.directory)
        if self.path.endswith("/"):
            files = [
                {"filename": wheel.name, "url": f"/{wheel.name}", "hashes": {"sha256": sha256(wheel)}}
                for wheel in folder.glob("*.whl")
            ]
            self._answer(200, json.dumps({"files": files}).encode())
            return
        content = (folder / self.path.lstrip("/")).read_bytes()
        span = self.headers["Range"]
        type(self).asked.append(span)
        start, _, end = span.removeprefix("bytes=").partition("-")
        part = content[int(start) : int(end) + 1] if start else content[-int(end) :]
        self._answer(206, part, f"bytes {start or 0}-{end}/{len(content)}")

    def _answer(self, status: int, content: bytes, span: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def sha256(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_wheel(folder: Path, name: str, files: dict[str, str], tags: str = "py3-none-any") -> str:
    """A wheel with these files; its line of a lock."""
    path = folder / f"{name}-1.0-{tags}.whl"
    record = [f"{file},sha256={hashlib.sha256(text.encode()).hexdigest()},1" for file, text in files.items()]
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", name)
        record.append(f"{name}-1.0.dist-info/METADATA,sha256={name},1")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "\n".join([*record, f"{name}-1.0.dist-info/RECORD,,"]))
    return f"{name}==1.0 \\\n    --hash=sha256:{sha256(path)}\n    # via somebody\n"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder for wheels, and the address under which it is an index."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    Index.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=str(wheels)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield wheels, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def collide(index: tuple[Path, str], *lines: str) -> list[Any]:
    """The collisions of a lock of these lines."""
    lock = index[0] / "some.lock"
    lock.write_text("".join(lines))
    found: list[Any] = checker.check(lock, checker.Records(index[0] / "kept", index[1]))
    return found


def test_a_file_that_differs_is_told_with_both_packages(index: tuple[Path, str]) -> None:
    first = make_wheel(index[0], "first", {"nvidia/lib.so": "12", "first/a.py": ""})
    second = make_wheel(index[0], "second", {"nvidia/lib.so": "13", "second/a.py": ""})
    assert collide(index, first, second) == [
        checker.Collision("site-packages/nvidia/lib.so", ("first", "second"))
    ]


def test_a_file_that_both_write_the_same_is_none(index: tuple[Path, str]) -> None:
    lines = [make_wheel(index[0], name, {"nvidia/__init__.py": ""}) for name in ("first", "second")]
    assert collide(index, *lines) == []


def test_files_are_compared_where_an_installer_puts_them(index: tuple[Path, str]) -> None:
    first = make_wheel(
        index[0], "first", {"first-1.0.data/purelib/x.py": "1", "first-1.0.data/scripts/x": "1"}
    )
    second = make_wheel(index[0], "second", {"x.py": "2", "second-1.0.data/scripts/x": "2"})
    found = [collision.path for collision in collide(index, first, second)]
    assert found == ["bin/x", "site-packages/x.py"]


def test_the_wheel_is_that_of_the_images_python(index: tuple[Path, str]) -> None:
    lines = [
        make_wheel(index[0], "first", {"x": "old"}, "cp39-cp39-manylinux2014_x86_64"),
        make_wheel(index[0], "first", {"x": "arm"}, "cp313-cp313-manylinux2014_aarch64"),
        make_wheel(index[0], "first", {"x": "right"}, "cp313-cp313-manylinux_2_28_x86_64"),
    ]
    hashes = "".join(re.findall(r"    --hash=\S+\n", "".join(lines))).replace("\n", " \\\n")
    second = make_wheel(index[0], "second", {"x": "right"})
    assert collide(index, f"first==1.0 \\\n{hashes}    # all\n", second) == []


def test_of_a_large_wheel_only_the_end_is_fetched_and_only_once(index: tuple[Path, str]) -> None:
    large = make_wheel(index[0], "large", {"large.so": "x" * 5_000_000})
    assert collide(index, large) == [] == collide(index, large)
    assert Index.asked == [f"bytes=-{checker.TAIL_BYTES}"]


def test_a_wheel_that_is_not_on_the_index_is_an_error_and_no_pass(index: tuple[Path, str]) -> None:
    with pytest.raises(LookupError, match=r"missing 1\.0"):
        collide(index, f"missing==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
