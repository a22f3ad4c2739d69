"""How long it takes to sum up a million leases by month, and one month of them, in SQLite and in PostgreSQL.

With what 100 GPUs did in that month, by the quarter of an hour. It is the month that goes on: those before
it are summed up already, as the service does once they are over; how long that took is told, too. Exit
status 1 where the promise is missed. Run by `make bench`.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from fixtures.postgres import PROGRAMS, PostgresServer
from gpubox import books, db
from gpubox.service.store import Store

LEASES = 1_000_000
GPUS = 100
USERS = 500
GROUPS = ("students", "lab-a", "lab-b", "big-models")
MOST_SECONDS = 1.0
YEARS = 3
DAY = 86400.0
MONTH = "2026-10"


def main() -> int:
    """Write the leases of some years; sum up all, and one month; read one day of each GPU."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as folder:
        slowest = measure("SQLite", f"sqlite:///{folder}/books.sqlite")
        home = Path(folder) / "postgres"
        home.mkdir()
        for directory in (Path(folder), home):
            directory.chmod(0o755)
        programs = sorted(PROGRAMS.glob("*/bin"), key=lambda path: int(path.parts[-2]))
        server = PostgresServer(programs[-1], home)
        try:
            slowest = max(slowest, measure("PostgreSQL", server.create_database()))
        finally:
            server.process.kill()
            server.process.wait()
    print(f"limit {MOST_SECONDS:.0f} s")
    return int(slowest > MOST_SECONDS)


def measure(name: str, url: str) -> float:
    """Print what each takes; returns the longest."""
    month = books.month(MONTH)
    engine = db.open_database(url)
    _write(engine, month)
    _close_months(name, engine, month.end)
    slowest = 0.0
    years = books.Period(month.end - YEARS * 366 * DAY, month.end)
    asked: list[tuple[str, books.Period, books.Key]] = [("all", years, "month"), ("a month", month, "day")]
    keys: tuple[books.Key, ...] = ("user", "group", "machine")
    asked += [(what, period, by) for what, period, _ in asked for by in keys]
    for what, period, by in asked:
        begun = time.perf_counter()
        bill = books.usage(engine, period, now=month.end, by=by)
        slowest = max(slowest, taken := time.perf_counter() - begun)
        counted = f"{bill.total.leases} of {LEASES} leases, {len(bill.rows)} lines"
        print(f"{name}: usage of {what} by {by}: {taken:.2f} s, {counted}", flush=True)
    begun = time.perf_counter()
    timelines = books.history(engine, books.day(f"{MONTH}-15"), now=month.end)
    slowest = max(slowest, taken := time.perf_counter() - begun)
    rows = sum(len(one.spans) + len(one.use) for one in timelines.values())
    print(f"{name}: the day of {len(timelines)} GPUs: {taken:.2f} s, {rows} rows", flush=True)
    engine.dispose()
    return slowest


def _close_months(name: str, engine: sa.Engine, now: float) -> None:
    begun = time.perf_counter()
    months = books.months_to_close(engine, now)
    for month in months:
        Store(engine).close_month(month, books.sum_up(engine, month, now), now)
    taken = time.perf_counter() - begun
    print(f"{name}: {len(months)} months summed up once: {taken:.2f} s", flush=True)


def _write(engine: sa.Engine, month: books.Period) -> None:
    chance = random.Random(1)
    with engine.begin() as connection:
        gpu = {"model": "NVIDIA H100 80GB HBM3", "first_seen": 0.0}
        gpus = [{"uuid": f"GPU-{n:04}", "index": n, **gpu} for n in range(GPUS)]
        connection.execute(db.gpu.insert(), gpus)
        for _ in range(LEASES // 50_000):
            connection.execute(db.lease.insert(), [_lease(chance, month.end) for _ in range(50_000)])
        lease = db.lease.c
        in_month = sa.select(lease.id, lease.granted_at, lease.released_at).where(
            lease.released_at > month.begin, lease.granted_at < month.end
        )
        found = connection.execute(in_month.order_by(lease.granted_at)).all()
        use, slots = [], []
        for uuid, lease_id, begin in _use(found, month):
            use.append(_row(chance, uuid, lease_id, begin))
            if not slots or slots[-1]["lease_id"] != lease_id:
                held = {"gpu_uuid": uuid, "slot": 0, "slots": 1, "open": False}
                slots.append({"lease_id": lease_id, **held})
        connection.execute(db.gpu_use.insert(), use)
        connection.execute(db.lease_gpu.insert(), slots)


def _use(
    found: list[sa.Row[tuple[int, float, float]]], month: books.Period
) -> Iterator[tuple[str, int, int]]:
    """Each quarter of an hour of each GPU, for the leases one after another, as long as each of them took."""
    leases = iter(found)
    for number in range(GPUS):
        begin, left, lease_id = int(month.begin), 0, 0
        while begin < month.end:
            if left <= 0:
                lease_id, granted, released = next(leases, (0, 0.0, 900.0))
                left = int(released - granted) // 900 + 1
            yield f"GPU-{number:04}", lease_id, begin
            begin, left = begin + 900, left - 1


def _row(chance: random.Random, uuid: str, lease_id: int, begin: int) -> dict[str, object]:
    idle = chance.uniform(0, 900)
    figures = {"measured_seconds": 900.0, "idle_seconds": idle, "utilised_seconds": 450.0}
    return {"gpu_uuid": uuid, "lease_id": lease_id, "begin": begin, **figures}


def _lease(chance: random.Random, end: float) -> dict[str, object]:
    begin = end - chance.uniform(0, YEARS * 365) * DAY
    machine = chance.choice(["cpu", "h100", "4x-h100", "quarter"])
    user = chance.randrange(USERS)
    return {
        "user": f"user{user}",
        "server": "",
        "machine": machine,
        "title": machine,
        "count": 1,
        "slots_per_gpu": 1,
        "price_per_hour": 2.5,
        "groups": GROUPS[user % 5 : user % 7],
        "requested_at": begin,
        "granted_at": begin,
        "released_at": begin + chance.expovariate(1 / 6) * 3600,
    }


if __name__ == "__main__":
    sys.exit(main())
