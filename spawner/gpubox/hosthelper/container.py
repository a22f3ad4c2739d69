"""The helper's container and the volume with its socket: afterwards they are there.

One of each a hub, named by the hub's id, so that hubs on one engine leave each other's alone. A hub that was
restarted finds its helper again, and replaces it where the program or the image has changed since.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from typing import Any

from docker.errors import APIError, NotFound

# Not `gpubox.hub`, by which boxes are found: this is none.
LABEL_HELPER = "gpubox.helper"
LABEL_PROGRAM = "gpubox.helper.program"
DIRECTORY = "/run/gpubox"
SOCKET = f"{DIRECTORY}/host-helper.sock"

# Nobody's: beyond Debian's accounts, and not the 65534 that others share.
_ACCOUNT = 65533
_PROGRAM = "GPUBOX_PROGRAM"
_MEMORY_BYTES = 64 * 2**20
# A hub that is gone for good takes nothing down: what nobody asks ends by itself.
_IDLE_SECONDS = 3600
_REMOVAL_SECONDS = 10

Call = Callable[..., Awaitable[Any]]
"""A method of `docker.APIClient` by its name, off the event loop."""

# Two starts at once would both find no helper.
_one_at_a_time = asyncio.Lock()


async def ensure_helper(call: Call, hub_id: str, image: str) -> None:
    """See to it that the hub's helper runs, from an image that has Python; its volume is to be there.

    May be called at any time. Raises what the engine raises.
    """
    async with _one_at_a_time:
        found = await call("inspect_image", image)
        wanted = create_arguments(hub_id, found["Id"])
        if await _runs(call, wanted):
            return
        try:
            made = await call("create_container", **wanted)
            await call("start", made["Id"])
        except APIError:
            await _remove(call, wanted["name"])
            raise


async def ensure_volume(call: Call, hub_id: str) -> None:
    """See to it that there is what `mount` names: made by the engine on the way, it would be another kind."""
    options = f"uid={_ACCOUNT},gid={_ACCOUNT},mode=0755,size=64k"
    await call(
        "create_volume",
        name=name(hub_id),
        driver="local",
        driver_opts={"type": "tmpfs", "device": "tmpfs", "o": options},
        labels={LABEL_HELPER: hub_id},
    )


def mount(hub_id: str) -> str:
    """The bind by which a box sees the helper's socket, and cannot change it."""
    return f"{name(hub_id)}:{DIRECTORY}:ro"


def name(hub_id: str) -> str:
    """The name of a hub's helper, and of its volume."""
    return f"gpubox-helper-{hub_id}"


def create_arguments(hub_id: str, image_id: str) -> dict[str, Any]:
    """All that the helper's container is, as arguments of ``create_container``."""
    program = (files(__package__) / "program.py").read_text()
    arguments: dict[str, Any] = {
        "image": image_id,
        "name": name(hub_id),
        # Handed over in the environment: the engine may be another machine's, and has none of our files.
        "entrypoint": ["python3", "-I", "-S", "-B", "-c", f"import os; exec(os.environ[{_PROGRAM!r}])"],
        "command": [SOCKET, str(_IDLE_SECONDS)],
        "user": f"{_ACCOUNT}:{_ACCOUNT}",
        "working_dir": "/",
        # "void" keeps NVIDIA's runtime, where it is the engine's default, from adding GPUs.
        "environment": {_PROGRAM: program, "NVIDIA_VISIBLE_DEVICES": "void"},
        "healthcheck": {"test": ["NONE"]},
        "use_config_proxy": False,
        "host_config": _host_config(hub_id),
    }
    fingerprint = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
    return {**arguments, "labels": {LABEL_HELPER: hub_id, LABEL_PROGRAM: fingerprint}}


def _host_config(hub_id: str) -> dict[str, Any]:
    return {
        "PidMode": "host",  # what it is there for; all else is taken from it
        "CgroupnsMode": "host",
        "UsernsMode": "host",  # or an engine that remaps accounts refuses the host's pids
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Memory": _MEMORY_BYTES,
        "MemorySwap": _MEMORY_BYTES,
        "PidsLimit": 8,
        "NanoCpus": 500_000_000,
        "AutoRemove": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "Binds": [f"{name(hub_id)}:{DIRECTORY}"],
    }


async def _runs(call: Call, wanted: dict[str, Any]) -> bool:
    """Whether this very helper runs; any other of its name is removed."""
    try:
        found = await call("inspect_container", wanted["name"])
    except NotFound:
        return False
    labels = found["Config"].get("Labels") or {}
    if found["State"]["Running"] and labels.get(LABEL_PROGRAM) == wanted["labels"][LABEL_PROGRAM]:
        return True
    await _remove(call, wanted["name"])
    return False


async def _remove(call: Call, container: str) -> None:
    """Remove it, and wait until its name is free: the engine may be removing it already."""
    try:
        await call("remove_container", container, force=True, v=True)
    except APIError as error:
        if error.status_code not in (404, 409):  # gone already; being removed
            raise
        if error.status_code == 409:
            with suppress(NotFound):
                await call("wait", container, timeout=_REMOVAL_SECONDS, condition="removed")
