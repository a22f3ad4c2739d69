"""The state file that the simulated library reads: parts of ``key = value`` lines, written in one rename."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

Value: TypeAlias = str | int | None
Part: TypeAlias = tuple[str, Mapping[str, "Value | list[str]"]]

# nvmlReturn_t by the name that NVIDIA's documentation uses, without NVML_ERROR_.
ERRORS = {
    "SUCCESS": 0,
    "NOT_SUPPORTED": 3,
    "NO_PERMISSION": 4,
    "NOT_FOUND": 6,
    "INSUFFICIENT_POWER": 8,
    "DRIVER_NOT_LOADED": 9,
    "TIMEOUT": 10,
    "IRQ_ISSUE": 11,
    "FUNCTION_NOT_FOUND": 13,
    "GPU_IS_LOST": 15,
    "RESET_REQUIRED": 16,
    "OPERATING_SYSTEM": 17,
    "LIB_RM_VERSION_MISMATCH": 18,
    "MEMORY": 20,
    "UNKNOWN": 999,
}


def write_state(path: Path, parts: Iterable[Part]) -> None:
    """Replaces the state at ``path``; a reader sees the old one or the new one, nothing between."""
    lines = []
    for kind, values in parts:
        lines.append(f"[{kind}]")
        for key, value in values.items():
            for one in value if isinstance(value, list) else [value]:
                lines.append(f"{key} = {'N/A' if one is None else one}")
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text("\n".join(lines) + "\n")
    scratch.chmod(0o644)
    scratch.replace(path)
