"""`gpubox doctor`: what this machine needs for the main job, one line a check, each with a remedy.

`look` collects the facts; every check is a pure function from facts to a `Check`. Nothing is
changed on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ..inventory import Inventory
from .debian import LEAST_ENGINE
from .engine import EngineFacts
from .image import ImageFacts
from .vmhost import VMHost
from .vmhost import check as check_vm_host

Mark = Literal["ok", "warn", "fail"]
PortUser = Literal["free", "hub", "other"]

_LEAST_FREE_GIB = 3.0
_BUILD_FREE_GIB = 10.0
_OLD_IMAGE_DAYS = 60
_CDI_GENERATE = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's: ``fail`` stops the main job, ``warn`` part of it."""

    name: str
    mark: Mark
    words: str
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """What was seen. None and empty mean "not there", or "not looked at" where it has no meaning.

    ``cdi_specs`` is the text of the CDI specs that the engine reads, None where it runs elsewhere.
    ``may_write_cdi`` is whether the hub could write some.
    ``ports`` tells what each port that the hub takes is used for, and by whom now.
    """

    engine_kind: str
    now: datetime
    inventory: Inventory = field(default_factory=Inventory)
    engine: EngineFacts | None = None
    engine_problem: str = ""
    may_use_socket: bool | None = None
    cdi_specs: str | None = None
    may_write_cdi: bool | None = None
    image_name: str = ""
    image: ImageFacts | None = None
    free_gib: float | None = None
    ports: dict[int, tuple[str, PortUser]] = field(default_factory=dict)
    proxy_program: str = ""
    server_program: str = ""
    # For servers that are processes: what on the way to the program their accounts may not pass.
    closed: str = ""
    vms: VMHost | None = None


def examine(facts: Facts) -> list[Check]:
    """All checks that have a meaning on this machine, in the order of a start."""
    return [found for check in CHECKS if (found := check(facts)) is not None]


def can_work(checks: Iterable[Check]) -> bool:
    """Whether the main job can run here."""
    return all(check.mark != "fail" for check in checks)


def render(checks: Iterable[Check], *, colour: bool) -> str:
    """One aligned line a check."""
    return "\n".join(_line(check, colour) for check in checks)


def _line(check: Check, colour: bool) -> str:
    mark = f"{check.mark:<4}"
    if colour:
        mark = f"\x1b[{ {'ok': 32, 'warn': 33, 'fail': 31}[check.mark] }m{mark}\x1b[0m"
    remedy = f" Remedy: {check.remedy}" if check.remedy else ""
    return f"{mark}  {check.name:<7}  {check.words}{remedy}"


# --- the engine ------------------------------------------------------------------------------------


def check_rights(facts: Facts) -> Check | None:
    """The user's rights on the engine's socket."""
    if facts.engine_kind != "docker" or facts.may_use_socket is None:
        return None
    if facts.may_use_socket:
        return Check("rights", "ok", "you may use the engine's socket")
    return Check(
        "rights",
        "fail",
        "you may not use the engine's socket.",
        "sudo usermod -aG docker $USER, then log in again",
    )


def check_engine(facts: Facts) -> Check | None:
    """The engine and its version."""
    if facts.engine_kind != "docker":
        return Check("engine", "ok", "local processes, no containers (ENGINE=process)")
    if facts.engine is None:
        problem = facts.engine_problem or "No Docker engine answers."
        return Check("engine", "fail", problem, "make run as root installs and starts Docker")
    if facts.engine.major < LEAST_ENGINE:
        return Check(
            "engine",
            "fail" if facts.inventory.gpus and "nvidia" not in facts.engine.runtimes else "warn",
            f"Docker {facts.engine.version} attaches no GPU by name (CDI).",
            f"upgrade to Docker {LEAST_ENGINE} or newer",
        )
    return Check("engine", "ok", f"Docker {facts.engine.version}")


def check_cdi(facts: Facts) -> Check | None:
    """Whether the engine attaches GPUs by CDI, and knows those of this machine."""
    if facts.engine is None or facts.engine.major < LEAST_ENGINE:
        return None
    without: Mark = "fail" if facts.inventory.gpus else "warn"
    if not facts.engine.has_cdi:
        if "nvidia" in facts.engine.runtimes:
            return Check("cdi", "ok", "off; GPUs are attached by NVIDIA's container runtime")
        return Check(
            "cdi",
            without,
            "off: no GPU can be attached to a container.",
            'write {"features": {"cdi": true}} into /etc/docker/daemon.json, then restart Docker',
        )
    if not facts.inventory.gpus or facts.cdi_specs is None:
        return Check("cdi", "ok", "on")
    return _check_specs(facts.cdi_specs, facts.inventory)


def _check_specs(specs: str, inventory: Inventory) -> Check:
    if "nvidia.com/gpu" not in specs:
        return Check(
            "cdi",
            "fail",
            "on, but no CDI spec names NVIDIA's GPUs.",
            f"install nvidia-container-toolkit, then: {_CDI_GENERATE}",
        )
    unnamed = [gpu for gpu in inventory.gpus if gpu.uuid not in specs]
    if unnamed:
        return Check(
            "cdi",
            "fail",
            f"on, but the CDI spec does not name {len(unnamed)} of {len(inventory.gpus)} GPUs by UUID.",
            _CDI_GENERATE,
        )
    return Check("cdi", "ok", f"on, its spec names all {len(inventory.gpus)} GPUs")


def check_kept(facts: Facts) -> Check | None:
    """Whether machines that are kept when they stop can be given GPUs at their next start."""
    if facts.may_write_cdi is not False or facts.engine is None or not facts.inventory.gpus:
        return None
    return Check(
        "kept",
        "warn",
        "persistent machine types with GPUs do not start: you may not write CDI specs to"
        f" {' or '.join(facts.engine.cdi_dirs)}.",
        'run the hub as root, or name a directory of its own in "cdi-spec-dirs" of /etc/docker/daemon.json,'
        " beside these, and restart Docker",
    )


# --- GPUs ------------------------------------------------------------------------------------------


def check_driver(facts: Facts) -> Check | None:
    """The driver, and its CUDA level against what the image was made with."""
    found = facts.inventory
    if found.driver_version is None:
        if not found.answered or found.problem:
            return Check(
                "driver",
                "fail",
                found.problem or "NVIDIA's driver does not answer.",
                "reboot after a driver upgrade, or reinstall the driver; nvidia-smi must work",
            )
        return Check("driver", "ok", "no NVIDIA driver here; CPU machines work")
    words = f"NVIDIA {found.driver_version}"
    if found.cuda_version is None:
        return Check("driver", "ok", words)
    words += ", CUDA {}.{}".format(*found.cuda_version)
    needed = facts.image.cuda if facts.image else None
    if needed is None or found.cuda_version >= needed:
        return Check("driver", "ok", words)
    wants = "{}.{}".format(*needed)
    # Within a major version CUDA programs run on older drivers, unless compiled at run time (PTX).
    same_major = found.cuda_version[0] == needed[0]
    return Check(
        "driver",
        "warn" if same_major else "fail",
        f"{words}; the image was made with CUDA {wants}.",
        f"a driver for CUDA {wants} or newer",
    )


def check_gpus(facts: Facts) -> Check | None:
    """The GPUs found, MIG slices among them, and those with a problem."""
    gpus, silent = facts.inventory.gpus, facts.inventory.silent
    if silent:
        return Check("gpus", "warn", silent[0], "nvidia-smi and dmesg tell more; a reboot resets it")
    if not gpus:
        return Check("gpus", "ok", "none found; CPU machines work")
    counts: dict[str, int] = {}
    for gpu in gpus:
        name = f"{gpu.model} (MIG {gpu.mig_profile})" if gpu.mig_profile else gpu.model
        counts[name] = counts.get(name, 0) + 1
    words = ", ".join(f"{count}x {name}" for name, count in counts.items())
    ill = [gpu for gpu in gpus if gpu.problem]
    if not ill:
        return Check("gpus", "ok", words)
    first = f"GPU {ill[0].index}: {ill[0].problem}"
    more = f" (and {len(ill) - 1} more)" if len(ill) > 1 else ""
    return Check(
        "gpus",
        "fail" if len(ill) == len(gpus) else "warn",
        f"{words}. Out of order: {first}{more}",
        "nvidia-smi -q tells more; a reboot resets a GPU",
    )


def check_vms(facts: Facts) -> Check | None:
    """What virtual machines need, where there is a libvirt."""
    return None if facts.vms is None else check_vm_host(facts.vms, has_gpus=bool(facts.inventory.gpus))


# --- image, disk, ports ----------------------------------------------------------------------------


def check_image(facts: Facts) -> Check | None:
    """Whether the image is there, and how old it is."""
    if facts.engine is None:
        return None
    if facts.image is None:
        return Check("image", "fail", f"{facts.image_name} is not built.", "make image")
    age = facts.image.age_days(facts.now)
    size = f"{facts.image.size_bytes / 1e9:.1f} GB"
    built = "today" if age == 0 else f"{age} day{'s' if age > 1 else ''} ago"
    words = f"{facts.image.name}, {size}, built {built}"
    if age > _OLD_IMAGE_DAYS:
        return Check("image", "warn", f"{words}: security updates are missing.", "make image")
    return Check("image", "ok", words)


def check_disk(facts: Facts) -> Check | None:
    """Free space where the engine keeps images and containers."""
    if facts.free_gib is None:
        return None
    words = f"{facts.free_gib:.0f} GiB free for images and containers"
    remedy = "docker system df tells what takes the space, docker system prune frees what is unused"
    if facts.free_gib < _LEAST_FREE_GIB:
        return Check("disk", "fail", f"{words}.", remedy)
    if facts.image is None and facts.free_gib < _BUILD_FREE_GIB:
        return Check("disk", "warn", f"{words}; a build takes {_BUILD_FREE_GIB:.0f} GiB.", remedy)
    return Check("disk", "ok", words)


def check_ports(facts: Facts) -> Check | None:
    """Whether the hub's ports are free, or used by a hub that runs already."""
    if not facts.ports:
        return None
    taken = [f"{port} ({use})" for port, (use, by) in facts.ports.items() if by == "other"]
    if taken:
        return Check(
            "ports",
            "fail",
            f"in use by another program: {', '.join(taken)}.",
            "stop it (ss -ltnp names it), or choose others in jupyterhub_config.py",
        )
    if any(by == "hub" for _, by in facts.ports.values()):
        return Check("ports", "ok", "a hub runs here now")
    return Check("ports", "ok", f"free: {', '.join(map(str, facts.ports))}")


def check_programs(facts: Facts) -> Check | None:
    """The programs that a hub starts beside itself."""
    if not facts.proxy_program:
        return Check(
            "proxy",
            "fail",
            "configurable-http-proxy is not installed.",
            "make run installs it, or: npm install -g configurable-http-proxy",
        )
    if facts.engine_kind == "process" and not facts.server_program:
        return Check("server", "fail", "JupyterLab is not installed here.", "pip install gpubox[process]")
    if facts.closed:
        return Check(
            "server",
            "fail",
            f"Servers run as their users' accounts, and {facts.closed} is closed to them.",
            "move gpubox out of there, such as to /opt/gpubox, and run it from there",
        )
    return Check("proxy", "ok", "configurable-http-proxy is installed")


CHECKS: tuple[Callable[[Facts], Check | None], ...] = (
    check_engine,
    check_rights,
    check_cdi,
    check_kept,
    check_driver,
    check_gpus,
    check_vms,
    check_image,
    check_disk,
    check_programs,
    check_ports,
)
