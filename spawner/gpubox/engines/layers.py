"""What is in layers: their paths.

The engine's own answer, ``/containers/ID/changes``, compares machine and image file by file (moby,
daemon/graphdriver/overlay2, ``Driver.Changes``): as long as the image is large, however little was changed.
With overlayfs a layer is a folder of the engine's host, of which ``inspect`` tells the path. Reading it takes
as long as the layer is large; that its folder is the whole difference is what "Native Overlay Diff" says.
Where the hub may not look into it, or is another machine, a container does that sees it and nothing else.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from docker.errors import APIError

_PLACE = "/gpubox-layers"
_END = "//end"
# A character device is how overlayfs writes down what was deleted; a box can make none of its own.
_LIST = r"""find "$@" -mindepth 1 ! -type c -printf '/%P\0' && printf '//end\0'"""
_MEMORY_BYTES = 256 * 2**20


def folders(record: Mapping[str, Any]) -> list[str]:
    """The folders of an image's or a container's layers (an inspect record), the topmost first.

    Empty where its engine keeps layers otherwise.
    """
    driver = record.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    if driver.get("Name") != "overlay2" or not data.get("UpperDir"):
        return []
    return [data["UpperDir"], *filter(None, (data.get("LowerDir") or "").split(":"))]


def paths(client: Any, image: str, layers: Sequence[str]) -> list[str] | None:
    """All paths in those layers but what they delete; None if they cannot be listed.

    ``image`` is what a container for it is made from. Raises what the engine raises, but for an image that
    has no ``find``.
    """
    # The names are long and random: a folder that is here is the engine's.
    if all(os.access(layer, os.R_OK | os.X_OK) for layer in layers):
        return _read(subprocess.run(["sh", "-c", _LIST, "gpubox", *layers], stdout=subprocess.PIPE).stdout)
    return by_container(client, image, layers)


def by_container(client: Any, image: str, layers: Sequence[str]) -> list[str] | None:
    """The same, listed in a container."""
    try:
        return _read(_listed(client, _create_arguments(image, layers)))
    except APIError as error:
        if error.status_code in (400, 404):  # no such program; no such folder
            return None
        raise


def _read(told: bytes) -> list[str] | None:
    found = told.decode(errors="replace").split("\0")
    return found[:-2] if found[-2:] == [_END, ""] else None


def _listed(client: Any, arguments: Mapping[str, Any]) -> bytes:
    made = client.create_container(**arguments)["Id"]
    try:
        # Attached before it runs: nothing is lost, and the engine has to keep nothing of it.
        chunks = client.attach(made, stdout=True, stderr=False, stream=True, logs=False)
        client.start(made)
        return b"".join(chunks)
    except BaseException:
        client.remove_container(made, force=True)
        raise


def _create_arguments(image: str, layers: Sequence[str]) -> dict[str, Any]:
    places = [f"{_PLACE}/{number}" for number in range(len(layers))]
    return {
        "image": image,
        "entrypoint": ["sh", "-c", _LIST, "gpubox"],
        "command": places,
        "user": "0:0",
        "working_dir": "/",
        "environment": {"NVIDIA_VISIBLE_DEVICES": "void"},
        "healthcheck": {"test": ["NONE"]},
        "use_config_proxy": False,
        "host_config": {
            "Binds": [f"{layer}:{place}:ro" for layer, place in zip(layers, places, strict=True)],
            "NetworkMode": "none",
            "UsernsMode": "host",  # or the layers' owners are nobody to it
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": ["DAC_READ_SEARCH"],
            "SecurityOpt": ["no-new-privileges", "label=disable"],
            "Memory": _MEMORY_BYTES,
            "MemorySwap": _MEMORY_BYTES,
            "PidsLimit": 8,
            "AutoRemove": True,
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }
