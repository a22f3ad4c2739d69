"""Records as the JSON of docs/panel-api.md: pure functions from one to the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from .box import Box
from .history import Rows
from .records import COLUMNS, GPU, LINKS, ProcessList, Snapshot
from .schedule import Intervals

_DECIMALS = 1


def gpus(snapshot: Snapshot, *, intervals: Intervals, is_shared: bool = False) -> dict[str, Any]:
    """All that GET /gpus says."""
    return {
        "time": snapshot.time,
        "drivers": [asdict(driver) for driver in snapshot.drivers],
        "columns": list(COLUMNS),
        "intervals": {name: getattr(intervals, name) for name in _INTERVALS},
        "gpus": [_gpu(gpu, is_shared) for gpu in snapshot.gpus],
    }


def _gpu(gpu: GPU, is_shared: bool) -> dict[str, Any]:
    told = {name: getattr(gpu, name) for name in _IDENTITY}
    return told | {
        "is_shared": is_shared,
        "figures": {name: _number(value) for name, value in gpu.figures.items()},
        "stale": {name: round(age, _DECIMALS) for name, age in gpu.stale.items()},
    }


_INTERVALS = ("core_seconds", "process_seconds", "health_seconds")
_IDENTITY = (
    "id", "index", "vendor", "name", "parent", "mig_profile", "memory_total_mib", "state", "message",
)  # fmt: skip


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    return list(value) if isinstance(value, tuple) else value


def tick(snapshot: Snapshot) -> dict[str, Any]:
    """The small frame of one tick: a row a GPU, a value a column."""
    frame: dict[str, Any] = {
        "type": "tick",
        "time": round(snapshot.time, 2),
        "values": [[_number(gpu.figures.get(name)) for name in COLUMNS] for gpu in snapshot.gpus],
    }
    stale = {
        str(place): {name: round(age, _DECIMALS) for name, age in gpu.stale.items()}
        for place, gpu in enumerate(snapshot.gpus)
        if gpu.stale
    }
    if stale:
        frame["stale"] = stale
    links = [
        {name: _number(gpu.figures[name]) for name in LINKS if name in gpu.figures} for gpu in snapshot.gpus
    ]
    if any(links):
        frame["links"] = links
    return frame


def history(rows: Rows, ids: Collection[str]) -> dict[str, Any]:
    """All that GET /history says, of those GPUs."""
    told: dict[str, Any] = dict(rows)
    for part in ("gpus", "peaks"):
        told[part] = {gpu: series for gpu, series in told[part].items() if gpu in ids}
    return told


def processes(listed: ProcessList) -> dict[str, Any]:
    """All that GET /processes says."""
    return {
        "time": listed.time,
        "processes": [asdict(process) for process in listed.processes],
        "others": [asdict(others) for others in listed.others],
        "message": listed.message,
    }


def box(found: Box | None, now: float, lease: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that GET /box says; ``lease`` is what the hub's service tells of it, if it does."""
    if found is None:
        return {"box": None}
    told = asdict(found)
    for name in ("gpus", "is_shared", "server", "service"):
        del told[name]
    told |= {"now": now, "cost": round(found.cost(now), 4), "has_service": bool(found.service)}
    if lease is not None:
        told["ends"] = lease.get("ends_at")
    return {"box": told}


def only(snapshot: Snapshot, ids: Collection[str]) -> Snapshot:
    """The snapshot with those GPUs alone, and those cards' slices.

    Where some of them are missing, one that does not tell who it is may be it.
    """
    some_missing = not {gpu.id for gpu in snapshot.gpus} >= set(ids)
    mine = tuple(
        gpu
        for gpu in snapshot.gpus
        if gpu.id in ids or gpu.parent in ids or (some_missing and gpu.id == f"{gpu.vendor}-{gpu.index}")
    )
    held = {gpu.id for gpu in mine}
    uses = tuple(use for use in snapshot.uses if use.gpu in held)
    return Snapshot(time=snapshot.time, drivers=snapshot.drivers, gpus=mine, uses=uses)
