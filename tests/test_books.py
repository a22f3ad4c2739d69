"""The books: what was used and what it cost, against sums made another way."""

import random
import time
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from gpubox import books
from gpubox import db as tables

HOUR = 3600.0


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        return tables.open_database(f"sqlite:///{tmp_path / 'books.sqlite'}")
    return tables.open_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def in_berlin(monkeypatch):
    """This machine's clock is Berlin's, where November 2026 has 30 days and October 2026 an hour more."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield ZoneInfo("Europe/Berlin")
    monkeypatch.undo()
    time.tzset()


def write(engine, *leases):
    """Leases as (user, granted_at, released_at) and what else is not as usual."""
    rows = []
    for user, granted_at, released_at, *rest in leases:
        usual = {"machine": "h100", "title": "1x H100", "count": 1, "slots_per_gpu": 1, "price_per_hour": 2.5}
        times = {"requested_at": granted_at or 0.0, "granted_at": granted_at, "released_at": released_at}
        named = {"user": user, "server": f"s{len(rows)}", "groups": []}
        rows.append({**usual, **times, **named, **(rest[0] if rest else {})})
    with engine.begin() as connection:
        connection.execute(tables.lease.insert(), rows)


PERIOD = books.Period(100 * HOUR, 200 * HOUR)


def used(engine, now=300 * HOUR, by="user"):
    return {row.name: row for row in books.usage(engine, PERIOD, now, by)}


def test_a_lease_counts_for_as_long_as_it_lay_in_the_period(engine):
    write(
        engine,
        ("before", 10 * HOUR, 100 * HOUR),
        ("into", 90 * HOUR, 110 * HOUR),
        ("within", 110 * HOUR, 111 * HOUR),
        ("out of", 190 * HOUR, 210 * HOUR),
        ("over all", 0.0, 299 * HOUR),
        ("after", 200 * HOUR, 201 * HOUR),
        ("waited in vain", None, 150 * HOUR),
    )
    hours = {name: row.hours for name, row in used(engine).items()}
    assert hours == pytest.approx({"into": 10, "within": 1, "out of": 10, "over all": 100})


def test_a_lease_that_goes_on_counts_until_now(engine):
    write(engine, ("ada", 150 * HOUR, None))
    assert used(engine, now=152 * HOUR)["ada"].hours == pytest.approx(2)
    assert used(engine, now=900 * HOUR)["ada"].hours == pytest.approx(50)


def test_a_share_of_a_gpu_is_a_share_of_its_hours_and_a_cpu_machine_has_none(engine):
    write(
        engine,
        ("ada", 110 * HOUR, 114 * HOUR, {"slots_per_gpu": 4, "price_per_hour": 0.5}),
        ("ben", 110 * HOUR, 114 * HOUR, {"count": 8, "price_per_hour": 20.0}),
        ("cleo", 110 * HOUR, 114 * HOUR, {"count": 0, "price_per_hour": 0.1}),
    )
    found = used(engine)
    assert {name: row.gpu_hours for name, row in found.items()} == pytest.approx(
        {"ada": 1, "ben": 32, "cleo": 0}
    )
    assert {name: row.cost for name, row in found.items()} == pytest.approx(
        {"ada": 2, "ben": 80, "cleo": 0.4}
    )


def test_each_lease_has_the_price_of_its_own_day(engine):
    write(
        engine,
        ("ada", 110 * HOUR, 111 * HOUR, {"price_per_hour": 2.0}),
        ("ada", 120 * HOUR, 121 * HOUR, {"price_per_hour": 3.0}),
    )
    assert used(engine)["ada"].cost == pytest.approx(5)
    assert used(engine)["ada"].leases == 2


def test_a_lease_that_a_clock_ended_before_it_began_costs_nothing(engine):
    write(engine, ("ada", 120 * HOUR, 119 * HOUR), ("ada", 130 * HOUR, 131 * HOUR))
    assert used(engine)["ada"].hours == pytest.approx(1)


def test_a_month_of_leases_is_the_same_to_the_cent_as_summed_one_by_one(engine, in_berlin):
    chance = random.Random(7)
    october = books.month("2026-10")
    leases = []
    for _ in range(2000):
        begin = october.begin + chance.uniform(-5 * 24, 35 * 24) * HOUR
        price = chance.choice([0.0, 0.35, 2.5, 19.99])
        name = chance.choice(["ada", "o'brien", '"; drop table lease; --', "Ünal"])
        leases.append((name, begin, begin + chance.expovariate(1 / 6) * HOUR, {"price_per_hour": price}))
    write(engine, *leases)

    expected: dict[str, Decimal] = {}
    for name, begin, end, facts in leases:
        seconds = min(Decimal(end), Decimal(october.end)) - max(Decimal(begin), Decimal(october.begin))
        if seconds > 0:
            cost = seconds / 3600 * Decimal(str(facts["price_per_hour"]))
            expected[name] = expected.get(name, Decimal(0)) + cost
    found = books.usage(engine, october, now=october.end + 90 * 24 * HOUR)
    cent = Decimal("0.01")
    assert {row.name: Decimal(row.cost).quantize(cent) for row in found} == {
        name: cost.quantize(cent) for name, cost in expected.items()
    }


def test_a_month_is_the_calendars_summer_time_and_all(in_berlin):
    october, december = books.month("2026-10"), books.month("2026-12")
    assert october.begin == datetime(2026, 10, 1, tzinfo=in_berlin).timestamp()
    assert (october.end - october.begin) / HOUR == 31 * 24 + 1
    assert december.end == datetime(2027, 1, 1, tzinfo=in_berlin).timestamp()


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "november", "2026-11-01"])
def test_what_is_no_month_is_refused_in_words(text):
    with pytest.raises(books.BooksProblem, match="write it as 2026-11"):
        books.month(text)


def test_who_holds_what_with_all_gpus_of_a_machine(engine):
    write(engine, ("ada", 100.0, None, {"count": 2}), ("ben", None, None), ("cleo", 50.0, 60.0))
    with engine.begin() as connection:
        gpu = {"model": "H100", "index": 0, "first_seen": 0.0}
        connection.execute(tables.gpu.insert(), [{"uuid": f"GPU-{n}", **gpu} for n in range(2)])
        key = connection.scalar(sa.select(tables.lease.c.id).where(tables.lease.c.user == "ada"))
        slots = [
            {"lease_id": key, "gpu_uuid": f"GPU-{n}", "slot": slot, "slots": 4, "open": True}
            for n in range(2)
            for slot in range(4)
        ]
        connection.execute(tables.lease_gpu.insert(), slots)

    (holding,) = books.held(engine, now=100.0 + 2 * HOUR)

    assert (holding.user, holding.gpus) == ("ada", ("GPU-0", "GPU-1"))
    assert (holding.hours, holding.cost) == (2, 5)


def test_books_that_are_not_there_are_a_sentence_and_are_not_made(tmp_path):
    with pytest.raises(books.BooksProblem, match="There are no leases yet"):
        books.open_books(f"sqlite:///{tmp_path / 'none.sqlite'}")
    assert list(tmp_path.iterdir()) == []
