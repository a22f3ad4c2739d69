"""What the panel costs in the browser: jupyterlab-nvdashboard against gpubox, eight simulated GPUs, one run.

Prints how much JavaScript each loads before and after it is opened (gzip), and how busy the browser's
main thread is with JupyterLab alone and with the panel open. Exit status 1 where a promise is missed. Run by
`make bench`.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, CDPSession, Page, Response, sync_playwright

from bench.bench_panel import GPUS, PEER_MODULE, TESTS, Gpubox, Peer, install_peer
from fixtures.browser import ARGUMENTS
from simgpu import SimulatedLibrary

MEASURE_SECONDS = 20
# noVNC, which a desktop in a tab loads, awaits at its top level: what runs that takes 0.7 kB of these.
MOST_BYTES_CLOSED = 16_000
MOST_BYTES_WITH_CHARTS = 60_000
MOST_MAIN_THREAD_PERCENT = 4.0


class Cost(NamedTuple):
    """Bytes of JavaScript, compressed, and percent of the main thread."""

    bytes_closed: int
    bytes_open: int
    percent_closed: float
    percent_open: float


def open_peer(page: Page) -> None:
    """Open the dashboard "GPU Resources" from the sidebar of the peer."""
    page.locator(
        ".jp-SideBar [title*='System Dashboards' i], .jp-SideBar [title*='GPU Dashboards' i]"
    ).first.click()
    page.get_by_text("GPU Resources").first.click()


def open_panel(page: Page) -> None:
    """Open the panel, and the dashboard with its charts."""
    page.evaluate("jupyterapp.commands.execute('gpubox:open-panel')")
    page.locator("canvas").first.wait_for()


def open_dashboard(page: Page) -> None:
    """The charts, for what they load."""
    page.evaluate("jupyterapp.commands.execute('gpubox:open-dashboard')")
    page.locator(".u-over").first.wait_for()


def busy_percent(cdp: CDPSession) -> float:
    """How much of a while the main thread spends on tasks."""

    def task_seconds() -> float:
        metrics = cdp.send("Performance.getMetrics")["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))

    before, begun = task_seconds(), time.monotonic()
    time.sleep(MEASURE_SECONDS)
    return 100 * (task_seconds() - before) / (time.monotonic() - begun)


def measure(browser: Browser, server: Peer | Gpubox, folder: str, *opens: Callable[[Page], None]) -> Cost:
    """Open JupyterLab, then each of what there is to open; the first is what is timed."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    sizes: dict[str, int] = {}

    def weigh(response: Response) -> None:
        if f"/extensions/{folder}/" in response.url and ".js" in response.url and response.ok:
            sizes[response.url] = len(gzip.compress(response.body(), 6))

    page.on("response", weigh)
    page.goto(f"{server.url}lab?token={server.token}")
    page.locator("#jp-main-dock-panel").wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)
    closed = sum(sizes.values())
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    percent_closed = busy_percent(cdp)
    opens[0](page)
    page.wait_for_timeout(3000)
    percent_open = busy_percent(cdp)
    for more in opens[1:]:
        more(page)
    page.wait_for_timeout(1000)
    page.context.close()
    return Cost(closed, sum(sizes.values()), percent_closed, percent_open)


def main() -> int:
    """Measure both, print the comparison and say what was missed."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as name, SimulatedLibrary(GPUS) as driver:
        folder = Path(name)
        install_peer(folder / "peer")
        costs = {}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
            for label, kind, assets, opens in (
                ("nvdashboard", Peer, PEER_MODULE.replace("_", "-"), (open_peer,)),
                ("gpubox", Gpubox, "@gpubox/jupyterlab-gpubox", (open_panel, open_dashboard)),
            ):
                home = folder / label
                home.mkdir()
                paths = ":".join(map(str, (TESTS.parent / "extension", TESTS, folder / "peer")))
                data = f"{folder / 'peer' / 'share' / 'jupyter'}:{home / 'share' / 'jupyter'}"
                server = kind(home, driver, PYTHONPATH=paths, JUPYTER_PATH=data)
                server.expose_app = True
                try:
                    costs[label] = measure(browser, server.start(), assets, *opens)
                finally:
                    server.stop()
            browser.close()
    print(f"\n{'':14}{'JS at start':>12}{'JS in all':>12}{'main thread':>13}{'with it open':>14}")
    for label, cost in costs.items():
        print(
            f"{label:14}{cost.bytes_closed / 1000:9.1f} kB{cost.bytes_open / 1000:9.1f} kB"
            f"{cost.percent_closed:11.1f} %{cost.percent_open:12.1f} %"
        )
    ours = costs["gpubox"]
    missed = [
        sentence
        for sentence, is_missed in (
            ("JavaScript before the panel is opened", ours.bytes_closed > MOST_BYTES_CLOSED),
            ("JavaScript with the charts", ours.bytes_open > MOST_BYTES_WITH_CHARTS),
            ("main thread with the panel open", ours.percent_open > MOST_MAIN_THREAD_PERCENT),
        )
        if is_missed
    ]
    for sentence in missed:
        print(f"missed: {sentence}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
