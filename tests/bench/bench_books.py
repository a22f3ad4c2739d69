"""How long it takes to sum up a month out of a million leases, in SQLite.

Exit status 1 where the promise is missed. Run by `make bench`.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time

from gpubox import books, db

LEASES = 1_000_000
USERS = 500
MOST_SECONDS = 1.0
DAY = 86400.0


def main() -> int:
    """Write the leases of some years, then sum one month up by user and by machine type."""
    chance = random.Random(1)
    month = books.month("2026-10")
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as folder:
        engine = db.open_database(f"sqlite:///{folder}/books.sqlite")
        with engine.begin() as connection:
            for _ in range(LEASES // 50_000):
                connection.execute(db.lease.insert(), [_lease(chance, month.end) for _ in range(50_000)])
        slowest = 0.0
        keys: tuple[books.Key, ...] = ("user", "machine")
        for by in keys:
            begun = time.perf_counter()
            rows = books.usage(engine, month, now=month.end, by=by)
            taken = time.perf_counter() - begun
            slowest = max(slowest, taken)
            counted = books.total(rows).leases
            print(f"usage of a month by {by}: {taken:.2f} s, {counted} of {LEASES} leases, {len(rows)} lines")
    print(f"limit {MOST_SECONDS:.0f} s")
    return int(slowest > MOST_SECONDS)


def _lease(chance: random.Random, end: float) -> dict[str, object]:
    begin = end - chance.uniform(0, 3 * 365) * DAY
    machine = chance.choice(["cpu", "h100", "4x-h100", "quarter"])
    return {
        "user": f"user{chance.randrange(USERS)}",
        "server": "",
        "machine": machine,
        "title": machine,
        "count": 1,
        "slots_per_gpu": 1,
        "price_per_hour": 2.5,
        "groups": [],
        "requested_at": begin,
        "granted_at": begin,
        "released_at": begin + chance.expovariate(1 / 6) * 3600,
    }


if __name__ == "__main__":
    sys.exit(main())
