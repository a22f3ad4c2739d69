"""The GPUs page of a large lab: 100 GPUs, all held, and 1,000 people in line.

A real hub and its service, with simulated GPUs; the leases are written into the ledger, and the hub is kept
from noticing that nothing runs for them. Beside the service's answer stands the hub's own list of its users.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil
from playwright.sync_api import sync_playwright

from fixtures.browser import ARGUMENTS
from fixtures.hub import Hub
from simgpu import SimulatedDriver

GPUS, TICKETS, PAGES = 100, 1000, 200
QUIET = """
from gpubox.hub import GPUHub
async def nothing(self): pass
GPUHub.reconcile = nothing
c.GPUHub.refresh_seconds = 3600
c.Authenticator.admin_users = {"admin"}
"""


def fill(hub: Hub) -> None:
    """Write leases of all GPUs, and tickets, as if they had been asked for an hour ago."""
    then = time.time() - 3600
    lease = (
        'INSERT INTO lease (id, "user", server, machine, title, count, slots_per_gpu, price_per_hour,'
        ' "groups", rank, requested_at, granted_at) VALUES '
    )
    machine = "'', 'h100', '1x H100', 1, 1, 2.5, '[]', 0"
    rows = [f"({n}, 'user{n}', {machine}, {then}, {then})" for n in range(1, GPUS + 1)]
    tickets = range(1, TICKETS + 1)
    rows += [f"({GPUS + n}, 'waiting{n}', {machine}, {then + n}, NULL)" for n in tickets]
    hub.sql(lease + ", ".join(rows))
    hub.sql(
        "INSERT INTO lease_gpu (lease_id, gpu_uuid, slot, slots, open)"
        ' SELECT row_number() OVER (ORDER BY "index"), uuid, 0, 1, true FROM gpu'
    )


async def timed(times: int, act: Callable[[], Awaitable[None]]) -> float:
    """The median of so many, in milliseconds."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        await act()
        found.append((time.perf_counter() - begun) * 1000)
    return statistics.median(found)


class Pages:
    """Open pages: each reads its stream, and remembers when the GPU's state last came."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url
        self.got: dict[int, float] = {}
        self.all_got = asyncio.Event()
        self.bytes = 0

    async def read(self, number: int) -> None:
        async with self.session.get(self.url) as answer:
            async for line in answer.content:
                self.bytes += len(line)
                if line.startswith((b"event: state", b"event: change")):
                    self.got[number] = time.perf_counter()
                    if len(self.got) == PAGES:
                        self.all_got.set()

    async def all_told(self) -> None:
        await self.all_got.wait()
        self.got.clear()
        self.all_got.clear()


async def measure(hub: Hub, token: str, service: psutil.Process) -> None:
    headers = {"Authorization": f"token {token}"}
    base = f"http://127.0.0.1:{hub.service_port}/services/gpubox"
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        headers=headers, connector=connector, timeout=timeout, read_bufsize=2**20
    ) as session:

        async def get(url: str) -> None:
            async with session.get(url) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        await get(f"{base}/api/state")
        ours = await timed(30, lambda: get(f"{base}/api/state"))
        whole = await timed(30, lambda: get(f"{base}/api/state?line=all"))
        theirs = await timed(10, lambda: get(f"{hub.url}/hub/api/users?limit=100"))
        print(f"api/state, {GPUS} GPUs, 100 of {TICKETS} tickets: {ours:.1f} ms; all tickets: {whole:.1f} ms")
        print(f"... the hub's own list of 100 users: {theirs:.1f} ms, ratio {ours / theirs:.2f}")

        pages = Pages(session, f"{base}/api/events")
        reading = [asyncio.create_task(pages.read(number)) for number in range(PAGES)]
        await pages.all_told()
        async with session.get(f"{base}/api/state") as answer:
            gpu = (await answer.json())["gpus"][0]["uuid"]
        delays = []
        pages.bytes, used, begun = 0, sum(service.cpu_times()[:2]), time.perf_counter()
        for number in range(20):
            act = session.post if number % 2 == 0 else session.delete
            asked = time.perf_counter()
            async with act(f"{base}/api/gpus/{gpu}/drain") as answer:
                assert answer.status == 200, await answer.text()
            await asyncio.wait_for(pages.all_told(), 30)
            delays.append(time.perf_counter() - asked)
            await asyncio.sleep(max(0.0, asked + 1 - time.perf_counter()))  # one change a second
        seconds = time.perf_counter() - begun
        share = (sum(service.cpu_times()[:2]) - used) / seconds
        print(
            f"a change, until the last of {PAGES} open pages has it: median {statistics.median(delays):.2f}"
            f" s, worst {max(delays):.2f} s; with one each second the service takes {share:.1%} of a core"
            f" and sends {pages.bytes / seconds / 1e3:.0f} kB/s"
        )
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


PAINTS = "() => performance.getEntriesByName('first-contentful-paint').map(paint => paint.startTime)"


def paint(hub: Hub) -> None:
    """Open the GPUs page in a browser that has its scripts already, as on any day but the first."""
    program = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(f"{hub.url}/services/gpubox/")
        page.get_by_label("Username:").fill("admin")
        page.get_by_label("Password:").first.fill(hub.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/services/gpubox/**")
        found = []
        for _ in range(5):
            page.reload()
            found.append(page.wait_for_function(f"({PAINTS})()[0]").json_value())
        cards = page.locator(".gb-gpu-name").count()
        browser.close()
    print(f"GPUs page, {cards} GPUs on it: first contentful paint {statistics.median(found):.0f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, SimulatedDriver(f"{GPUS}xH100") as driver:
        hub = Hub(
            Path(directory),
            engine="process",
            environment=driver.environment(),
            users=("admin",),
            extra_config=QUIET,
            service=True,
        )
        try:
            hub.start()
            hub.terminate()
            fill(hub)
            hub.start()
            for n in range(1, 101):
                hub.api("POST", f"/users/user{n}")
            token = hub.api("POST", "/users/admin/tokens", json={"note": "bench"}).json()["token"]
            assert hub.process is not None
            (service,) = [
                child
                for child in psutil.Process(hub.process.pid).children(recursive=True)
                if "gpubox.service" in child.cmdline()
            ]
            asyncio.run(measure(hub, token, service))
            paint(hub)
        finally:
            hub.close()


if __name__ == "__main__":
    main()
