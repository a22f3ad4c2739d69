"""What a desktop costs and how soon it is there: jupyter-remote-desktop-proxy against gpubox, same image,
one run.

Prints, for each, the seconds from the click to the first picture and to the drawn desktop, in a new
container and at the second opening, the memory that an idle desktop takes, and what the desktop adds to the
image. A click is the page's WebSocket; the viewer is the same for both. Exit status 1 where a promise is
missed. Run by `make bench`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import docker
import requests

from fixtures.jupyter import until
from fixtures.vnc import Viewer
from gpubox.host.image import image_name

PEER = ("jupyter-remote-desktop-proxy==3.0.1", "jupyter-server-proxy==4.6.0", "simpervisor==1.0.0")
PEER_WEBSOCKIFY = "websockify==0.13.0"
PEER_FOLDER = "/peer"
ROUNDS = 5
# Until the programs of a new desktop have done with their start.
SETTLE_SECONDS = 10
MOST_IMAGE_MB = 461
MOST_IDLE_MIB = 131
MOST_SECOND_SECONDS = 0.5


class Opening(NamedTuple):
    """Seconds from the click to the first picture, and to panel and wallpaper."""

    picture: float
    drawn: float


class Figures(NamedTuple):
    """One container's."""

    first: Opening
    second: Opening
    idle_mib: float


class Server:
    """A box with a Jupyter server."""

    path = "gpubox/api/desktop/vnc?viewer=the-benchmark"
    command: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._container = docker.from_env().containers.run(
            image_name("cpu"),
            list(self.command) or None,
            detach=True,
            init=True,
            environment={"JUPYTER_TOKEN": "secret", "PYTHONPATH": PEER_FOLDER, "JUPYTER_CONFIG_PATH": "/etc"},
            volumes={str(folder): {"bind": PEER_FOLDER, "mode": "ro"}},
            ports={"8888/tcp": ("127.0.0.1", None)},
        )
        self._container.reload()
        self.address = f"127.0.0.1:{self._container.ports['8888/tcp'][0]['HostPort']}"
        until(self._answers, "the server answers", lambda: self._container.logs().decode())

    def _answers(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"http://{self.address}/api?token=secret", timeout=60).ok
        return False

    def open(self) -> Opening:
        """Click, and look until the desktop is drawn."""
        begun = time.perf_counter()
        viewer = self._connect()
        viewer.update()
        picture = time.perf_counter() - begun
        while not drawn(viewer):
            viewer.update()
        seconds = time.perf_counter() - begun
        viewer.close()
        return Opening(picture, seconds)

    def _connect(self) -> Viewer:
        return Viewer(f"ws://{self.address}/{self.path}", token="secret")

    def memory_mib(self) -> float:
        """What its programs have for themselves."""
        told = self._container.stats(stream=False)["memory_stats"]["stats"]
        return float(told.get("anon", told.get("rss"))) / (1 << 20)

    def run(self, script: str) -> None:
        """A shell's script in the container, left to itself."""
        self._container.exec_run(["sh", "-c", script], detach=True)

    def remove(self) -> None:
        self._container.remove(force=True, v=True)


class Peer(Server):
    """A Jupyter server with jupyter-remote-desktop-proxy."""

    path = "desktop-websockify/"
    command = (
        *("jupyter", "lab", "--ip=0.0.0.0", "--no-browser"),
        *("--ServerApp.jpserver_extensions=jupyter_server_proxy=True",),
        *("--ServerApp.jpserver_extensions=jupyter_remote_desktop_proxy=True",),
    )


def drawn(viewer: Viewer) -> bool:
    """Whether the panel and the wallpaper are there."""
    panel, sky = viewer.pixel(viewer.width // 2, viewer.height - 5), viewer.pixel(viewer.width - 60, 40)
    return sum(panel) < 120 and sum(sky) > 500


def measure(kind: type[Server], folder: Path) -> Figures:
    """One new container."""
    server = kind(folder)
    try:
        before = server.memory_mib()
        first = server.open()
        time.sleep(SETTLE_SECONDS)
        second = server.open()
        time.sleep(1)
        return Figures(first, second, server.memory_mib() - before)
    finally:
        server.remove()


@contextmanager
def peer_installed() -> Iterator[Path]:
    """The peer, in a folder of its own: it is no dependency of anything here."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", folder, *PEER, PEER_WEBSOCKIFY], check=True)
        Path(folder).chmod(0o755)
        yield Path(folder)


def image_mb() -> float:
    """What the desktop and ssh add to the image (10^6 bytes)."""
    layers = docker.from_env().images.get(image_name("cpu")).history()
    return sum(layer["Size"] for layer in layers if '/install "${DESKTOP}"' in layer["CreatedBy"]) / 1e6


def median(rounds: list[Figures]) -> Figures:
    """Of each figure."""
    return Figures(
        *(
            Opening(
                *(statistics.median(getattr(each, name)[place] for each in rounds) for place in range(2)),
            )
            for name in ("first", "second")
        ),
        statistics.median(each.idle_mib for each in rounds),
    )


def main() -> int:
    """Measure by turns and print; 1 where a promise was missed."""
    rounds: dict[type[Server], list[Figures]] = {Peer: [], Server: []}
    with peer_installed() as folder:
        for _ in range(ROUNDS):
            for kind, measured in rounds.items():
                measured.append(measure(kind, folder))
    peer, ours = (median(measured) for measured in rounds.values())
    print(f"desktop, medians of {ROUNDS} new containers    remote-desktop-proxy     gpubox")
    for words, name in (("the first opening", "first"), ("the second opening", "second")):
        theirs, own = getattr(peer, name), getattr(ours, name)
        print(f"  {words}, first picture        {theirs.picture:8.2f} s      {own.picture:8.2f} s")
        print(f"  {words}, drawn                {theirs.drawn:8.2f} s      {own.drawn:8.2f} s")
    print(f"  idle memory                              {peer.idle_mib:8.0f} MiB    {ours.idle_mib:8.0f} MiB")
    megabytes = image_mb()
    print(f"  the image grows by                                        {megabytes:8.0f} MB")
    missed = [
        sentence
        for sentence, is_missed in (
            ("the first opening is slower than the peer's", ours.first.drawn > peer.first.drawn),
            (f"the second takes over {MOST_SECOND_SECONDS} s", ours.second.drawn > MOST_SECOND_SECONDS),
            (f"idle memory is over {MOST_IDLE_MIB} MiB", ours.idle_mib > MOST_IDLE_MIB),
            (f"the image grows by over {MOST_IMAGE_MB} MB", megabytes > MOST_IMAGE_MB),
        )
        if is_missed
    ]
    for sentence in missed:
        print(f"missed: {sentence}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
