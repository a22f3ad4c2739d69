"""The service's own tables: what GPUs were used for, signs of life, notices. Nobody else writes them.

Its calls run one after the other on a thread of their own, each as one transaction. What is written is
decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from .. import db as tables
from ..books import Holder, Slice

T = TypeVar("T")
_use, _notice, _closed = tables.gpu_use.c, tables.notice.c, tables.closed_month.c


@dataclass(frozen=True)
class Use:
    """What a GPU did for a lease (0: nobody's) in the quarter of an hour that starts at ``begin``."""

    begin: int
    gpu_uuid: str
    lease_id: int
    measured_seconds: float
    idle_seconds: float
    utilised_seconds: float


@dataclass(frozen=True)
class Activity:
    """When a machine last showed each kind of life; None where it never did."""

    lease_id: int
    reported_at: float | None = None
    kernel_at: float | None = None
    terminal_at: float | None = None
    desktop_at: float | None = None
    gpu_at: float | None = None
    kept_at: float | None = None


@dataclass(frozen=True)
class Notice:
    """Something that a user has been told. ``server`` is None where it is about all of theirs."""

    id: int
    user: str
    server: str | None
    kind: str
    subject: str
    sentence: str
    told_at: float
    due_at: float | None = None
    closed_at: float | None = None
    sent_at: float | None = None


class Store:
    """The tables, in a database that is open."""

    def __init__(self, db: sa.Engine) -> None:
        self._db = db
        # SQLite has one writer at a time: within the process nobody waits for its lock.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gpubox-store")

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call one of the methods below on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def close(self) -> None:
        """Let what is under way be written."""
        await asyncio.to_thread(self._thread.shutdown)

    # --- use -------------------------------------------------------------------------------------

    def add_use(self, uses: Iterable[Use]) -> None:
        """Add to what is written of each quarter, GPU and lease."""
        rows = [asdict(use) for use in uses]
        if not rows:
            return
        insert = self._insert(tables.gpu_use)
        sums = ("measured_seconds", "idle_seconds", "utilised_seconds")
        statement = insert.on_conflict_do_update(
            index_elements=["begin", "gpu_uuid", "lease_id"],
            set_={name: _use[name] + insert.excluded[name] for name in sums},
        )
        with self._db.begin() as connection:
            connection.execute(statement, rows)

    # --- closed months ---------------------------------------------------------------------------

    def close_month(self, month: Slice, holders: Sequence[Holder], now: float) -> None:
        """Write what a month came to, in place of what may be written of it."""
        of_month = {"begin": month.begin, "end": month.end}
        rows = [of_month | one.columns() for one in holders]
        with self._db.begin() as connection:
            _forget(connection, _closed.begin == month.begin, _closed.end == month.end)
            connection.execute(tables.closed_month.insert(), of_month | {"closed_at": now})
            if rows:
                connection.execute(tables.closed_use.insert(), rows)

    def forget_future(self, now: float) -> None:
        """Forget months that were closed by a clock that was ahead: they may not have been over."""
        with self._db.begin() as connection:
            _forget(connection, _closed.closed_at > now)

    # --- signs of life ---------------------------------------------------------------------------

    def activities(self) -> dict[int, Activity]:
        """All that is known of leases, by number."""
        with self._db.connect() as connection:
            rows = connection.execute(tables.activity.select()).mappings()
            return {row["lease_id"]: Activity(**row) for row in rows}

    def write_activities(self, activities: Sequence[Activity], gone: Collection[int]) -> None:
        """Put these in place of what was known; forget leases that have ended."""
        told = [one.name for one in fields(Activity)][1:]
        insert = self._insert(tables.activity)
        statement = insert.on_conflict_do_update(
            index_elements=["lease_id"], set_={name: insert.excluded[name] for name in told}
        )
        with self._db.begin() as connection:
            if activities:
                connection.execute(statement, [asdict(one) for one in activities])
            if gone:
                connection.execute(tables.activity.delete().where(tables.activity.c.lease_id.in_(gone)))

    # --- notices ---------------------------------------------------------------------------------

    def add_notice(self, **columns: Any) -> Notice | None:
        """Write a notice; None where its subject was told before."""
        statement = self._insert(tables.notice).values(**columns).on_conflict_do_nothing()
        with self._db.begin() as connection:
            row = connection.execute(statement.returning(tables.notice)).mappings().one_or_none()
            return Notice(**row) if row else None

    def set_notice(self, number: int, **columns: Any) -> None:
        """Change a notice's ``closed_at`` or ``sent_at``."""
        with self._db.begin() as connection:
            connection.execute(tables.notice.update().where(_notice.id == number).values(**columns))

    def open_notices(self) -> list[Notice]:
        """All that are not closed, the oldest first."""
        query = tables.notice.select().where(_notice.closed_at.is_(None)).order_by(_notice.id)
        with self._db.connect() as connection:
            return [Notice(**row) for row in connection.execute(query).mappings()]

    def closed_since(self, since: float) -> list[Notice]:
        """All that were closed since."""
        query = tables.notice.select().where(_notice.closed_at >= since).order_by(_notice.id)
        with self._db.connect() as connection:
            return [Notice(**row) for row in connection.execute(query).mappings()]

    def told_since(self, since: float) -> list[str]:
        """The subjects of all notices told since, closed or not, in the order in which they were told."""
        query = sa.select(_notice.subject).where(_notice.told_at >= since).order_by(_notice.id)
        with self._db.connect() as connection:
            return list(connection.scalars(query))

    def _insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT, which is each database's own."""
        return (postgresql if self._db.dialect.name == "postgresql" else sqlite).insert(table)


def _forget(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
    """Delete closed months with their sums."""
    connection.execute(tables.closed_month.delete().where(*which))
