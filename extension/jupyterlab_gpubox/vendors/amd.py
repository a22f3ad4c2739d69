"""AMD GPUs, as the amdgpu kernel driver tells them in sysfs: no library, and nothing to open.

Files and units: https://docs.kernel.org/gpu/amdgpu/driver-misc.html and .../thermal.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..records import COLUMNS, GPU, HEALTH, LINKS, Driver, Use, Value, Vendor
from . import GPULost, NoDriver, Reading, Tier

_VENDOR = "0x1002"
_MIB = 2**20


class AMD:
    """The AMD driver. `VendorModule` says what each method is for.

    ``root`` is where /sys and /dev are. A GPU counts only where its render node is in /dev/dri: a
    container sees all of the machine's in sysfs, and has the device nodes of its own.
    """

    vendor: Vendor = "amd"

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._cards: dict[Path, AMDCard] = {}

    def open(self) -> Driver:
        self._cards = {}
        if not any(self._devices()):
            raise NoDriver
        module = self._root / "sys/module/amdgpu/version"  # only of the driver that AMD itself hands out
        return Driver("amd", "ok", _text(module) if module.exists() else None)

    def close(self) -> None:
        pass

    def cards(self) -> Sequence[AMDCard]:
        devices = sorted(self._devices())
        known = self._cards
        self._cards = {device: known.get(device) or AMDCard(i, device) for i, device in enumerate(devices)}
        return tuple(self._cards.values())

    def errors(self) -> Mapping[str, int]:
        return {}

    def stop_listening(self) -> None:
        pass

    def _devices(self) -> Iterator[Path]:
        for node in (self._root / "sys/class/drm").glob("renderD*"):
            device = node / "device"
            try:
                is_amd = (device / "vendor").read_text().strip() == _VENDOR
            except OSError:
                continue
            if is_amd and (self._root / "dev/dri" / node.name).exists():
                yield device.resolve()


class AMDCard:
    """One GPU's directory in sysfs. `vendors.Card` says what each method is for."""

    def __init__(self, index: int, device: Path) -> None:
        self._device = device
        self._gpu = GPU(id=f"amd-{device.name}", index=index, vendor="amd", name="AMD GPU")
        self._hwmon = device
        self._is_known = False

    @property
    def gpus(self) -> tuple[GPU, ...]:
        return (self._gpu,)

    def read(self, tiers: Tier) -> Reading:
        if not (self._device / "vendor").exists():
            raise GPULost("The GPU has gone from this machine's devices: look at `dmesg`.")
        if not self._is_known or Tier.HEALTH in tiers:
            self._look()
        figures: dict[str, Value] = {}
        for tier, names in ((Tier.CORE, COLUMNS), (Tier.HEALTH, HEALTH), (Tier.LINKS, LINKS)):
            for name in names if tier in tiers else ():
                try:
                    figures[name] = self._value(name)
                except (OSError, ValueError):  # busy, asleep, or being reset
                    continue
        uses: tuple[Use, ...] | None = () if Tier.PROCESSES in tiers else None
        return Reading(self._gpu.id, self.gpus, {self._gpu.id: figures}, uses)

    def _look(self) -> None:
        monitors = sorted((self._device / "hwmon").glob("hwmon*"))
        self._hwmon = monitors[0] if monitors else self._device
        total = self._number(self._device / "mem_info_vram_total")
        serial = _text_or_none(self._device / "unique_id")
        name = _text_or_none(self._device / "product_name")
        chip = (_text_or_none(self._device / "device") or "").removeprefix("0x")
        self._gpu = replace(
            self._gpu,
            id=f"amd-{serial or self._device.name}",
            name=name or f"AMD GPU 1002:{chip}",
            memory_total_mib=total // _MIB if total else None,
        )
        self._is_known = True

    def _value(self, name: str) -> Value:
        if name == "power_watts":  # newer chips have only the momentary one
            read = [self._hwmon / "power1_average", self._hwmon / "power1_input"]
            microwatts = next((one for one in map(self._number, read) if one is not None), None)
            return None if microwatts is None else round(microwatts / 10**6, 1)
        source = _SOURCES.get(name)
        if source is None:
            return None
        directory = self._hwmon if source[0] in _MONITORED else self._device
        number = self._number(directory / source[0])
        return None if number is None else source[1](number)

    @staticmethod
    def _number(path: Path) -> int | None:
        """What a file says. None where this chip has no such file. Raises OSError or ValueError."""
        text = _text_or_none(path)
        return None if text is None else int(text)


_SOURCES: dict[str, tuple[str, Callable[[int], Value]]] = {
    "utilisation_percent": ("gpu_busy_percent", int),
    "memory_utilisation_percent": ("mem_busy_percent", int),
    "memory_used_mib": ("mem_info_vram_used", lambda used: used // _MIB),
    "temperature_celsius": ("temp1_input", lambda millidegrees: round(millidegrees / 1000)),
    "clock_sm_mhz": ("freq1_input", lambda hertz: round(hertz / 10**6)),
    "clock_memory_mhz": ("freq2_input", lambda hertz: round(hertz / 10**6)),
    "power_limit_watts": ("power1_cap", lambda microwatts: round(microwatts / 10**6, 1)),
}
_MONITORED = {"temp1_input", "freq1_input", "freq2_input", "power1_cap"}


def _text(path: Path) -> str:
    return path.read_text().strip()


def _text_or_none(path: Path) -> str | None:
    try:
        return _text(path) or None
    except FileNotFoundError:
        return None
