"""How long a start takes: stock DockerSpawner against gpubox, same image, same engine, one run.

Prints seconds from the start request to ready, for one user (median of ten starts) and for twenty
users at once (the last one ready, and the median), and the ratios that are promised. Exit status 1
where a ratio is missed. Run by `make bench`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.hub import Hub

STARTS = 10
USERS = 20
MOST_OF_STOCK_FOR_ONE = 0.45
MOST_OF_STOCK_FOR_TWENTY = 0.5

MACHINE = {"name": "cpu", "title": "CPU", "memory": "1G"}
STOCK = """
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = "gpubox/cpu:latest"
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.DockerSpawner.mem_limit = "1G"
c.Spawner.apply_user_options = lambda spawner, options: None
"""


def seconds_to_ready(hub: Hub, user: str) -> float:
    """From the start request until the hub's event stream says ready."""
    begun = time.perf_counter()
    answer = hub.api("POST", f"/users/{user}/server", json={"user_options": {"machine": "cpu"}})
    assert answer.status_code in (201, 202), answer.text
    for event in hub.events(user):
        if event.get("ready"):
            return time.perf_counter() - begun
        assert not event.get("failed"), event
    raise AssertionError(f"{user}'s start ended without a word")


def measure(name: str, extra_config: str) -> tuple[float, float, float]:
    """Median of one user; last and median of twenty at once."""
    users = tuple(f"user{number:02}" for number in range(USERS))
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory:
        hub = Hub(Path(directory), machines=[MACHINE], users=users, extra_config=extra_config).start()
        try:
            for user in users:
                hub.api("POST", f"/users/{user}")
            single = []
            for number in range(STARTS + 1):
                taken = seconds_to_ready(hub, users[0])
                hub.stop(users[0])
                if number:  # the first start warms the caches of both
                    single.append(taken)
                    print(f"  {name:12} one user, start {number:2}: {taken:5.2f} s", flush=True)
            with ThreadPoolExecutor(USERS) as together:
                crowd = list(together.map(lambda user: seconds_to_ready(hub, user), users))
            print(
                f"  {name:12} {USERS} users: last {max(crowd):5.2f} s,"
                f" median {statistics.median(crowd):5.2f} s",
                flush=True,
            )
            for user in users:
                hub.api("DELETE", f"/users/{user}/server")
            return statistics.median(single), max(crowd), statistics.median(crowd)
        finally:
            hub.close()


def main() -> int:
    """Measure both and print the comparison."""
    stock = measure("stock", STOCK)
    ours = measure("gpubox", "")
    print(f"\n{'':28}{'stock':>8}{'gpubox':>8}{'ratio':>8}{'at most':>9}")
    rows = [
        ("one user, median of 10", 0, MOST_OF_STOCK_FOR_ONE),
        ("20 users, last one ready", 1, MOST_OF_STOCK_FOR_TWENTY),
        ("20 users, median", 2, None),
    ]
    missed = False
    for label, index, most in rows:
        ratio = ours[index] / stock[index]
        bound = f"{most:.2f}" if most else ""
        print(f"{label:28}{stock[index]:7.2f}s{ours[index]:7.2f}s{ratio:8.2f}{bound:>9}")
        missed |= most is not None and ratio > most
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
