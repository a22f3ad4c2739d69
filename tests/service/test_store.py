"""The service's own tables, on SQLite and on a real PostgreSQL: sums add up, the newest counts."""

import asyncio

import pytest
import sqlalchemy as sa

from gpubox import db as tables
from gpubox.db import open_database
from gpubox.service.store import Activity, Store, Use


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    url = (
        f"sqlite:///{tmp_path / 'ledger.sqlite'}"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(database):
    return Store(database)


def uses(database):
    with database.connect() as connection:
        rows = connection.execute(tables.gpu_use.select().order_by(sa.text("1, 2, 3"))).mappings()
        return [Use(**row) for row in rows]


def test_use_is_added_to_what_is_written(store, database):
    store.add_use([Use(900, "GPU-0", 1, 10.0, 4.0, 3.0), Use(900, "GPU-0", 2, 1.0, 0.0, 1.0)])
    store.add_use([Use(900, "GPU-0", 1, 5.0, 5.0, 0.5), Use(1800, "GPU-0", 1, 7.0, 0.0, 7.0)])
    store.add_use([])
    assert uses(database) == [
        Use(900, "GPU-0", 1, 15.0, 9.0, 3.5),
        Use(900, "GPU-0", 2, 1.0, 0.0, 1.0),
        Use(1800, "GPU-0", 1, 7.0, 0.0, 7.0),
    ]


def test_use_is_written_whole_or_not_at_all(store, database):
    with pytest.raises(sa.exc.SQLAlchemyError):
        store.add_use([Use(900, "GPU-0", 1, 1.0, 0.0, 0.0), Use(900, None, 1, 1.0, 0.0, 0.0)])
    assert uses(database) == []


def test_the_newest_signs_of_life_replace_older_ones_and_go_with_their_lease(store):
    store.write_activities([Activity(1, kernel_at=5.0), Activity(2, gpu_at=6.0)], [])
    store.write_activities([Activity(1, reported_at=9.0, kernel_at=8.0)], [2])
    assert store.activities() == {1: Activity(1, reported_at=9.0, kernel_at=8.0)}


def test_a_subject_is_told_once(store):
    told = {
        "user": "ada",
        "server": "",
        "kind": "end",
        "sentence": "It ends.",
        "told_at": 1.0,
        "due_at": None,
    }
    first = store.add_notice(subject="end 1 900", **told)
    assert store.add_notice(subject="end 1 900", **told) is None
    second = store.add_notice(subject="end 1 1800", **told)
    assert store.open_notices() == [first, second]
    store.set_notice(first.id, closed_at=2.0)
    assert store.open_notices() == [second]
    assert store.told_since(0.0) == ["end 1 900", "end 1 1800"]


async def test_many_at_once_lose_nothing(store, database):
    await asyncio.gather(
        *(store.run(store.add_use, [Use(900, "GPU-0", 1, 1.0, 0.0, 0.0)]) for _ in range(50))
    )
    assert uses(database) == [Use(900, "GPU-0", 1, 50.0, 0.0, 0.0)]
