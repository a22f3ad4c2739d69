"""What watching eight GPUs costs: jupyterlab-nvdashboard against gpubox, same simulated driver, one run.

Prints, for each with 0, 1 and 20 watchers: NVML calls a second, CPU of the server, and the median delay
of /api on a driver whose calls take what NVIDIA's do. Exit status 1 where a promise is missed. Run by
`make bench`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from websocket import WebSocket, WebSocketException

from fixtures.jupyter import JupyterServer
from simgpu import SimulatedLibrary

TESTS = Path(__file__).parents[1]
PEER = "jupyterlab-nvdashboard==0.15.0"
PEER_MODULE = "jupyterlab_nvdashboard"
GPUS = "8xH100"
WATCHERS = 20
SETTLE_SECONDS = 3
MEASURE_SECONDS = 15
# Published costs of calls of a real driver, in microseconds.
COSTS = {
    "nvmlDeviceGetPcieThroughput": 20_000,
    "nvmlDeviceGetComputeRunningProcesses": 4_500,
    "nvmlDeviceGetGraphicsRunningProcesses": 4_500,
    "nvmlDeviceGetUtilizationRates": 30,
    "nvmlDeviceGetPowerUsage": 100,
}
MOST_TIMES_IDLE = 1.5
MOST_CALLS_A_SECOND = 60
MOST_CPU_PERCENT = 1.5


class Cost(NamedTuple):
    """What some watchers cost."""

    calls_a_second: float
    cpu_percent: float
    api_median_ms: float

    def __str__(self) -> str:
        return f"{self.calls_a_second:14.1f}{self.cpu_percent:10.2f} %{self.api_median_ms:10.1f} ms"


class Peer(JupyterServer):
    """A Jupyter server with the dashboard of the peer."""

    extensions = (PEER_MODULE, "bench.panel_probe")

    def watch(self) -> WebSocket:
        """One page with the dashboard "GPU Resources", at the interval that its settings come with."""
        stream = self.stream("nvdashboard/gpu_resource")
        stream.send(json.dumps({"updateFrequency": 100, "isPaused": False}))
        return stream


class Gpubox(JupyterServer):
    """A Jupyter server with gpubox's panel."""

    extensions = ("jupyterlab_gpubox", "bench.panel_probe")

    def watch(self) -> WebSocket:
        """One page with the panel."""
        return self.stream()


def install_peer(folder: Path) -> None:
    """Put the peer into a folder of its own: it is no dependency of anything here."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(folder), PEER], check=True)


@contextmanager
def watched_by(server: Peer | Gpubox, count: int) -> Iterator[None]:
    """So many pages, each reading what it is sent."""
    streams = [server.watch() for _ in range(count)]

    def read(stream: WebSocket) -> None:
        with suppress(WebSocketException, OSError):
            while stream.recv():
                pass

    for stream in streams:
        threading.Thread(target=read, args=(stream,), daemon=True).start()
    yield
    for stream in streams:
        stream.shutdown()


def measure(server: Peer | Gpubox, watchers: int) -> Cost:
    """Let so many watch, and look on for a while."""
    with watched_by(server, watchers):
        time.sleep(SETTLE_SECONDS)
        before, begun = server.get("bench/calls"), time.monotonic()
        delays = []
        while time.monotonic() - begun < MEASURE_SECONDS:
            asked = time.perf_counter()
            server.get("api")
            delays.append(time.perf_counter() - asked)
            time.sleep(0.1)
        after, seconds = server.get("bench/calls"), time.monotonic() - begun
    # What the questions of this bench cost is in both; that of no watcher at all is printed beside.
    return Cost(
        (after["calls"] - before["calls"]) / seconds,
        100 * (after["cpu_seconds"] - before["cpu_seconds"]) / seconds,
        1000 * statistics.median(delays),
    )


def run(
    kind: type[Peer] | type[Gpubox], driver: SimulatedLibrary, folder: Path, peer: Path
) -> dict[int, Cost]:
    """The costs by number of watchers."""
    home = folder / f"{kind.__name__}-{time.monotonic_ns()}"
    home.mkdir()
    paths = ":".join(map(str, (TESTS.parent / "extension", TESTS, peer)))
    server = kind(home, driver, PYTHONPATH=paths).start()
    try:
        return {watchers: measure(server, watchers) for watchers in (0, 1, WATCHERS)}
    finally:
        server.stop()


def main() -> int:
    """Measure both, print the comparison and say what was missed."""
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as name:
        folder = Path(name)
        install_peer(folder / "peer")
        for speed in ("a driver that costs nothing", "a driver that costs what NVIDIA's does"):
            with SimulatedLibrary(GPUS) as driver:
                if "NVIDIA" in speed:
                    for call, microseconds in COSTS.items():
                        driver.cost(call, microseconds)
                print(f"\n{GPUS}, {speed}")
                print(
                    f"  {'':14}{'watchers':>9}{'NVML calls/s':>14}{'server CPU':>12}{'/api median':>13}",
                    flush=True,
                )
                for kind in (Peer, Gpubox):
                    costs = run(kind, driver, folder, folder / "peer")
                    for watchers, cost in costs.items():
                        name = "nvdashboard" if kind is Peer else "gpubox"
                        print(f"  {name:14}{watchers:9}{cost}", flush=True)
                    if kind is Gpubox:
                        missed += misses(costs, speed)
    for sentence in missed:
        print(f"missed: {sentence}")
    return int(bool(missed))


def misses(costs: dict[int, Cost], speed: str) -> Iterator[str]:
    """What was promised and is not so."""
    idle, one, many = costs[0], costs[1], costs[WATCHERS]
    slower = many.api_median_ms / idle.api_median_ms
    if slower > MOST_TIMES_IDLE:
        yield f"/api takes {slower:.2f} times as long with {WATCHERS} watchers ({speed})"
    for cost in (one, many):
        if cost.calls_a_second > MOST_CALLS_A_SECOND:
            yield f"{cost.calls_a_second:.0f} NVML calls a second, not {MOST_CALLS_A_SECOND} ({speed})"
    more = many.cpu_percent - idle.cpu_percent
    if more > MOST_CPU_PERCENT:
        yield f"{more:.2f} % CPU more than idle with {WATCHERS} watchers ({speed})"


if __name__ == "__main__":
    sys.exit(main())
