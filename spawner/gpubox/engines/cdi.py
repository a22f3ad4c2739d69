"""CDI specifications of gpubox's own: what a machine that is kept is given at its next start.

What a container asks for is fixed when it is made, but a CDI name means what its specification says when the
container starts. So a kept machine asks for a device of its own, and that device is described anew before
each start: with the GPUs of the lease, as the vendor's specification describes them. Without its file, the
engine does not start the machine. The format: SPEC.md of https://github.com/cncf-tags/container-device-interface
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

KIND = "gpubox.dev/box"
GPU_KIND = "nvidia.com/gpu"
# What the doctor does not take for the vendor's.
PREFIX = "gpubox-"
_FILE = PREFIX + "{}.json"
_VERSION = "0.5.0"
_LISTS = ("env", "deviceNodes", "mounts", "hooks", "additionalGids", "netDevices")

Spec = Mapping[str, Any]


class NotDescribed(LookupError):
    """A GPU is in no specification of the engine's; args[0] is the sentence."""


def read_specs(directories: Iterable[str | Path]) -> list[Spec]:
    """All specifications in the engine's directories that can be read; those of later ones come last."""
    found = []
    for directory in map(Path, directories):
        for file in sorted(directory.glob("*")) if directory.is_dir() else ():
            if file.suffix in (".json", ".yaml"):
                try:
                    spec = yaml.safe_load(file.read_text())
                except (OSError, ValueError, yaml.YAMLError):
                    continue  # the engine says what is wrong with it, when it is asked for
                if isinstance(spec, Mapping):
                    found.append(spec)
    return found


def describe(
    name: str, gpus: Sequence[str], environment: Mapping[str, str], specs: Iterable[Spec]
) -> dict[str, Any]:
    """A specification of the device ``name``, which is those GPUs (UUIDs) and those variables.

    ``specs`` are the vendor's. Raises `NotDescribed`.
    """
    # A later specification comes before an earlier one: so it is with CDI's own directories.
    vendors = [spec for spec in specs if spec.get("kind") == GPU_KIND][::-1]
    edits: dict[str, Any] = {}
    version = _VERSION
    for uuid in gpus:
        spec, device = _find(uuid, vendors)
        version = max(version, str(spec.get("cdiVersion", "")), key=_as_numbers)
        for more in (spec.get("containerEdits"), device.get("containerEdits")):
            _add(edits, more or {})
    _add(edits, {"env": [f"{key}={value}" for key, value in environment.items()]})
    return {"cdiVersion": version, "kind": KIND, "devices": [{"name": name, "containerEdits": edits}]}


def _find(uuid: str, specs: Iterable[Spec]) -> tuple[Spec, Mapping[str, Any]]:
    for spec in specs:
        for device in spec.get("devices") or ():
            if device.get("name") == uuid:
                return spec, device
    raise NotDescribed(
        f"The GPU {uuid} is in no CDI specification that the hub may read. Tell the admin:"
        " nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
    )


def _add(edits: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if key in _LISTS:
            known = edits.setdefault(key, [])
            known += [one for one in value if one not in known]
        else:
            edits[key] = value


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


class SpecFiles:
    """The specifications of kept machines in one of the engine's directories."""

    def __init__(self, directories: Sequence[str | Path]) -> None:
        """Take the last of the engine's ``directories`` that may be written, by CDI's order the one for what
        changes. Raises PermissionError where there is none."""
        self._all = [Path(directory) for directory in directories]
        for directory in reversed(self._all):
            if may_write(directory):
                directory.mkdir(mode=0o755, parents=True, exist_ok=True)  # /var/run/cdi is gone after a boot
                self._directory = directory
                return
        raise PermissionError

    def write(self, name: str, gpus: Sequence[str], environment: Mapping[str, str]) -> None:
        """Describe a machine's device; for the engine's eyes alone. Raises `NotDescribed`, OSError."""
        spec = describe(name, gpus, environment, read_specs(self._all) if gpus else ())
        file = self._file(name)
        draft = file.with_suffix(".draft")  # no specification to the engine
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            json.dump(spec, new, indent=2)
        draft.replace(file)

    def withdraw(self, name: str) -> None:
        """From now on the engine does not start that machine."""
        self._file(name).unlink(missing_ok=True)

    def written(self, prefix: str) -> dict[str, int]:
        """The machines that are described now, of those whose names begin so; since when (st_mtime_ns)."""
        before, after = _FILE.split("{}")
        found = {}
        for file in self._directory.glob(_FILE.format(f"{prefix}*")):
            try:
                found[file.name.removeprefix(before).removesuffix(after)] = file.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # withdrawn meanwhile
        return found

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a machine's device; empty where it is not described."""
        try:
            (device,) = json.loads(self._file(name).read_text())["devices"]
        except (OSError, ValueError, KeyError):
            return {}
        return dict(pair.split("=", 1) for pair in device["containerEdits"]["env"])

    def _file(self, name: str) -> Path:
        return self._directory / _FILE.format(name)


def may_write(directory: Path) -> bool:
    """Whether one of the engine's directories takes files of ours; it may have to be made first."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
