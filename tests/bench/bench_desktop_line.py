"""The desktop on a slow line: jupyter-remote-desktop-proxy, gpubox's viewer, its fast lane; one run.

Prints the pictures a second that a browser shows and the bandwidth that they take, on a line of 10 Mbit/s and
40 ms there and back, of two things that move: a terminal of plain text, which the line has room for, and one
full of colours that scrolls by a line sixty times a second, which it has not. The fast lane is promised to
show more of the second. Exit status 1 where that is missed. Run by `make bench`; it builds the image with the
fast lane, under a tag of its own.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple
from unittest import mock

import docker
from playwright.sync_api import Browser, sync_playwright

from bench.bench_desktop import Peer, Server, peer_installed
from bench.bench_desktop_browser import SCROLL
from bench.line import Line, Relay
from fixtures.browser import ARGUMENTS
from gpubox.host.image import build_image

LINE = Line(10e6, 0.040)
MEASURE_MS = 10_000
SETTLE_SECONDS = 8
LEAST_RATIO = 2.0
PEER = "remote-desktop-proxy"
# What a picture is like that scrolls: each cell has a colour of its own, near those beside it.
COLOURS = """
import math, random, time
chance, row = random.Random(1), 0
while True:
    cells = ((128 + 100 * math.sin(row / 9 + k * 2 + x / 13) + chance.uniform(-20, 20) for k in range(3))
             for x in range(100))
    print("".join("\\033[48;2;%d;%d;%dm " % tuple(cell) for cell in cells), flush=True)
    row += 1
    time.sleep(1 / 60)
"""
SCROLL_COLOURS = f"cat > /tmp/colours.py <<'END'\n{COLOURS}END\n" + SCROLL.replace(
    "sh -c 'while :; do seq 1 100000; done'", "/opt/ml/bin/python /tmp/colours.py"
)
MOVING = {"plain text": SCROLL, "colours": SCROLL_COLOURS}
PROMISED = "colours"
WAYS = {
    PEER: (Peer, "desktop/"),
    "viewer": (Server, "gpubox/desktop"),
    "fast lane": (Server, "gpubox/desktop/fast/"),
}

# The element that shows the desktop: the viewer draws on a canvas, the fast lane is a video.
SHOWN = """() => [...document.querySelectorAll("video, canvas")].find(
  node => node.offsetParent && (node.videoWidth ?? node.width) > 600)"""
# How many animation frames show another picture than the one before: of a strip in the terminal's middle.
PICTURES = f"""duration => new Promise(resolve => {{
  const shown = ({SHOWN})();
  const paper = new OffscreenCanvas(300, 40).getContext("2d", {{ willReadFrequently: true }});
  let last = "", count = 0;
  const begun = performance.now();
  const look = now => {{
    paper.drawImage(shown, 20, 160, 300, 40, 0, 0, 300, 40);
    const seen = paper.getImageData(0, 0, 300, 40).data.join();
    count += seen !== last;
    last = seen;
    now - begun < duration ? requestAnimationFrame(look) : resolve(1000 * count / (now - begun));
  }};
  requestAnimationFrame(look);
}})"""


class Figures(NamedTuple):
    """Pictures a second; 10^6 bits a second, on the line and of them for a picture."""

    pictures: float
    megabits: float

    @property
    def kilobytes(self) -> float:
        """A picture's."""
        return self.megabits * 125 / max(self.pictures, 0.1)


def measure(browser: Browser, address: str, path: str) -> Figures:
    """The figures of one way to see what moves."""
    with Relay(LINE, address) as relay:
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(f"http://127.0.0.1:{relay.port}/api/status?token=secret")
        page.goto(f"http://127.0.0.1:{relay.port}/{path}")
        page.wait_for_function(SHOWN, timeout=120_000)
        time.sleep(SETTLE_SECONDS)
        received, begun = relay.received, time.perf_counter()
        pictures = float(page.evaluate(PICTURES, MEASURE_MS))
        megabits = (relay.received - received) * 8 / 1e6 / (time.perf_counter() - begun)
        page.context.close()
    return Figures(pictures, megabits)


def main() -> int:
    """Measure all, print, and say what was missed."""
    figures: dict[tuple[str, str], Figures] = {}
    with mock.patch.dict(os.environ, {"GPUBOX_IMAGE_TAG": "bench-fast-lane"}), peer_installed() as folder:
        build_image(docker.from_env(), "cpu", lambda _: None, {"FAST_LANE": "yes"})
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
            for way, (kind, path) in WAYS.items():
                server = kind(folder)
                try:
                    server.open()
                    time.sleep(SETTLE_SECONDS)
                    for what, command in MOVING.items():
                        server.run(command)
                        figures[what, way] = measure(browser, server.address, path)
                        server.run("pkill -x xfce4-terminal")
                finally:
                    server.remove()
            browser.close()
    print("terminal that scrolls, 10 Mbit/s, 40 ms     pictures a second     Mbit/s     kB a picture")
    for (what, way), each in sorted(figures.items(), key=lambda one: list(MOVING).index(one[0][0])):
        name = f"{what}, {way}"
        print(f"  {name:39} {each.pictures:19.1f} {each.megabits:10.2f} {each.kilobytes:16.1f}")
    ratio = figures[PROMISED, "fast lane"].pictures / figures[PROMISED, PEER].pictures
    print(f"  pictures of {PROMISED}, fast lane to {PEER} {ratio:10.1f}")
    if ratio < LEAST_RATIO:
        print(f"missed: the fast lane shows less than {LEAST_RATIO:g} times the pictures of {PEER}")
    return int(ratio < LEAST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
