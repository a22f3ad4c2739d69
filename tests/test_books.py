"""The books: from when to when, what a lease counts for, what is held. Whole months: test_bill.py."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpubox import books
from gpubox import db as tables

HOUR = 3600.0


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        return tables.open_database(f"sqlite:///{tmp_path / 'books.sqlite'}")
    return tables.open_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def in_berlin(local_time):
    """This machine's clock is Berlin's, where November 2026 has 30 days and October 2026 an hour more."""
    return local_time("Europe/Berlin")


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
    return {row.name: row for row in books.usage(engine, PERIOD, now, by).rows}


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


def test_a_month_is_the_calendars_summer_time_and_all(in_berlin):
    october, december = books.month("2026-10"), books.month("2026-12")
    assert october.begin == datetime(2026, 10, 1, tzinfo=in_berlin).timestamp()
    assert (october.end - october.begin) / HOUR == 31 * 24 + 1
    assert december.end == datetime(2027, 1, 1, tzinfo=in_berlin).timestamp()


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "november", "2026-11-01"])
def test_what_is_no_month_is_refused_in_words(text):
    with pytest.raises(books.BooksProblem, match="write it as 2026-11"):
        books.month(text)


def test_days_and_what_is_none_of_them():
    assert books.day("2026-11-23") == books.days("2026-11-23", "2026-11-23")
    assert books.days("2026-11-01", "2026-11-30") == books.month("2026-11")
    for wrong in ("2026-11-31", "today", "0001-01-01", "2026-11"):
        with pytest.raises(books.BooksProblem, match="write it as 2026-11-23"):
            books.day(wrong)
    with pytest.raises(books.BooksProblem, match="comes before the first"):
        books.days("2026-11-23", "2026-11-22")
    with pytest.raises(books.BooksProblem, match="shorter time"):
        books.cut(books.days("1980-01-01", "2026-01-01"), "day")


@pytest.mark.parametrize(
    ("zone", "text", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-11-01", 25),
        ("Asia/Kolkata", "2026-10-25", 24),
        # There the clock goes from 24:00 to 01:00, and from 01:00 to 24:00: no midnight, or two.
        ("Africa/Cairo", "2026-04-24", 23),
        ("America/Havana", "2026-11-01", 25),
    ],
)
def test_a_day_is_as_long_as_the_clocks_of_the_place_say(local_time, zone, text, hours):
    local_time(zone)
    day = books.day(text)
    assert (day.end - day.begin) / HOUR == hours
    assert books.cut(day, "day") == [books.Slice(text, day.begin, day.end)]


@given(
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Africa/Cairo", "Asia/Kathmandu"]
    ),
    begin=st.integers(1_500_000_000, 1_900_000_000),
    length=st.integers(1, 200 * 86400),
    by=st.sampled_from(["day", "month"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_parts_of_a_period_follow_each_other_and_have_the_names_of_their_days(
    local_time, zone, begin, length, by
):
    local_time(zone)
    slices = books.cut(books.Period(begin, begin + length), by)
    assert (slices[0].begin, slices[-1].end) == (begin, begin + length)
    assert [one.end for one in slices[:-1]] == [one.begin for one in slices[1:]]
    form = {"day": "%Y-%m-%d", "month": "%Y-%m"}[by]
    for one in slices:
        for moment in (one.begin, one.end - 0.5):
            assert datetime.fromtimestamp(moment, ZoneInfo(zone)).strftime(form) == one.name


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


# --- which GPU was whose and when -------------------------------------------------------------------


@pytest.fixture
def two_gpus(engine):
    with engine.begin() as connection:
        gpu = {"model": "H100", "first_seen": 0.0}
        connection.execute(
            tables.gpu.insert(), [{"uuid": f"GPU-{n}", "index": 1 - n, **gpu} for n in range(2)]
        )
    return engine


def hold(engine, user, slots):
    """The user's lease held those (GPU, slot, of slots)."""
    with engine.begin() as connection:
        key = connection.scalar(sa.select(tables.lease.c.id).where(tables.lease.c.user == user))
        rows = [
            {"lease_id": key, "gpu_uuid": uuid, "slot": slot, "slots": of, "open": False}
            for uuid, slot, of in slots
        ]
        connection.execute(tables.lease_gpu.insert(), rows)
    return key


def test_the_day_of_each_gpu_has_its_leases_as_far_as_they_lay_in_it(two_gpus):
    write(
        two_gpus,
        ("into", 90 * HOUR, 110 * HOUR, {"count": 2, "groups": ["lab"]}),
        ("quarter", 120 * HOUR, 130 * HOUR, {"slots_per_gpu": 4}),
        ("goes on", 140 * HOUR, None),
        ("before", 10 * HOUR, 100 * HOUR),
        ("back", 121 * HOUR, 120.5 * HOUR),
        ("waits", None, None),
    )
    hold(two_gpus, "into", [("GPU-0", 0, 1), ("GPU-1", 0, 1)])
    hold(two_gpus, "quarter", [("GPU-0", 1, 8), ("GPU-0", 5, 8)])
    for user in ("goes on", "before", "back"):
        hold(two_gpus, user, [("GPU-1", 0, 1)])

    found = books.history(two_gpus, PERIOD, now=150 * HOUR)

    assert list(found) == ["GPU-1", "GPU-0"]  # in the driver's order
    told = [(span.user, span.begin / HOUR, span.end / HOUR, span.is_open) for span in found["GPU-1"].spans]
    assert told == [("into", 100, 110, False), ("goes on", 140, 150, True)]
    into, quarter = found["GPU-0"].spans
    assert (into.user, into.groups, into.slots, into.of_slots) == ("into", ("lab",), (0,), 1)
    assert (quarter.slots, quarter.of_slots) == ((1, 5), 8)


def test_the_day_of_each_gpu_has_what_it_did_by_the_quarter_of_an_hour(two_gpus):
    begin = int(PERIOD.begin)
    use = [
        (begin - 900, 1, 900.0, 0.0, 450.0),
        (begin, 1, 600.0, 60.0, 300.0),
        (begin + 900, 0, 0.0, 0.0, 0.0),
        (int(PERIOD.end), 1, 900.0, 0.0, 450.0),
    ]
    names = ("begin", "lease_id", "measured_seconds", "idle_seconds", "utilised_seconds")
    with two_gpus.begin() as connection:
        rows = [{"gpu_uuid": "GPU-0", **dict(zip(names, row, strict=True))} for row in use]
        connection.execute(tables.gpu_use.insert(), rows)
    found = books.history(two_gpus, PERIOD, now=PERIOD.end)
    assert found["GPU-1"].use == []
    assert found["GPU-0"].use == [
        books.Use(begin, 1, 600.0, 60.0, 0.5),
        books.Use(begin + 900, 0, 0.0, 0.0, None),
    ]
