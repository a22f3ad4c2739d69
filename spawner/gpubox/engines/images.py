"""All that templates ask of the container engine (`gpubox.machine_templates`).

Every call blocks, for as long as a disk takes: use threads. What the engine cannot do is an `EngineError`
with a sentence. Images are made with Docker's own store of layers in mind; with containerd's, a save is
refused (`check_store`)."""

from __future__ import annotations

import io
import socket
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from docker import APIClient
from docker.errors import APIError, ImageNotFound, NotFound

from ..machine_templates import imagefile
from ..machine_templates.contents import FOLDERS_KEPT, holds_private_key, left_out, outermost, suspects
from ..machine_templates.storage import Kept, Say
from ..refusal import PoolRefusal
from . import layers
from .streams import ERRORS, Stream, filtered, in_words

# overlayfs takes 128 layers; a machine on top and a base image that grows need some of them.
MOST_LAYERS = 64
_TRIES = 3
_FLAT = "-flat"
_KEY_BYTES = 65536
_MOST_KEYS_READ = 200
# Beside the layer: /tmp of a box is a mount. Back when the other end says so or is gone.
_PUT_AWAY = """
set -u
aside=$(mktemp -d) || exit 1
number=0
for path; do number=$((number + 1)); mv -- "$path" "$aside/$number" || break; done
[ -e "$path" ] || echo away
read -r _
number=0
for path; do number=$((number + 1)); [ ! -e "$aside/$number" ] || mv -- "$aside/$number" "$path"; done
rmdir "$aside"
"""


@dataclass(frozen=True)
class Found:
    """A running machine before it is kept. ``size_bytes`` is what its layer has; ``stale`` what stays out of
    it.
    """

    container: str
    parent: Mapping[str, Any]
    base: str
    size_bytes: int
    secrets: tuple[str, ...]
    stale: tuple[str, ...]
    mounts: frozenset[str]


class TemplateImages:
    """Templates' images of one hub."""

    def __init__(self, connect: Callable[[], APIClient], hub_id: str) -> None:
        self._connect = connect
        self._per_thread = threading.local()
        self._saving = f"gpubox/saving-{hub_id}"
        self._kept = f"gpubox/template-{hub_id}"
        # What an image is called in a file, and at the engine for as long as it is written.
        self.exported = f"gpubox/exported-{hub_id}"

    def connect(self) -> Any:
        """A client of its own."""
        return self._connect()

    @property
    def client(self) -> Any:
        """This thread's own client: requests' sessions are not made for sharing."""
        local = self._per_thread
        if getattr(local, "client", None) is None:
            local.client = self._connect()
        return local.client  # Any: docker-py has types for a part of its methods alone

    # --- a save ------------------------------------------------------------------------------------

    def check_store(self) -> None:
        """Raise `PoolRefusal` where the engine keeps layers in a way that templates cannot be made in."""
        if "containerd" in str(self.client.info().get("DriverStatus")):
            raise PoolRefusal(
                "Templates need Docker's own image store, and this engine uses containerd's. Tell the admin:"
                ' "containerd-snapshotter" is to be false in /etc/docker/daemon.json.',
                "engine",
            )

    @in_words
    def look(self, container: str) -> Found:
        """What a save of the running container will keep, and what in it looks like a secret."""
        self.check_store()
        box = self.client.inspect_container(container)
        if not box["State"]["Running"]:
            raise PoolRefusal("The machine does not run any more.", "not_held")
        try:
            parent = self.client.inspect_image(box["Image"])
        except ImageNotFound as error:
            raise PoolRefusal(
                "The image that the machine was started from is gone from the engine; start the machine"
                " anew.",
                "image_missing",
            ) from error
        paths = self._changed(box)
        (entry,) = self.client.containers(all=True, size=True, filters={"id": box["Id"]})
        named, keys = suspects(paths)
        named += self.with_private_keys(container, keys)
        return Found(
            container=box["Id"],
            parent=parent,
            base=box["Config"]["Image"],
            size_bytes=entry.get("SizeRw") or 0,
            secrets=tuple(sorted(named)),
            stale=tuple(outermost(path for path in paths if left_out(path))),
            mounts=frozenset(mount["Destination"] for mount in box["Mounts"]),
        )

    def with_private_keys(self, container: str, paths: Sequence[str]) -> list[str]:
        """Those of the paths, of the first of them, that hold a private key."""
        return [path for path in paths[:_MOST_KEYS_READ] if self._holds_key(container, path)]

    def _holds_key(self, container: str, path: str) -> bool:
        try:
            chunks, _ = self.client.get_archive(container, path)
            with tarfile.open(fileobj=Stream(chunks), mode="r|") as archive:
                for entry in archive:
                    file = archive.extractfile(entry) if entry.isreg() else None
                    return file is not None and holds_private_key(file.read(_KEY_BYTES))
        except ERRORS:
            return False  # gone meanwhile
        return False

    @in_words
    def keep(self, found: Found, save: str, base: str, say: Say) -> Kept:
        """Make an image of the machine, which goes on meanwhile. ``save`` is a name of its own.

        Whatever goes wrong, nothing of it is left at the engine.
        """
        raw, name = self.raw_name_of(save), self.name_of(save)
        try:
            say("Keeping the changes")
            with self._away(found):
                self._commit(found, save)
            committed = self.client.inspect_image(raw)
            chain = list(committed["RootFS"]["Layers"])
            inherited = list(found.parent["RootFS"]["Layers"])
            if chain == inherited:
                raise PoolRefusal(
                    "Nothing was changed in this machine but homes and temporary files, which are not part"
                    " of a"
                    " template.",
                    "nothing_changed",
                )
            new: dict[str, IO[bytes]] = {}
            try:
                if len(chain) + 1 > MOST_LAYERS:
                    say("Making one layer of many")
                    chain = [self._flatten(raw, save)]
                else:
                    self._check_left_out(found, committed)
                chain += [self._add(new, layer) for layer in self._folders(found)]
                say("Writing the template")
                config = imagefile.clean_config(found.parent, chain, base, time.time())
                with tempfile.TemporaryFile() as file:
                    imagefile.write(file, config, name, new)
                    file.seek(0)
                    self.load(file)
            finally:
                for layer in new.values():
                    layer.close()
            made = self.client.inspect_image(name)
            return Kept(name, max(0, made["Size"] - found.parent["Size"]), found.secrets)
        except BaseException:
            self.remove_quietly(name)
            raise
        finally:
            for left in (raw, f"{raw}{_FLAT}"):
                self.remove_quietly(left)

    def _commit(self, found: Found, save: str) -> None:
        # The machine goes on: a file that gets shorter while it is read makes the engine give up ("unexpected
        # EOF"). After two tries the machine is held still for the third.
        for tries_left in reversed(range(_TRIES)):
            try:
                self.client.commit(found.container, repository=self._saving, tag=save, pause=tries_left == 0)
                return
            except APIError as error:
                if not tries_left or "EOF" not in str(error.explanation):
                    raise

    @contextmanager
    def _away(self, found: Found) -> Iterator[None]:
        """Keep what stays out of templates out of the machine's layer for as long as the block lasts.

        The engine cannot leave files out of a layer, and to take them out later is to copy the image. They
        lie beside the layer meanwhile, seconds, and come back whatever happens: also when the hub is killed.
        """
        if not found.stale:
            yield
            return
        command = ["sh", "-c", _PUT_AWAY, "gpubox", *found.stale]
        created = self.client.exec_create(found.container, command, stdin=True, user="root")
        stream = self.client.exec_start(created["Id"], socket=True)
        # What docker-py hands out for a Unix socket reads only; the socket itself is below it.
        connection = getattr(stream, "_sock", stream)
        try:
            told = b""
            while b"away" not in told and (part := connection.recv(4096)):
                told += part
            if b"away" not in told:
                raise _not_left_out(found.stale)
            yield
        finally:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass  # until all is back
            stream.close()

    def _changed(self, box: Mapping[str, Any]) -> list[str]:
        """Paths in a machine's layer (an inspect record), less those that it deletes."""
        found = self._top(box, box["Image"])
        if found is None:
            changes = self.client.diff(box["Id"]) or []
            found = [change["Path"] for change in changes if change["Kind"] != 2]
        return found

    def _check_left_out(self, found: Found, committed: Mapping[str, Any]) -> None:
        """Look at the layer that was made: what was put away may have come again while it was read."""
        kept = self._top(committed, found.parent["Id"])
        if kept is None:
            kept = self._changed(self.client.inspect_container(found.container))
        if stale := outermost(path for path in kept if left_out(path)):
            raise _not_left_out(stale)

    def _top(self, record: Mapping[str, Any], image: str) -> list[str] | None:
        """Paths in the topmost layer of an image or a machine; None where the engine has to compare."""
        status = dict(self.client.info().get("DriverStatus") or ())
        found = layers.folders(record) if status.get("Native Overlay Diff") == "true" else []
        return layers.paths(self.client, image, found[:1]) if found else None

    def _folders(self, found: Found) -> Iterator[io.BytesIO]:
        for path in FOLDERS_KEPT:
            if path in found.mounts:
                chunks, _ = self.client.get_archive(found.container, path)
                with tarfile.open(fileobj=Stream(chunks), mode="r|") as archive:
                    layer = imagefile.folders_layer(archive, path)
                if layer is not None:
                    yield layer

    @staticmethod
    def _add(new: dict[str, IO[bytes]], layer: io.BytesIO) -> str:
        name = imagefile.diff_id(layer)
        new[name] = layer
        return name

    def _flatten(self, image: str, save: str) -> str:
        """One layer with all that the image has, less what is left out; its name."""
        flat = f"{save}{_FLAT}"
        scratch = self.client.create_container(image, command=["true"])["Id"]
        try:
            with filtered(Stream(self.client.export(scratch))) as stream:
                self.client.import_image_from_stream(stream, repository=self._saving, tag=flat)
            (layer,) = self.client.inspect_image(f"{self._saving}:{flat}")["RootFS"]["Layers"]
            return str(layer)
        finally:
            self.client.remove_container(scratch, v=True)

    def load(self, file: IO[bytes]) -> None:
        """Hand an image file to the engine. Raises APIError."""
        for told in self.client.load_image(file):
            if "error" in told:
                raise APIError(str(told["error"]), explanation=str(told["error"]))

    # --- images that are there ---------------------------------------------------------------------

    @in_words
    def users_of(self, image: str) -> list[str]:
        """Names of the containers, running or stopped, that were made from an image."""
        try:
            wanted = self.client.inspect_image(image)["Id"]
        except ImageNotFound:
            return []
        return [
            box["Names"][0].lstrip("/")
            for box in self.client.containers(all=True)
            if box["ImageID"] == wanted and box["Names"]
        ]

    def name_of(self, save: str) -> str:
        """The name that the image of a save gets."""
        return f"{self._kept}:{save}"

    def raw_name_of(self, save: str) -> str:
        """What it is called while it is made; whatever is called so is removed when a hub starts."""
        return f"{self._saving}:{save}"

    @in_words
    def remove(self, image: str) -> None:
        """Remove an image; one that is gone already is no error."""
        try:
            self.client.remove_image(image)
        except NotFound:
            return

    @in_words
    def sweep(self) -> int:
        """Remove what saves of a hub that ended in the middle have left; how many images that were."""
        left = [*self.client.images(self._saving), *self.client.images(self.exported)]
        for image in left:
            for tag in image["RepoTags"] or ():
                self.remove_quietly(tag)
        return len(left)

    @in_words
    def unrecorded(self, recorded: set[str]) -> list[str]:
        """Images of templates of this hub that no record names."""
        tags = [tag for image in self.client.images(self._kept) for tag in image["RepoTags"] or ()]
        return sorted(tag for tag in tags if tag.startswith(f"{self._kept}:") and tag not in recorded)

    def remove_quietly(self, image: str) -> None:
        """Remove an image where that can be done."""
        try:
            self.client.remove_image(image)
        except ERRORS:
            return  # there is none, or the next sweep has it


def _not_left_out(paths: Sequence[str]) -> PoolRefusal:
    shown = ", ".join(paths[:5])
    return PoolRefusal(
        f"These must not be in a template and could not be left out: {shown}. Delete them and save again.",
        "stale",
    )
