"""What a machine type and a lease mean for a container: pure functions over Docker's API records.

Field names are those of the Docker Engine API, "Create a container"
(https://docs.docker.com/reference/api/engine/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..machine_templates.contents import PRIVATE, PRIVATE_OF_ROOT
from . import Box

Attachment = Literal["cdi", "nvidia-runtime"]

LABEL_HUB = "gpubox.hub"
LABEL_USER = "gpubox.user"
LABEL_SERVER = "gpubox.server"
LABEL_LEASE = "gpubox.lease"
LABEL_MACHINE = "gpubox.machine"
LABEL_GPUS = "gpubox.gpus"
# Of machines that are kept when they stop (``kept``): its own name, whether with root, from which template.
LABEL_KEPT = "gpubox.kept"
LABEL_ROOT = "gpubox.kept.root"
LABEL_TEMPLATE = "gpubox.kept.template"
# Of the image, made when it is built.
LABEL_CONTENTS = "gpubox.image.contents"

# What apt, dpkg and sudo need, of Docker's default set (capabilities(7)). Left out: raw packets, device
# nodes, low ports, file capabilities, chroot.
ROOT_CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
)

_CPU_PERIOD_MICROSECONDS = 100_000


@dataclass(frozen=True)
class BoxSpec:
    """All that one container gets from its machine type and lease."""

    hub_id: str
    user: str
    server: str
    lease_id: int
    machine: str
    gpus: tuple[str, ...]
    cpus: float | None
    memory_mib: int | None
    shm_mib: int | None
    pids: int
    # Whether its user may become root.
    root: bool = False
    # Mounts of gpubox's own, as Docker's "Binds" has them.
    binds: tuple[str, ...] = ()


def create_arguments(
    stock: Mapping[str, Any], spec: BoxSpec, attachment: Attachment, image_user: str, run_as: str
) -> dict[str, Any]:
    """The stock spawner's arguments of ``create_container`` with the machine added.

    What the machine type states wins over the spawner's general limits; what an admin wrote into
    ``extra_host_config`` wins over our defaults for security. ``image_user`` is the user that the
    image names: a container whose image names none, or root, runs as ``run_as``.
    """
    arguments = dict(stock)
    arguments["labels"] = {**_labels_dict(stock.get("labels")), **labels(spec)}
    if spec.root:
        arguments["user"] = "root"  # whom the image's entrypoint makes the user, with sudo
    elif not arguments.get("user") and _is_root(image_user):
        arguments["user"] = run_as
    arguments["host_config"] = _host_config(stock.get("host_config") or {}, spec, attachment)
    arguments["volumes"] = _volumes(stock.get("volumes") or (), arguments["host_config"], spec)
    return arguments


def user_of(image: Mapping[str, Any], *, is_template: bool) -> str:
    """The user that an image (an inspect record) names, where that can be believed; else empty.

    A name is looked up in the image's own /etc/passwd, and of a template's somebody was root: it may say 0.
    """
    named = str(image["Config"].get("User") or "")
    return "" if is_template and not named.split(":")[0].isdecimal() else named


def _volumes(stock: Sequence[str], host_config: Mapping[str, Any], spec: BoxSpec) -> list[str]:
    """Mount points: the stock ones, and what templates must not have, which goes with the container."""
    private = PRIVATE + PRIVATE_OF_ROOT if spec.root else PRIVATE
    taken = {*stock, *(host_config.get("Tmpfs") or {})}
    taken |= {mount.get("Target", "") for mount in host_config.get("Mounts") or ()}
    return [*stock, *(path for path in private if path not in taken)]


def limits(spec: BoxSpec, stock: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Of a host config what bounds CPUs, memory, processes; ``stock`` holds where the type says nothing."""
    config = dict(stock or {})
    if spec.cpus is not None:
        config["CpuPeriod"] = _CPU_PERIOD_MICROSECONDS
        config["CpuQuota"] = int(spec.cpus * _CPU_PERIOD_MICROSECONDS)
    if spec.memory_mib is not None:
        config["Memory"] = spec.memory_mib * 2**20
        config.setdefault("MemorySwap", config["Memory"])  # no swap beyond it
    config["PidsLimit"] = spec.pids
    return config


def _host_config(stock: Mapping[str, Any], spec: BoxSpec, attachment: Attachment) -> dict[str, Any]:
    config = limits(spec, stock)
    if spec.shm_mib is not None:
        config["ShmSize"] = spec.shm_mib * 2**20
    # Notebooks start processes and forget them: with no init, zombies pile up.
    config.setdefault("Init", True)
    options = list(config.get("SecurityOpt") or [])
    if not spec.root and not any(option.startswith("no-new-privileges") for option in options):
        options.append("no-new-privileges")
    config["SecurityOpt"] = options
    if not config.get("CapAdd") and not config.get("CapDrop"):
        config["CapDrop"] = ["ALL"]
        if spec.root:
            config["CapAdd"] = list(ROOT_CAPABILITIES)
    if spec.binds:
        config["Binds"] = [*(config.get("Binds") or []), *spec.binds]
    if spec.gpus:
        config["DeviceRequests"] = [
            *(config.get("DeviceRequests") or []),
            device_request(spec.gpus, attachment),
        ]
    return config


def device_request(gpus: Sequence[str], attachment: Attachment) -> dict[str, Any]:
    """The DeviceRequest for those GPUs, by UUID."""
    if attachment == "cdi":
        return {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}" for uuid in gpus]}
    return {"Driver": "nvidia", "DeviceIDs": list(gpus), "Capabilities": [["gpu"]]}


def environment(spec: BoxSpec) -> dict[str, str]:
    """Variables that tell the box what it is.

    ``NVIDIA_VISIBLE_DEVICES=void`` keeps NVIDIA's runtime, where it is the engine's default, from
    adding all GPUs because the image says so; device requests are what counts.
    """
    return {
        "GPUBOX_MACHINE": spec.machine,
        "GPUBOX_GPUS": ",".join(spec.gpus),
        "NVIDIA_VISIBLE_DEVICES": "void",
        **({"GRANT_SUDO": "yes"} if spec.root else {}),
    }


def thread_hints(spec: BoxSpec) -> dict[str, str]:
    """What tells numerical libraries the limit of CPUs: they would start a thread for each of the host's."""
    return {} if spec.cpus is None else {"OMP_NUM_THREADS": str(max(1, int(spec.cpus)))}


def labels(spec: BoxSpec) -> dict[str, str]:
    """Labels by which a container is found again, whatever happens to the hub."""
    return {
        LABEL_HUB: spec.hub_id,
        LABEL_USER: spec.user,
        LABEL_SERVER: spec.server,
        LABEL_LEASE: str(spec.lease_id),
        LABEL_MACHINE: spec.machine,
        LABEL_GPUS: ",".join(spec.gpus),
    }


def contents(image: Mapping[str, Any]) -> str:
    """What an image (an inspect record) says is in it, in words; empty if it does not say."""
    return str((image["Config"].get("Labels") or {}).get(LABEL_CONTENTS, ""))


def box_from_listing(container: Mapping[str, Any]) -> Box:
    """A `Box` from an entry of Docker's container list."""
    found = container["Labels"]
    state = container["State"]
    return Box(
        id=container["Id"],
        name=(container["Names"] or [container["Id"][:12]])[0].lstrip("/"),
        user=found[LABEL_USER],
        server=found[LABEL_SERVER],
        machine=found.get(LABEL_MACHINE, ""),
        # Paused, restarting and removing containers still hold their devices.
        running=state not in ("created", "exited", "dead"),
        unstarted=state == "created",
        gpus=tuple(uuid for uuid in found.get(LABEL_GPUS, "").split(",") if uuid),
        kept=found.get(LABEL_KEPT, ""),
    )


def is_same_machine(container: Mapping[str, Any], spec: BoxSpec) -> bool:
    """Whether a kept container (an inspect record) is fit for this start as it is.

    Devices are fixed when a container is made, so a kept one serves only the same GPUs.
    """
    found = container["Config"].get("Labels") or {}
    wanted = labels(spec)
    return all(found.get(key) == wanted[key] for key in (LABEL_MACHINE, LABEL_GPUS, LABEL_HUB))


def _labels_dict(stock: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    if isinstance(stock, Mapping):
        return dict(stock)
    return dict.fromkeys(stock or (), "")


def _is_root(image_user: str) -> bool:
    return image_user.split(":")[0] in ("", "0", "root")
