"""The GPUs in Jupyter's own /metrics, under the names that users of DCGM's exporter know.

Names, units and labels of dcgm-exporter's default counters
(https://github.com/NVIDIA/dcgm-exporter, etc/default-counters.csv); ``gpubox_`` where DCGM has none.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .records import GPU, Snapshot


@dataclass(frozen=True)
class _Name:
    metric: str
    figure: str
    help: str


_NAMES = (
    _Name("DCGM_FI_DEV_GPU_UTIL", "utilisation_percent", "GPU utilization (in %)."),
    _Name("DCGM_FI_DEV_MEM_COPY_UTIL", "memory_utilisation_percent", "Memory utilization (in %)."),
    _Name("DCGM_FI_DEV_FB_USED", "memory_used_mib", "Frame buffer memory used (in MiB)."),
    _Name("DCGM_FI_DEV_POWER_USAGE", "power_watts", "Power draw (in W)."),
    _Name("DCGM_FI_DEV_POWER_MGMT_LIMIT", "power_limit_watts", "Power limit (in W)."),
    _Name("DCGM_FI_DEV_GPU_TEMP", "temperature_celsius", "GPU temperature (in C)."),
    _Name("DCGM_FI_DEV_SM_CLOCK", "clock_sm_mhz", "SM clock frequency (in MHz)."),
    _Name("DCGM_FI_DEV_MEM_CLOCK", "clock_memory_mhz", "Memory clock frequency (in MHz)."),
    _Name("DCGM_FI_DEV_XID_ERRORS", "xid", "Value of the last XID error encountered."),
    _Name("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "ecc_corrected", "Single-bit volatile ECC errors."),
    _Name("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "ecc_uncorrected", "Double-bit volatile ECC errors."),
)


class GPUCollector(Collector):
    """Collects from the newest snapshot when someone scrapes; asks no driver itself."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._host = socket.gethostname()

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of the first scrape: registering must not open the driver."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """A family a figure that any GPU has. A figure that a GPU lacks, or that is stale, is left out."""
        gpus = self._snapshot().gpus
        keys = ["gpu", "UUID", "modelName", "GPU_I_PROFILE", "Hostname"]
        for name in _NAMES:
            # The library would add `_total` to a counter's name: all are gauges, under DCGM's names.
            family = GaugeMetricFamily(name.metric, name.help, labels=keys)
            for gpu in gpus:
                value = gpu.figures.get(name.figure)
                if isinstance(value, int | float) and name.figure not in gpu.stale:
                    family.add_metric(self._labels(gpu), value)
            yield family
        total = GaugeMetricFamily(
            "DCGM_FI_DEV_FB_TOTAL", "Total frame buffer of the GPU (in MiB).", labels=keys
        )
        working = GaugeMetricFamily(
            "gpubox_gpu_up", "1 if the GPU answers, 0 if it is lost or stale.", labels=keys
        )
        throttled = GaugeMetricFamily(
            "gpubox_gpu_throttled", "1 for each reason that holds the clocks down.", labels=[*keys, "reason"]
        )
        for gpu in gpus:
            if gpu.memory_total_mib is not None:
                total.add_metric(self._labels(gpu), gpu.memory_total_mib)
            working.add_metric(self._labels(gpu), float(gpu.state == "ok"))
            reasons = gpu.figures.get("throttle_reasons")
            for reason in reasons if isinstance(reasons, tuple) else ():
                throttled.add_metric([*self._labels(gpu), reason], 1)
        yield from (total, working, throttled)

    def _labels(self, gpu: GPU) -> list[str]:
        return [str(gpu.index), gpu.id, gpu.name, gpu.mig_profile or "", self._host]
