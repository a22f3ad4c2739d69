"""What a healthy, idle GPU of each model shows. The keys are those that ``nvml/*.c`` looks up."""

from __future__ import annotations

import uuid

from .models import Model
from .state import Value

_SUPPORTED_EVENTS = 0x1FF  # ECC errors, p-state, Xid, clock, power source, MIG
_ALL_REASONS = 0x1FF
_IDLE = 1  # the event reason "GPU idle"
_AMPERE = 7  # from here on rows are remapped, before it pages are retired


def idle_figures(model: Model, name: str, minor: int) -> dict[str, Value]:
    """The figures of a GPU of this model that is in order and does nothing."""
    number = uuid.UUID(name.removeprefix("GPU-")).int
    data_centre = model.memory_mib is not None and model.ecc
    modern = model.architecture >= _AMPERE
    watts = model.power_limit_watts
    values: dict[str, Value] = {
        "minor": minor,
        "name": model.name,
        "uuid": name,
        "serial": f"{1650000000000 + number % 10**9}" if data_centre else None,
        "vbios": f"9{model.architecture}.00.74.00.01",
        "part_number": f"900-2G{model.device_id >> 16:X}-0000-000",
        "brand": model.brand,
        "architecture": model.architecture,
        "board_id": 0x1700 + minor,
        "multi_gpu_board": 0,
        "cores": model.cores,
        "memory_bus_width": model.bus_width or None,
        "cuda_major": model.cuda[0],
        "cuda_minor": model.cuda[1],
        "pci_bus_id": f"00000000:{0x17 + 0x10 * minor & 0xFF:02X}:00.0",
        "pci_device_id": model.device_id,
        "numa_node": minor // 4,
        "compute_mode": 0,
        "persistence_mode": 1,
        "display_mode": 0,
        "display_active": 0,
        "pstate": 0 if data_centre else 8,
        "event_reasons": _IDLE,
        "event_reasons_supported": _ALL_REASONS,
        "event_types": _SUPPORTED_EVENTS,
        "utilisation": 0,
        "memory_utilisation": 0,
        "encoder_utilisation": 0,
        "decoder_utilisation": 0,
        "jpeg_utilisation": 0,
        "ofa_utilisation": 0,
        "sampling_us": 167000,
        "memory_mib": model.memory_mib,
        "memory_used_mib": None if model.memory_mib is None else 4,
        "memory_reserved_mib": None if model.memory_mib is None else model.memory_mib // 150,
        "bar1_mib": 131072 if data_centre and modern else 256,
        "bar1_used_mib": 1,
        "temperature": 30 + minor % 5,
        "temperature_shutdown": 92,
        "temperature_slowdown": 89,
        "temperature_memory_max": 95 if data_centre else None,
        "temperature_max": 87,
        "power_management": 1,
        "power_mw": watts * 100,
        "power_limit_mw": watts * 1000,
        "power_limit_default_mw": watts * 1000,
        "power_limit_min_mw": watts * 400,
        "power_limit_max_mw": watts * 1000,
        "energy_mj": 10**9 + minor,
        "fans": 2 if model.fan else 0,
        "fan_percent": 0 if model.fan else None,
        "clock_graphics_mhz": 345,
        "clock_sm_mhz": 345,
        "clock_memory_mhz": model.memory_clock_mhz or None,
        "clock_video_mhz": 765,
        "clock_max_graphics_mhz": model.clock_mhz,
        "clock_max_sm_mhz": model.clock_mhz,
        "clock_max_memory_mhz": model.memory_clock_mhz or None,
        "clock_max_video_mhz": model.clock_mhz * 9 // 10,
        "pcie_generation": model.pcie_generation,
        "pcie_generation_max": model.pcie_generation,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_replays": 0,
        "pcie_tx_kib": 0,
        "pcie_rx_kib": 0,
        "ecc": 1 if model.ecc else None,
        "ecc_pending": 1 if model.ecc else None,
        "ecc_default": 1 if model.ecc else None,
        "retired_pages_single": 0 if data_centre and not modern else None,
        "retired_pages_double": 0 if data_centre and not modern else None,
        "retired_pages_pending": 0 if data_centre and not modern else None,
        "mig_mode": 0 if model.mig else None,
        "mig_mode_pending": 0 if model.mig else None,
        "mig_max_slices": 7 if model.mig else 0,
        "nvlink_version": model.nvlink_version or None,
        "field.91": model.nvlinks,  # NVML_FI_DEV_NVLINK_LINK_COUNT
        "field.230": 0,  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: none
    }
    for kind in ("corrected", "uncorrected"):
        values[f"ecc_{kind}_volatile"] = values[f"ecc_{kind}_aggregate"] = 0 if model.ecc else None
        values[f"remapped_rows_{kind}"] = 0 if data_centre and modern else None
    values["remapping_pending"] = values["remapping_failed"] = 0 if data_centre and modern else None
    return values
