"""Device nodes and the CDI specification: what makes a container engine hand out simulated GPUs.

With no driver behind a node, open() answers ENXIO where the device cgroup lets it through and EPERM
where it does not: that is how the simulated library knows its GPUs (``nvml/device.c``).
"""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .gpu import SimulatedGPU
from .library import SONAME

NVIDIA_MAJOR = 195
# NVIDIA's nvidia-caps gets a major of its own at each boot. This one is of the range that Linux reserves for
# local use (admin-guide/devices.txt: 120-127), so no driver ever owns it, and nvml/device.c knows it.
CAPS_MAJOR = 120
CDI_KIND = "nvidia.com/gpu"
CDI_DIRECTORY = Path("/var/run/cdi")
STATE_DIRECTORY = "/run/simgpu"  # in a container


class SimulationRefused(RuntimeError):
    """No simulated driver can be installed here; the message says why and what to do."""


@dataclass(frozen=True)
class Node:
    path: str
    major: int
    minor: int

    def make(self) -> None:
        """Makes the node, open to every user as NVIDIA's are. One that is there already is kept."""
        Path(self.path).parent.mkdir(exist_ok=True)
        try:
            os.mknod(self.path, stat.S_IFCHR | 0o666, os.makedev(self.major, self.minor))
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
            raise SimulationRefused(f"{self.path} cannot be made: mknod is not allowed here.") from error
        os.chmod(self.path, 0o666)  # whatever the umask


CONTROL = Node("/dev/nvidiactl", NVIDIA_MAJOR, 255)
CAPS_DIRECTORY = Path("/dev/nvidia-caps")


def card_node(minor: int) -> Node:
    return Node(f"/dev/nvidia{minor}", NVIDIA_MAJOR, minor)


def _cap_node(minor: int) -> Node:
    return Node(f"{CAPS_DIRECTORY}/nvidia-cap{minor}", CAPS_MAJOR, minor)


def nodes_of(gpu: SimulatedGPU) -> list[Node]:
    """A GPU's own node and those of its MIG slices."""
    caps = [cap for one in gpu.slices for cap in (one.gi_capability, one.ci_capability)]
    return [card_node(gpu.minor), *map(_cap_node, caps)]


def refuse_beside_a_real_driver(proc: Path = Path("/proc")) -> None:
    """Raises `SimulationRefused` where a driver owns the device numbers that are to be simulated."""
    if (proc / "driver/nvidia/version").exists():
        raise SimulationRefused(
            "A real NVIDIA driver is loaded: its device nodes are not to be touched."
            " Simulate GPUs on a machine without one, or unload it (modprobe -r nvidia)."
        )
    characters = (proc / "devices").read_text().partition("Block devices:")[0].split("\n")
    owners = dict(line.split(maxsplit=1) for line in characters if line.strip()[:1].isdigit())
    for major in (NVIDIA_MAJOR, CAPS_MAJOR):
        if str(major) in owners:
            raise SimulationRefused(f"{owners[str(major)]!r} owns device major {major}: unload it.")


def free_minors(count: int) -> range:
    """The first run of ``count`` minor numbers whose nodes do not exist yet."""
    first = 0
    while taken := [n for n in range(first, first + count) if os.path.lexists(f"/dev/nvidia{n}")]:
        first = max(taken) + 1
    return range(first, first + count)


def cdi_spec(gpus: Sequence[SimulatedGPU], library: Path, state: Path, *, offer_all: bool) -> str:
    """A specification as nvidia-ctk writes it, hooks apart: devices by number and UUID, a slice as ``0:1``.

    A card with MIG on is offered by its slices alone. Two specifications with one name disable it, so
    the number is the minor, which no two drivers share, and one driver alone is to ``offer_all``.
    """
    devices: list[tuple[str, Iterable[Node]]] = []
    for gpu in gpus:
        card = card_node(gpu.minor)
        if gpu.values["mig_mode"] != 1:
            devices += [(name, [card]) for name in (str(gpu.minor), gpu.uuid)]
        for place, one in enumerate(gpu.slices):
            edits = [card, _cap_node(one.gi_capability), _cap_node(one.ci_capability)]
            devices += [(name, edits) for name in (f"{gpu.minor}:{place}", one.uuid)]
    if offer_all:
        devices.append(("all", [node for gpu in gpus for node in nodes_of(gpu)]))
    # One of the loader's own directories in Debian's and Ubuntu's images: no hook has to run ldconfig.
    target = f"/usr/lib/{platform.machine()}-linux-gnu/{SONAME}"
    options = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
    offered = [{"name": name, "containerEdits": {"deviceNodes": _paths(nodes)}} for name, nodes in devices]
    spec = {
        "cdiVersion": "0.5.0",
        "kind": CDI_KIND,
        "devices": offered,
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": _paths([CONTROL]),
            "mounts": [
                {"hostPath": str(library), "containerPath": target, "options": options},
                {"hostPath": str(state.parent), "containerPath": STATE_DIRECTORY, "options": options},
            ],
        },
    }
    return json.dumps(spec, indent=2)


def _paths(nodes: Iterable[Node]) -> list[dict[str, str]]:
    return [{"path": node.path} for node in nodes]
