"""Machine types: what a user may pick.

Plain data and its validation. Which GPU a machine of a type gets is decided in ``pool``, how an
engine attaches it in ``engines``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .inventory import GPU, model_words, short_model

ENGINES = ("", "libvirt")
"""What may run a machine of a type: the hub's own engine, or another one beside it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_MIG_PROFILE = re.compile(r"[1-9]g\.[0-9]+gb(\+[a-z0-9.+]+)?")
_MOST_SLOTS = 64
_VGPU = re.compile(r"([1-9]\d?) ?x ([A-Za-z0-9][A-Za-z0-9 ._-]*)")
_SIZE_UNITS_MIB = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
_TIME_UNITS_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class MachineTypeError(ValueError):
    """An entry of ``c.GPUSpawner.machines`` is wrong; the message names entry, field and remedy."""


@dataclass(frozen=True)
class MachineType:
    """One kind of machine on offer.

    ``slots_per_gpu`` is 1 for a GPU held alone, N where N users share one GPU by time slicing;
    ``mig_profile`` names the slice for MIG types, ``vgpu`` the type of vGPU by id or name (``slots_per_gpu``
    of them on a GPU). A type with ``count`` 0 has no GPU.
    """

    name: str
    title: str
    description: str = ""
    gpu: str | None = None
    count: int = 0
    slots_per_gpu: int = 1
    mig_profile: str | None = None
    vgpu: str | None = None
    # Whether it gets a virtual function of a GPU (SR-IOV), ``slots_per_gpu`` of which there are.
    is_function: bool = False
    cpus: float | None = None
    memory_mib: int | None = None
    shm_mib: int | None = None
    pids: int = 4096
    disk: str = ""
    image: str | None = None
    price_per_hour: float = 0.0
    time_limit_seconds: int | None = None
    # None: as the hub has it for all; 0: never stopped for that.
    idle_seconds: int | None = None
    gpu_idle_seconds: int | None = None
    groups: frozenset[str] = frozenset()
    # What it starts from, in place of the image, where the user chooses nothing else: owner/name[:version].
    template: str | None = None
    # Whether its user may become root in it.
    root: bool = False
    # Whether what was installed in it is there again at the next start.
    persistent: bool = False
    # What runs it, where that is not the hub's own engine: "libvirt" for virtual machines.
    engine: str = ""

    @property
    def gpu_share(self) -> float:
        """GPUs that one machine of this type takes: 4 for four, 0.25 for a quarter."""
        return self.count / self.slots_per_gpu

    @property
    def division(self) -> str:
        """How it has a GPU divided, empty for one that it has whole: those of two divisions share none."""
        if self.vgpu:
            return f"vgpu: {self.vgpu}"
        if self.is_function:
            return "sriov"
        return "shared" if self.slots_per_gpu > 1 else ""

    def matches(self, gpu: GPU) -> bool:
        """Whether a machine of this type can run on ``gpu``, whoever holds it now."""
        if self.count == 0 or gpu.mig_profile != self.mig_profile:
            return False
        return self.gpu is None or model_words(self.gpu) <= model_words(gpu.model)

    def allows(self, groups: Iterable[str]) -> bool:
        """Whether a member of ``groups`` may start this type; a type without groups is everyone's."""
        return not self.groups or not self.groups.isdisjoint(groups)

    @property
    def gpu_words(self) -> str:
        """The GPU part in words, for sentences: ``2x H100``, ``1g.10gb slice of an A100``."""
        if self.count == 0:
            return "no GPU"
        model = self.gpu or "GPU"
        if self.mig_profile:
            return f"{self.count}x {self.mig_profile} slice of {model}"
        if self.vgpu:
            return f"{self.vgpu} (vGPU) of {model}"
        if self.slots_per_gpu > 1:
            return f"1/{self.slots_per_gpu} of {model}"
        return f"{self.count}x {model}"


def parse_machine_types(entries: Sequence[Mapping[str, Any]]) -> tuple[MachineType, ...]:
    """Machine types from ``c.GPUSpawner.machines``, a list of dicts.

    Raises `MachineTypeError` with the entry, the field and what was expected there.
    """
    types: list[MachineType] = []
    for position, entry in enumerate(entries):
        machine = _parse_entry(position, entry)
        if any(machine.name == other.name for other in types):
            _wrong(position, entry, "name", "a name that no other entry has", machine.name)
        types.append(machine)
    return tuple(types)


def default_machine_types(
    gpus: Sequence[GPU], *, host_cpus: int, host_memory_mib: int
) -> tuple[MachineType, ...]:
    """What to offer when the admin names nothing: a CPU machine and 1, 2, 4, 8 of each GPU found.

    The host's CPUs and memory (MiB) are divided evenly over its GPUs.
    """
    cards = [gpu for gpu in gpus if gpu.mig_profile is None]
    shares = max(1, len(cards) or len(gpus))
    cpus_each = max(1.0, host_cpus / shares)
    memory_each = max(1024, int(host_memory_mib * 0.9 / shares))
    types = [
        MachineType(
            name="cpu",
            title="CPU",
            description="No GPU: for editing, data preparation and small models.",
            cpus=float(min(4, host_cpus)),
            memory_mib=min(16 * 1024, max(1024, host_memory_mib // 4)),
            shm_mib=1024,
        )
    ]
    for model in dict.fromkeys(short_model(gpu.model) for gpu in cards):
        found = sum(short_model(gpu.model) == model for gpu in cards)
        for count in (n for n in (1, 2, 4, 8) if n <= found):
            types.append(
                MachineType(
                    name=f"{count}x-{_slug(model)}",
                    title=f"{count}x {model}",
                    gpu=model,
                    count=count,
                    cpus=cpus_each * count,
                    memory_mib=memory_each * count,
                    shm_mib=memory_each * count // 2,
                )
            )
    slices = dict.fromkeys((short_model(gpu.model), gpu.mig_profile) for gpu in gpus if gpu.mig_profile)
    for model, profile in slices:
        assert profile is not None
        types.append(
            MachineType(
                name=f"{_slug(profile)}-{_slug(model)}",
                title=_slice_title(model, profile),
                description=f"MIG slice {profile}: its own memory, isolated from its neighbours.",
                gpu=model,
                count=1,
                mig_profile=profile,
                cpus=max(1.0, cpus_each / 7),
                memory_mib=max(1024, memory_each // 7),
                shm_mib=max(512, memory_each // 14),
            )
        )
    return tuple(types)


def _slice_title(model: str, profile: str) -> str:
    """``1/7 of an A100 (10 GB)`` from ``1g.10gb``: NVIDIA divides a MIG card into seven."""
    sevenths, _, memory = profile.partition("g.")
    article = "an" if model[0] in "AEIOUaeiouLHRX" else "a"
    return f"{sevenths}/7 of {article} {model} ({memory.split('gb')[0]} GB)"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


# --- reading one entry -----------------------------------------------------------------------


def _parse_entry(position: int, entry: Mapping[str, Any]) -> MachineType:
    if not isinstance(entry, Mapping):
        raise MachineTypeError(
            f"c.GPUSpawner.machines[{position}]: expected a dict of fields, got {entry!r}."
        )
    unknown = sorted(set(map(str, entry)) - set(_FIELDS))
    if unknown:
        known = ", ".join(_FIELDS)
        _wrong(position, entry, unknown[0], f"one of the known fields ({known})", unknown[0])
    values: dict[str, Any] = {}
    for field, value in entry.items():
        expected, read = _FIELDS[field]
        try:
            values.update(read(value))
        except (TypeError, ValueError):
            _wrong(position, entry, field, expected, value)
    if "title" not in values and "name" not in values:
        _wrong(position, entry, "title", "the words users see, such as '1x H100'", None)
    values.setdefault("title", values.get("name"))
    values.setdefault("name", _slug(values["title"]))
    is_divided = values.get("slots_per_gpu", 1) > 1 or values.get("vgpu") or values.get("is_function")
    wants_gpu = values.get("gpu") or values.get("mig_profile") or is_divided
    values.setdefault("count", 1 if wants_gpu else 0)
    if wants_gpu and values["count"] == 0:
        _wrong(position, entry, "count", "1 or more for a type with a GPU", entry.get("count"))
    if values["count"] and not wants_gpu:
        values["gpu"] = None  # any GPU
    if values["count"] > 1 and is_divided:
        _wrong(position, entry, "count", "1, for a GPU that is shared", values["count"])
    is_virtual = bool(values.get("vgpu") or values.get("is_function"))
    if values.get("engine"):
        _check_virtual(position, entry, values)
    elif is_virtual:
        expected = "'libvirt', for a part of a GPU that only a virtual machine can have"
        _wrong(position, entry, "engine", expected, entry.get("engine"))
    if not _NAME.fullmatch(values["name"]):
        _wrong(position, entry, "name", "lower-case letters, digits, '.' and '-'", values["name"])
    return MachineType(**values)


def _check_virtual(position: int, entry: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """What only containers can be: a virtual machine has no time-sliced GPU, and its disk has a size."""
    is_virtual = values.get("vgpu") or values.get("is_function")
    if (values.get("slots_per_gpu", 1) > 1 and not is_virtual) or values.get("mig_profile"):
        expected = "'exclusive', 'vgpu: N x TYPE' or 'sriov: N' for a virtual machine"
        _wrong(position, entry, "sharing", expected, entry.get("sharing"))
    try:
        parse_size_mib(values.get("disk") or "1G")
    except ValueError:
        _wrong(position, entry, "disk", "a virtual machine's size of disk, such as '100G'", values["disk"])


def _wrong(position: int, entry: Mapping[str, Any], field: str, expected: str, got: object) -> None:
    label = entry.get("name") or entry.get("title")
    named = f" ({label!r})" if label else ""
    raise MachineTypeError(
        f"c.GPUSpawner.machines[{position}]{named}, field {field!r}: expected {expected}, got {got!r}."
    )


def _text(field: str) -> Any:
    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, str):
            raise TypeError
        return {field: value}

    return read


def _nonempty(field: str) -> Any:
    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, str) or not value.strip():
            raise TypeError
        return {field: value.strip()}

    return read


def _number(field: str, kind: type, least: float) -> Any:
    def read(value: object) -> dict[str, Any]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
            raise ValueError
        if kind is int and value != int(value):
            raise ValueError
        if value == float("inf"):
            raise ValueError
        return {field: kind(value)}

    return read


def parse_size_mib(value: object) -> int:
    """MiB in ``"64G"``, ``"512M"`` or a plain number of bytes, as Docker reads sizes.

    Raises ValueError for anything else, and for less than 1 MiB.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])(?:i?B)?", value.strip(), re.I)
        if not found:
            raise ValueError
        mib = float(found[1]) * _SIZE_UNITS_MIB[found[2].upper()]
    elif isinstance(value, int) and not isinstance(value, bool):
        mib = value / 2**20
    else:
        raise ValueError
    if mib < 1:
        raise ValueError
    return int(mib)


def _size(field: str) -> Any:
    return lambda value: {field: parse_size_mib(value)}


def parse_duration(value: object) -> int:
    """Seconds in ``"8h"``, ``"90m"``, ``"3d"``, ``"1w"`` or a plain number of seconds.

    Raises ValueError for anything else, and for less than a minute.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhdw])", value.strip())
        if not found:
            raise ValueError
        seconds = float(found[1]) * _TIME_UNITS_SECONDS[found[2]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise ValueError
    if not 60 <= seconds < float("inf"):
        raise ValueError
    return int(seconds)


def duration_words(seconds: int) -> str:
    """``6 hours``, ``1 day``, ``1 hour 30 minutes``."""
    if seconds % (7 * 86400) == 0:
        return counted(seconds // (7 * 86400), "week")
    hours, minutes = divmod(seconds // 60, 60)
    if hours and hours % 24 == 0 and not minutes:
        return counted(hours // 24, "day")
    parts = [hours and counted(hours, "hour"), minutes and counted(minutes, "minute")]
    return " ".join(part for part in parts if part)


def counted(number: float, noun: str) -> str:
    """``1 hour``, ``2 hours``."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _duration(field: str) -> Any:
    return lambda value: {field: None if value is None else parse_duration(value)}


def _duration_or_never(field: str) -> Any:
    return lambda value: {field: 0 if value in ("", 0) else parse_duration(value)}


def _sharing(value: object) -> dict[str, Any]:
    if value == "exclusive":
        return {}
    if isinstance(value, str):
        kind, _, rest = (part.strip() for part in value.partition(":"))
        if kind == "shared" and rest.isdecimal() and 2 <= int(rest) <= _MOST_SLOTS:
            return {"slots_per_gpu": int(rest)}
        if kind == "mig" and _MIG_PROFILE.fullmatch(rest):
            return {"mig_profile": rest}
        if kind == "vgpu" and (found := _VGPU.fullmatch(rest)) and int(found[1]) <= _MOST_SLOTS:
            return {"slots_per_gpu": int(found[1]), "vgpu": found[2]}
        if kind == "sriov" and rest.isdecimal() and 1 <= int(rest) <= _MOST_SLOTS:
            return {"slots_per_gpu": int(rest), "is_function": True}
    raise ValueError


def _flag(field: str) -> Any:
    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, bool):
            raise TypeError
        return {field: value}

    return read


def _engine(value: object) -> dict[str, Any]:
    if value not in ENGINES:
        raise ValueError
    return {"engine": value}


def _groups(value: object) -> dict[str, Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError
    names = list(value)
    if not all(isinstance(name, str) and name for name in names):
        raise TypeError
    return {"groups": frozenset(names)}


# Field of an entry -> (what is expected there, how it is read into MachineType's fields).
_FIELDS: dict[str, tuple[str, Any]] = {
    "name": ("a short name of lower-case letters, digits, '.' and '-'", _nonempty("name")),
    "title": ("the words users see, such as '1x H100'", _nonempty("title")),
    "description": ("a sentence for the card", _text("description")),
    "gpu": ("a GPU's model name, such as 'H100' or 'Quadro P5000'", _nonempty("gpu")),
    "count": ("how many GPUs, a whole number from 0", _number("count", int, 0)),
    "sharing": (
        "'exclusive', 'shared: N' (N from 2 to 64), 'mig: 1g.10gb', 'vgpu: N x TYPE' or 'sriov: N'",
        _sharing,
    ),
    "cpus": ("a number of CPUs, such as 8 or 0.5", _number("cpus", float, 0.1)),
    "memory": ("an amount of memory, such as '64G'", _size("memory_mib")),
    "shm": ("a size of /dev/shm, such as '8G'", _size("shm_mib")),
    "pids": ("the most processes at once, 64 or more", _number("pids", int, 64)),
    "disk": ("a note on the disk, such as '500 GB NVMe'", _text("disk")),
    "image": ("a container image, such as 'gpubox/cpu:latest'", _nonempty("image")),
    "price": ("a price an hour, 0 or more", _number("price_per_hour", float, 0)),
    "time_limit": ("a time of a minute or more, such as '8h'", _duration("time_limit_seconds")),
    "idle": ("a time of a minute or more, such as '2h', or '' for never", _duration_or_never("idle_seconds")),
    "gpu_idle": (
        "a time of a minute or more, such as '30m', or '' for never",
        _duration_or_never("gpu_idle_seconds"),
    ),
    "groups": ("a list of group names, such as ['lab']", _groups),
    "template": ("a template, such as 'ada/torch-lab' or 'ada/torch-lab:2'", _nonempty("template")),
    "root": ("True or False", _flag("root")),
    "persistent": ("True or False", _flag("persistent")),
    "engine": ("'libvirt' for a virtual machine, or '' for the hub's own engine", _engine),
}
