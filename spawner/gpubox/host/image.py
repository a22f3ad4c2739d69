"""The image that servers run: afterwards the engine has it.

It is built from the source tree's ``images/`` by the engine itself. Which packages it holds is told
there; here is the call, what it says meanwhile, and its failures in words.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import docker
from docker.errors import ImageNotFound

from .. import __version__
from . import HostProblem, Say, engine
from .contents import Contents, contents


@dataclass(frozen=True)
class Need:
    """What a first build takes: disk, with what it keeps for the next one, and time."""

    disk_gb: int
    minutes: int


TARGETS = {"cpu": Need(12, 10), "cuda": Need(60, 30), "cuda12": Need(45, 25)}
"""The targets of ``images/Dockerfile``, and what the first build of each takes."""
BASE = "gpubox/base:trixie"
REGISTRY_BASE = "debian:trixie"
_NO_MORE: Mapping[str, str] = MappingProxyType({})
CUDA_LABEL = "gpubox.image.cuda"
"""The CUDA version that an image was made with, such as ``13.0``; absent where it holds none."""

CONTENTS_LABEL = "gpubox.image.contents"
"""The frameworks of an image in words, such as ``PyTorch 2.15, TensorFlow 2.21, CUDA 13.2``."""


class ImageProblem(HostProblem):
    """An image cannot be built; str() says why, and what to do."""


@dataclass(frozen=True)
class ImageFacts:
    """An image that the engine has. ``cuda`` is None where it holds none; ``contents`` are its frameworks."""

    name: str
    created: datetime
    size_bytes: int
    version: str = ""
    contents: str = ""
    cuda: tuple[int, int] | None = None

    def age_days(self, now: datetime) -> int:
        """Whole days since it was built."""
        return max(0, (now - self.created).days)


def image_name(target: str) -> str:
    """The name under which a target of ``images/Dockerfile`` is built.

    ``GPUBOX_IMAGE_TAG`` names another tag, where several checkouts share an engine.
    """
    return f"gpubox/{target}:{os.environ.get('GPUBOX_IMAGE_TAG') or 'latest'}"


def find_image(client: docker.DockerClient, name: str) -> ImageFacts | None:
    """What the engine knows of an image; None where it has no such one."""
    try:
        found = client.images.get(name)
    except ImageNotFound:
        return None
    return _facts(name, found.attrs)


def ensure_image(client: docker.DockerClient, target: str, say: Say) -> ImageFacts:
    """The image of a target, built first where it is missing. Raises `ImageProblem`."""
    found = find_image(client, image_name(target))
    return found or build_image(client, target, say)


def build_image(
    client: docker.DockerClient, target: str, say: Say, arguments: Mapping[str, str] | None = None
) -> ImageFacts:
    """Build the image of a target, with what changed since the last build.

    ``arguments`` are further build arguments of ``images/Dockerfile``, such as ``{"FAST_LANE": "yes"}``.
    Raises `ImageProblem` with a sentence that says what stopped it.
    """
    source = source_tree()
    _check_buildx()
    base = ensure_base(client, source, say)
    if find_image(client, image_name(target)) is None:
        _tell_first_build(client, target, say)
    command = build_command(
        target,
        base=base,
        version=__version__,
        ca=ca_bundle(os.environ),
        holds=contents(source / "images", target),
        more=arguments or _NO_MORE,
    )
    _run_build(command, source, say)
    built = find_image(client, image_name(target))
    if built is None:
        raise ImageProblem(f"The build ended well, and the engine has no {image_name(target)}.")
    return built


def build_into(
    client: docker.DockerClient, target: str, folder: Path, say: Say, arguments: Mapping[str, str]
) -> None:
    """Build a target that is no image but files, into a folder. Raises `ImageProblem`."""
    source = source_tree()
    _check_buildx()
    base = ensure_base(client, source, say)
    command = build_command(
        target,
        base=base,
        version=__version__,
        ca=ca_bundle(os.environ),
        holds=contents(source / "images", arguments.get("VM_OF", "cpu")),
        more=arguments,
        output=("--output", f"type=local,dest={folder}"),
    )
    _run_build(command, source, say)


def source_tree() -> Path:
    """The checkout that this package runs from; `ImageProblem` where it runs from no checkout."""
    tree = Path(__file__).parents[3]
    if not (tree / "images" / "Dockerfile").is_file():
        raise ImageProblem(
            "The image is built from gpubox's source tree, and this gpubox was installed without"
            " one. Get the source, then run there: make image"
        )
    return tree


def ensure_base(client: docker.DockerClient, source: Path, say: Say) -> str:
    """The image to build on: Debian, made here from its packages; from a registry without root."""
    if find_image(client, BASE) is not None:
        return BASE
    if os.geteuid() != 0:
        return REGISTRY_BASE
    tail = _follow([str(source / "images" / "make-base")], source, _own_lines(say))
    if tail is not None:
        raise ImageProblem(f"The base image could not be made: {explain(tail)}")
    return BASE


def build_command(
    target: str,
    *,
    base: str,
    version: str,
    ca: str,
    holds: Contents,
    more: Mapping[str, str] = _NO_MORE,
    output: tuple[str, ...] = (),
) -> list[str]:
    """The build of a target, to be run at the top of the source tree.

    ``ca`` is a file with the certificates that this machine trusts, empty for the public ones: the
    build reads it as a secret, so it is in no layer. ``holds`` goes into the image's labels.
    ``more`` are build arguments beside these; of the same name, they win. ``output`` says where it goes;
    by default it becomes an image of the engine.
    """
    arguments = {"BASE": base, "VERSION": version, "CONTENTS": holds.words}
    if holds.cuda:
        arguments["CUDA"] = holds.cuda
    arguments |= more
    return [
        *("docker", "buildx", "build", *(() if output else ("--load",)), "--progress=plain"),
        *("-f", "images/Dockerfile", "--target", target),
        *(output or ("-t", image_name(target))),
        *(word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")),
        *(["--secret", f"id=ca,src={ca}"] if ca else []),
        ".",
    ]


def _tell_first_build(client: docker.DockerClient, target: str, say: Say) -> None:
    """Say what is ahead, and where the disk looks too small for it: a build may need less, so it goes on."""
    need = TARGETS[target]
    say(f"building {image_name(target)} for the first time: about {need.minutes} minutes")
    root = client.info().get("DockerRootDir") or ""
    if Path(root).is_dir() and (free := shutil.disk_usage(root).free / 1e9) < need.disk_gb:
        say(f"{root} has {free:.0f} GB free, and the build may take {need.disk_gb}")


def ca_bundle(environment: os._Environ[str] | dict[str, str]) -> str:
    """The file of certificates that this machine is told to trust; empty where it is told nothing."""
    for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"):
        file = environment.get(name, "")
        if file and Path(file).is_file():
            return file
    return ""


# --- what a build says ----------------------------------------------------------------------------


class BuildStory:
    """Turns buildx's plain output into one line a step; steps from the cache are not told."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._steps: dict[str, str] = {}
        self._told: set[str] = set()

    def hear(self, line: str) -> None:
        """One line of the output."""
        found = re.match(r"#(\d+) (.*)", line)
        if found is None:
            return
        step, words = found.groups()
        if named := re.match(r"\[([\w.-]+)\s+(\d+/\d+)\] (.*)", words):
            self._steps[step] = f"{named[1]} {named[2]}: {_gist(named[3])}"
        elif words.startswith("exporting to client directory"):
            self._steps[step] = "copying what was built out of the engine"
        elif words.startswith("exporting to"):
            self._steps[step] = "handing the image to the engine"
        elif step not in self._steps:
            return
        elif re.match(r"\d+\.\d+ |exporting layers|copying files", words) and step not in self._told:
            self._told.add(step)
            self._say(self._steps[step])
        elif (done := re.match(r"DONE (\d+)\.\d+s", words)) and int(done[1]) >= 5 and step in self._told:
            self._say(f"{self._steps[step].partition(':')[0]}: done in {done[1]} s")


def _gist(command: str) -> str:
    """The head of a Dockerfile command, without what it mounts and sets."""
    words = re.sub(r"--mount=\S+|export [^&]*&&", " ", command)
    words = " ".join(words.split())
    return words if len(words) <= 70 else f"{words[:69]}…"


_FAILURES = (
    (
        rf"load metadata for \S*{REGISTRY_BASE}.*(denied|not found|failed to do request)",
        f"its base {REGISTRY_BASE} could not be pulled. Run this once as root (sudo make image): then"
        " the base is made from Debian's packages, with no registry.",
    ),
    (
        r"no space left on device",
        "the disk of the container engine is full. Free some (docker system df tells what is in it,"
        " docker builder prune clears old build steps), then run this again.",
    ),
    (
        r"could not resolve|name resolution|network is unreachable|dns error|failed to fetch|"
        r"temporary failure resolving|error sending request|connection (timed out|refused)",
        "the packages could not be fetched. Check this machine's network, then run this again.",
    ),
    (
        r"certificate verify failed|unknownissuer",
        "a server's certificate is not trusted. Behind a proxy that re-signs traffic, name its"
        " certificates in SSL_CERT_FILE, then run this again.",
    ),
)


def explain(tail: Iterable[str]) -> str:
    """Why a build failed, from the end of its output, and what to do."""
    lines = [line for line in tail if line.strip()]
    text = "\n".join(lines)
    for pattern, words in _FAILURES:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return words
    return "\n".join(["the end of its output:", *lines[-12:]])


def _run_build(command: list[str], source: Path, say: Say) -> None:
    tail = _follow(command, source, BuildStory(say).hear)
    if tail is not None:
        raise ImageProblem(f"The image could not be built: {explain(tail)}")


def _follow(command: list[str], directory: Path, hear: Say) -> list[str] | None:
    """Run a command, hand on its lines as they come; the last lines where it failed, else None."""
    # The engine that the rest of gpubox talks to, whatever the CLI's own context says.
    environment = {"DOCKER_HOST": f"unix://{engine.SOCKET}", **os.environ}
    tail: deque[str] = deque(maxlen=60)
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line.rstrip())
            hear(line.rstrip())
    return list(tail) if process.returncode else None


def _own_lines(say: Say) -> Say:
    """Hands on what ``make-base`` says, not what the programs say that it runs."""
    name = "make-base: "
    return lambda line: say(line.removeprefix(name)) if line.startswith(name) else None


def _check_buildx() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode
    ):
        raise ImageProblem(
            "Building the image takes Docker's command line with buildx. Install them (Debian:"
            " apt-get install docker-cli docker-buildx), then run this again."
        )


def _facts(name: str, attrs: dict[str, Any]) -> ImageFacts:
    labels = (attrs.get("Config") or {}).get("Labels") or {}
    return ImageFacts(
        name=name,
        created=_time(attrs.get("Created") or ""),
        size_bytes=int(attrs.get("Size") or 0),
        version=labels.get("gpubox.image.version", ""),
        contents=labels.get(CONTENTS_LABEL, ""),
        cuda=cuda_version(labels.get(CUDA_LABEL, "")),
    )


def cuda_version(text: str) -> tuple[int, int] | None:
    """``13.0`` as (13, 0); None for what is no version."""
    found = re.fullmatch(r"(\d+)\.(\d+)(?:\.\d+)*", text.strip())
    return (int(found[1]), int(found[2])) if found else None


def _time(text: str) -> datetime:
    # Docker writes nanoseconds, which Python 3.10 does not read.
    found = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text)
    if found is None:
        return datetime.fromtimestamp(0, UTC)
    return datetime.fromisoformat(found[0]).replace(tzinfo=UTC)
