"""Machines that are kept when they stop, as containers: pure functions over Docker's API records.

Such a container outlives its starts, and nothing of one start may be in its record: the variables with the
token come on its standard input each time, its GPUs by a CDI device of its own (``cdi``).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..machines import MachineType
from . import KeptMachine
from .cdi import KIND
from .container import LABEL_KEPT, LABEL_MACHINE, LABEL_ROOT, LABEL_SERVER, LABEL_USER

# Read back to know which start a running container is of.
START = "GPUBOX_START"

# The engine takes no "unlimited" for the memory of a container that is there.
_ENDLESS = 2**60

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_END = "# gpubox: that is all"
HEARD = b"gpubox: settings received"
# It reads to a line and not to the input's end, of which an engine under load may forget to tell; then it
# says so.
_LAUNCH = f"""
told=
while IFS= read -r line && [ "$line" != "{_END}" ]; do
    told="$told$line
"
done
if [ "$line" != "{_END}" ]; then
    echo "gpubox: this machine is started by its hub, which tells it its settings; none came." >&2
    exit 1
fi
echo "{HEARD.decode()}"
eval "$told"
unset told line
exec "$@" </dev/null
"""


def name(hub_id: str, container: str) -> str:
    """What a kept machine's CDI device is called: any container name makes a name that CDI takes."""
    return f"{hub_id}-{hashlib.sha256(container.encode()).hexdigest()[:16]}"


def name_of(container: Mapping[str, Any]) -> str:
    """The name of a kept machine (an inspect record); empty for one that is not kept."""
    return str((container["Config"].get("Labels") or {}).get(LABEL_KEPT, ""))


def create_arguments(
    arguments: Mapping[str, Any],
    image: Mapping[str, Any],
    device: str,
    machine: MachineType,
    shm_mib: int | None,
    *,
    has_cdi: bool,
) -> dict[str, Any]:
    """Arguments of ``create_container`` for a machine that is kept, from those for one that is not.

    ``image`` is an inspect record, ``device`` its `name`. /dev/shm cannot grow later: ``shm_mib`` is the most
    that any type asks for. Without CDI, it can never have a GPU.
    """
    config = dict(arguments["host_config"])
    config["AutoRemove"] = False
    if shm_mib:
        config["ShmSize"] = shm_mib * 2**20
    if has_cdi:
        own = {"Driver": "cdi", "DeviceIDs": [f"{KIND}={device}"]}
        config["DeviceRequests"] = [*(config.get("DeviceRequests") or []), own]
    entrypoint = arguments.get("entrypoint") or image["Config"].get("Entrypoint") or []
    entrypoint = shlex.split(entrypoint) if isinstance(entrypoint, str) else entrypoint
    return {
        **arguments,
        "entrypoint": ["/bin/sh", "-c", _LAUNCH, "gpubox"],
        "command": [*entrypoint, *(arguments.get("command") or ())],
        # All else is told at each start. This is read by NVIDIA's runtime when it is the engine's default.
        "environment": {"NVIDIA_VISIBLE_DEVICES": "void"},
        "stdin_open": True,
        "labels": {**arguments["labels"], LABEL_KEPT: device, LABEL_ROOT: str(machine.root)},
        "host_config": config,
    }


def settings(environment: Mapping[str, str]) -> bytes:
    """What a kept machine reads when it starts."""
    lines = [
        f"export {key}={shlex.quote(value)}" for key, value in environment.items() if _NAME.fullmatch(key)
    ]
    return "\n".join([*lines, _END, ""]).encode()


def has_device(container: Mapping[str, Any]) -> bool:
    """Whether a kept machine (an inspect record) can be given GPUs."""
    requests = container["HostConfig"].get("DeviceRequests") or ()
    return any(str(one).startswith(f"{KIND}=") for request in requests for one in request["DeviceIDs"] or ())


def misfit(container: Mapping[str, Any], machine: MachineType) -> str:
    """Why a kept machine (an inspect record) cannot be one of that type; empty where it can."""
    if not machine.persistent:
        return f"{machine.title} does not keep what is installed in it. Choose a machine that does"
    if container["Config"]["Labels"].get(LABEL_ROOT) != str(machine.root):
        return (
            f"What you left was made {'without' if machine.root else 'with'} root, and {machine.title} is"
            f" {'with' if machine.root else 'without'}. Choose a machine like the one you had"
        )
    if machine.count and not has_device(container):
        return "What you left was made when the engine had no CDI, and cannot have a GPU. Choose one without"
    return ""


def record(container: Mapping[str, Any], size_bytes: int | None, *, is_old: bool) -> KeptMachine:
    """A stopped kept machine (an inspect record) as people are told of it."""
    labels = container["Config"]["Labels"]
    return KeptMachine(
        id=container["Id"],
        user=labels[LABEL_USER],
        server=labels[LABEL_SERVER],
        machine=labels[LABEL_MACHINE],
        image=container["Config"]["Image"],
        since=moment(container["State"]["FinishedAt"]) or moment(container["Created"]),
        created_at=moment(container["Created"]),
        size_bytes=size_bytes,
        is_old=is_old,
    )


def moment(written: str) -> float:
    """Seconds since the epoch of a time as Docker writes it; 0 for never."""
    return max(0.0, datetime.fromisoformat(written).timestamp())


def largest_shm_mib(machines: Iterable[MachineType]) -> int | None:
    """The most /dev/shm that a kept machine may come to need, in MiB; None for the engine's default."""
    return max((machine.shm_mib or 0 for machine in machines if machine.persistent), default=0) or None


def limits(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a host config what can be changed of a container that is there, "no limit" spelt out."""
    fields: Sequence[tuple[str, int]] = (
        ("Memory", _ENDLESS),
        ("MemorySwap", -1),
        ("CpuPeriod", 0),
        ("CpuQuota", -1),
        ("PidsLimit", -1),
    )
    return {field: config.get(field) or unlimited for field, unlimited in fields}
