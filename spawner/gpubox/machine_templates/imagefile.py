"""Images written by hand, in the form that ``docker load`` takes (Docker Image Specification v1.2).

A layer that the engine has already need not be in the file: it is known by its place in the chain of layers.
So an image with another config over the same layers costs nothing, and one more layer costs that layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

Record = Mapping[str, Any]
_FIELDS_OF_ENTRIES = ("path", "linkpath", "size", "mtime", "uid", "gid", "uname", "gname")

LABEL_BASE = "gpubox.template.base"
# What a template that moves to another hub takes along.
LABEL_NAME = "gpubox.template.name"
LABEL_NOTE = "gpubox.template.note"
LABEL_MACHINE = "gpubox.template.machine"
LABEL_SAVED = "gpubox.template.saved"

# Of a config from elsewhere: how its programs are started. Not its user, volumes, ports, health check and
# labels, which are the box's to say.
_FOREIGN = ("Entrypoint", "Cmd", "WorkingDir")
# Variables that are the hub's, or make NVIDIA's runtime add GPUs.
_NOT_FOREIGN = re.compile(r"(JUPYTERHUB_|JPY_|GPUBOX_|NVIDIA_VISIBLE_DEVICES=|NB_|GRANT_SUDO=)")
_DIFF_ID = re.compile(r"sha256:[0-9a-f]{64}")
_ARCHITECTURE = ("Architecture", "Os", "Variant")


def clean_config(parent: Record, layers: Sequence[str], base: str, now: float) -> dict[str, Any]:
    """The config of an image over ``layers`` (diff ids), all else as ``parent`` (an inspect record) has it.

    `docker commit` writes the container's environment, labels and command into image and history; here is
    nothing of the container. ``base`` tells in the history where the first layers come from.
    """
    created = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    inherited = len(parent["RootFS"]["Layers"])
    words = [base if place < inherited else "gpubox template" for place in range(len(layers))]
    config = {name: value for name, value in (parent.get("Config") or {}).items() if value}
    labels = dict(config.get("Labels") or {})
    config["Labels"] = {**labels, LABEL_BASE: labels.get(LABEL_BASE, base)}
    return {
        **{name.lower(): parent[name] for name in _ARCHITECTURE if parent.get(name)},
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        "history": [{"created": created, "created_by": word} for word in words],
    }


def foreign_config(config: Record, now: float) -> dict[str, Any]:
    """The config of an image that came from elsewhere, made anew: ``config`` is its own, of which nothing is
    believed but its layers and how its programs are started.

    Raises ValueError with what is wrong with it, as the end of a sentence.
    """
    known, chain = config.get("config") or {}, config.get("rootfs")
    layers = chain.get("diff_ids") if isinstance(chain, dict) else None
    if not isinstance(layers, list) or not layers or not isinstance(known, dict):
        raise ValueError("its config has no layers")
    if not all(isinstance(layer, str) and _DIFF_ID.fullmatch(layer) for layer in layers):
        raise ValueError("its config names layers that are none")
    made: dict[str, Any] = {}
    for field in _FOREIGN:
        value = known.get(field)
        kind = str if field == "WorkingDir" else list
        if value and isinstance(value, kind) and all(isinstance(word, str) for word in value):
            made[field] = value
    if not made.get("Cmd"):
        made["Cmd"] = ["gpubox-singleuser"]
    variables = known.get("Env") or []
    if not isinstance(variables, list) or not all(isinstance(pair, str) for pair in variables):
        raise ValueError("its environment is none")
    made["Env"] = [pair for pair in variables if not _NOT_FOREIGN.match(pair)]
    created = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    return {
        "architecture": str(config.get("architecture") or ""),
        "os": "linux",
        "created": created,
        "config": made,
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": [{"created": created, "created_by": "imported"} for _ in layers],
    }


def write(file: IO[bytes], config: Record, name: str, layers: Mapping[str, IO[bytes]] | None = None) -> None:
    """Write the file for ``docker load``: an image called ``name``.

    ``layers`` are those that the engine does not have, as open files by diff id.
    """
    layers = layers or {}
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for diff_id, content in layers.items():
            content.seek(0, io.SEEK_END)
            size = content.tell()
            content.seek(0)
            _add(archive, _file_name(diff_id), size, content)
        manifest = {
            "Config": "config.json",
            "RepoTags": [name],
            # A name for each, also for those that are not here and never looked for.
            "Layers": [_file_name(diff_id) for diff_id in config["rootfs"]["diff_ids"]],
        }
        for path, value in (("config.json", config), ("manifest.json", [manifest])):
            text = json.dumps(value).encode()
            _add(archive, path, len(text), io.BytesIO(text))


def _file_name(diff_id: str) -> str:
    return f"{diff_id.partition(':')[2]}.tar"


def _add(archive: tarfile.TarFile, path: str, size: int, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = size
    archive.addfile(entry, content)


def filter_layer(source: IO[bytes], target: IO[bytes], leave_out: Callable[[str], bool]) -> None:
    """Copy a layer without the paths for which ``leave_out(path)`` holds; paths begin with a slash.

    Neither file is moved about in: pipes will do.
    """
    with (
        tarfile.open(fileobj=source, mode="r|") as layer,
        tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as kept,
    ):
        dropped: set[str] = set()
        for entry in layer:
            path = "/" + entry.name.removeprefix("./").strip("/")
            if leave_out(path) or (entry.islnk() and "/" + entry.linkname.lstrip("./") in dropped):
                dropped.add(path)
                continue
            # An entry's extended header may say in full what its fields say: it must not say it twice.
            entry.pax_headers = {
                name: value for name, value in entry.pax_headers.items() if name not in _FIELDS_OF_ENTRIES
            }
            kept.addfile(entry, layer.extractfile(entry) if entry.isreg() else None)


def folders_layer(entries: Iterable[tarfile.TarInfo], below: str) -> io.BytesIO | None:
    """A layer with the folders among ``entries``, an archive of what is below a path; None without any."""
    layer = io.BytesIO()
    found = False
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for entry in entries:
            if entry.isdir():
                path = "/".join([below.rpartition("/")[0], entry.name]).strip("/")
                kept = tarfile.TarInfo(path)
                kept.type, kept.mode = tarfile.DIRTYPE, entry.mode
                kept.uid, kept.gid, kept.mtime = entry.uid, entry.gid, entry.mtime
                archive.addfile(kept)
                found = True
    layer.seek(0)
    return layer if found else None


def diff_id(layer: io.BytesIO) -> str:
    """The name of an uncompressed layer: its digest."""
    layer.seek(0)
    digest = hashlib.file_digest(layer, "sha256").hexdigest()
    layer.seek(0)
    return f"sha256:{digest}"
