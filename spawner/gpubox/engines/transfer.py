"""Templates that leave this engine and come to it: as files, and by registries. Blocks: use threads.

What of an image from elsewhere is believed is in `gpubox.machine_templates.packing`. Credentials for
registries are those of the hub's own account (``docker login``); docker-py reads them.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from docker.errors import APIError, ImageNotFound

from ..machine_templates import imagefile
from ..machine_templates.contents import suspects
from ..machine_templates.packing import (
    MOST_LAYERS_IN,
    About,
    ImageFile,
    about,
    not_a_template,
)
from ..refusal import PoolRefusal
from . import layers
from .images import TemplateImages
from .streams import in_words, piped

# A registry's host has a dot or a port; without one, the name would be Docker Hub's, or an image's of here.
_REGISTRY = re.compile(
    r"(?P<repository>(localhost|[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(?=:))(:[0-9]+)?"
    r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)+)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
)


class Job(Protocol):
    """Who asked: is told how far it is, and may want it no more."""

    def say(self, words: str) -> None:
        """How far it is."""

    def go_on(self) -> None:
        """Raises `packing.Cancelled` once nobody wants it any more."""


@dataclass(frozen=True)
class Taken:
    """An image that came in. ``size_bytes`` is what it adds to the image of here that it shares most with,
    ``base`` in words what it was made from; ``secrets`` are paths that look like one."""

    name: str
    about: About
    base: str
    size_bytes: int
    secrets: tuple[str, ...]


class Transfers:
    """Files and registries, for the templates' images of one hub."""

    def __init__(self, images: TemplateImages) -> None:
        self._images = images
        self._one_export = threading.Lock()

    @property
    def _client(self) -> Any:
        return self._images.client

    # --- out -------------------------------------------------------------------------------------

    @in_words
    def export(self, image: str, told: About, path: Path, job: Job) -> int:
        """Write an image as a file that ``docker load`` reads; returns its bytes.

        Raises `PoolRefusal` where there is a file of that name. What was begun is removed.
        """
        self._images.check_store()
        if path.exists():
            raise PoolRefusal(f"{path} is there already: choose another name, or remove it.", "file")
        draft = path.with_name(f".{path.name}.part")
        name = f"{self._images.exported}:{told.name}"
        with self._one_export, self._described(image, told, name) as size:
            try:
                with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    for chunk in self._client.get_image(name):
                        job.go_on()
                        file.write(chunk)
                        job.say(f"Written: {_gb(file.tell())} of about {_gb(size)}")
                draft.rename(path)
            except FileExistsError as error:
                words = f"{draft} is there: remove it, if no other export writes it."
                raise PoolRefusal(words, "file") from error
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        return path.stat().st_size

    @in_words
    def push(self, image: str, told: About, target: str, job: Job) -> str:
        """Push an image to a registry; returns its digest there."""
        self._images.check_store()
        repository, tag = split_target(target)
        name = f"{repository}:{tag}"
        with suppress(ImageNotFound):
            self._client.inspect_image(name)
            raise PoolRefusal(f"The engine has an image {name} of its own: choose another name.", "target")
        digest = ""
        with self._described(image, told, name):
            client = self._images.connect()  # it reads the credentials of today
            for event in client.push(repository, tag, stream=True, decode=True):
                job.go_on()
                _tell(event, job, "Sent")
                digest = (event.get("aux") or {}).get("Digest") or digest
        return digest

    @contextmanager
    def _described(self, image: str, told: About, name: str) -> Iterator[int]:
        """The same image with labels that tell what it is, called ``name`` for as long as the block lasts."""
        record = self._client.inspect_image(image)
        chain = record["RootFS"]["Layers"]
        config = imagefile.clean_config(record, chain, told.base, told.saved_at or time.time())
        config["config"]["Labels"] |= told.as_labels()
        with piped(lambda target: imagefile.write(target, config, name)) as stream:
            self._images.load(stream)
        try:
            yield int(record["Size"])
        finally:
            self._images.remove_quietly(name)

    # --- in --------------------------------------------------------------------------------------

    @in_words
    def take_file(
        self, path: Path, save: str, most_bytes: int | None, known: Sequence[str], job: Job
    ) -> Taken:
        """Make an image of a file from elsewhere. ``known`` are images of this hub's that it may share layers
        with; ``most_bytes`` is how much it may add.

        Raises `PoolRefusal`. Whatever goes wrong, nothing of it is left at the engine.
        """
        self._images.check_store()
        job.say("Looking at the file")
        with ImageFile(path) as found:
            base, shared = self._nearest(list(found.layers), known)
            own = [digest for digest in found.layers if digest not in shared]
            total = sum(found.layers[digest].size for digest in own)
            _check_room(total, most_bytes)
            read = 0

            def heed(size: int) -> None:
                nonlocal read
                job.go_on()
                read += size
                job.say(f"Read: {_gb(read)} of {_gb(total)}")

            opened = {digest: found.open(digest, heed) for digest in own}
            return self._take(found.config, found.about, base, save, opened, job)

    @in_words
    def pull(self, source: str, save: str, most_bytes: int | None, known: Sequence[str], job: Job) -> Taken:
        """Make an image of one in a registry; otherwise as `take_file`."""
        self._images.check_store()
        repository, tag = split_target(source)
        client = self._images.connect()  # it reads the credentials of today
        digest = client.inspect_distribution(f"{repository}:{tag}")["Descriptor"]["digest"]
        # By its digest it gets no name here that an image of ours may have.
        pulled = f"{repository}@{digest}"
        was_here = self._is_here(pulled)
        try:
            for event in client.pull(repository, tag=digest, stream=True, decode=True):
                job.go_on()
                _tell(event, job, "Received")
            record = self._client.inspect_image(pulled)
            chain = list(record["RootFS"]["Layers"])
            if len(chain) > MOST_LAYERS_IN:
                raise not_a_template("it has too many layers")
            base, _ = self._nearest(chain, known)
            _check_room(record["Size"] - (base["Size"] if base else 0), most_bytes)
            try:
                config = imagefile.foreign_config(
                    {
                        "architecture": record.get("Architecture"),
                        "config": record.get("Config"),
                        "rootfs": {"diff_ids": chain},
                    },
                    time.time(),
                )
            except ValueError as error:
                raise not_a_template(str(error)) from error
            told = about((record.get("Config") or {}).get("Labels"))
            return self._take(config, told, base, save, {}, job)
        finally:
            if not was_here:
                self._images.remove_quietly(pulled)

    def forget(self, image: str) -> None:
        """Remove what was taken in and could not be written down."""
        self._images.remove_quietly(image)

    def _is_here(self, image: str) -> bool:
        try:
            self._client.inspect_image(image)
        except ImageNotFound:
            return False
        return True

    def _take(
        self,
        config: dict[str, Any],
        told: About,
        base: Mapping[str, Any] | None,
        save: str,
        own: Mapping[str, IO[bytes]],
        job: Job,
    ) -> Taken:
        here = self._client.version()["Arch"]
        if config["architecture"] != here:
            its = config["architecture"] or "no machine"
            raise not_a_template(f"it is for {its}, and this one is {here}")
        config["config"]["Labels"] = {imagefile.LABEL_BASE: told.base}
        raw, name = self._images.raw_name_of(save), self._images.name_of(save)
        try:
            with piped(lambda target: imagefile.write(target, config, raw, own)) as stream:
                self._images.load(stream)
            job.say("Looking for secrets")
            made = self._client.inspect_image(raw)
            secrets = self._secrets(made, base)
            job.go_on()
            repository, _, tag = name.rpartition(":")
            self._client.tag(raw, repository, tag)
        finally:
            self._images.remove_quietly(raw)
        size = made["Size"] - (base["Size"] if base else 0)
        words = told.base or (base["RepoTags"][0] if base else "an image from elsewhere")
        return Taken(name, told, words, max(0, size), tuple(sorted(secrets)))

    def _nearest(self, chain: list[str], known: Sequence[str]) -> tuple[Mapping[str, Any] | None, set[str]]:
        """Of the known images the one that has the most layers of the chain, all of its own; and which."""
        best: Mapping[str, Any] | None = None
        shared: list[str] = []
        for name in known:
            try:
                record = self._client.inspect_image(name)
            except ImageNotFound:
                continue
            its = record["RootFS"]["Layers"]
            if chain[: len(its)] == its and len(its) > len(shared):
                best, shared = record, its
        return best, set(shared)

    def _secrets(self, image: Mapping[str, Any], base: Mapping[str, Any] | None) -> list[str]:
        inherited = len(base["RootFS"]["Layers"]) if base else 0
        folders = layers.folders(image)
        found = layers.paths(self._client, (base or image)["Id"], folders[: len(folders) - inherited])
        named, keys = suspects(set(found or ()))
        scratch = self._client.create_container(image["Id"], command=["true"])["Id"]
        try:
            return named + self._images.with_private_keys(scratch, keys)
        finally:
            self._client.remove_container(scratch, v=True)


def split_target(target: str) -> tuple[str, str]:
    """Repository and tag of ``registry.lab:5000/ml/torch:2``; no tag is ``latest``. Raises `PoolRefusal`."""
    found = _REGISTRY.fullmatch(target)
    if found is None:
        raise PoolRefusal(
            f"{target!r} names no place in a registry: expected is registry.example.org/name:tag.", "target"
        )
    return found["repository"], found["tag"] or "latest"


def _tell(event: Mapping[str, Any], job: Job, verb: str) -> None:
    if "error" in event:
        raise APIError(str(event["error"]), explanation=str(event["error"]))
    progress = event.get("progressDetail") or {}
    if progress.get("total"):
        of = f"{_gb(progress['current'])} of {_gb(progress['total'])}"
        job.say(f"{verb} of layer {event.get('id', '')}: {of}")


def _check_room(adds: int, most_bytes: int | None) -> None:
    if most_bytes is not None and adds > most_bytes:
        raise PoolRefusal(
            f"It would take {_gb(adds)}, and {_gb(max(0, most_bytes))} are left of what its owner's templates"
            " may take.",
            "over_quota",
        )


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"
