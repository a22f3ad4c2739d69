"""The bill: whole months of leases, against sums that plain SQL makes of each part of them by itself."""

import csv
import io
import json
import random
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpubox import books
from gpubox import db as tables
from gpubox.service.store import Store

HOUR = 3600.0
CENT = 0.005
NASTY = ["ada", "o'brien", '"; drop table lease; --', "Ünal", "=1+1", "a,b", "two\nlines", "50% _"]
GROUPS = ["students", 'lab "b"', "a,b", "=cmd()", "ärzte"]
MACHINES = {
    "cpu": (0, 1, 0.1),
    "h100": (1, 1, 2.5),
    "4x": (4, 1, 9.99),
    "quarter": (1, 4, 0.35),
    "2 halves": (2, 2, 1.2),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        return tables.open_database(f"sqlite:///{tmp_path / 'books.sqlite'}")
    return tables.open_database(request.getfixturevalue("postgres_url"))


# --- a month as it may come -------------------------------------------------------------------------


def generate(engine, begin, end, now, chance):
    """Leases from before the time until after it, with all that clocks and people do, and their GPUs' use."""
    leases, use = [], []
    for number in range(1, 500):
        machine = chance.choice(list(MACHINES))
        count, slots, price = MACHINES[machine]
        granted = chance.uniform(begin - 5 * 24 * HOUR, end + 2 * 24 * HOUR)
        if chance.random() < 0.2:  # on the hour, where parts of the time meet
            granted = granted // 1800 * 1800
        released = granted + chance.expovariate(1 / 10) * HOUR
        match chance.randrange(20):
            case 0:
                granted, released = None, granted  # waited in vain
            case 1:
                released = granted - chance.uniform(0, 3) * HOUR  # the clock was set back
            case 2:
                released = None  # goes on
            case 3:
                granted, released = now + HOUR, None  # granted in the future, by a clock that was wrong
            case 4:
                released = granted + chance.uniform(20, 60) * 24 * HOUR
        leases.append(
            {
                "id": number,
                "user": chance.choice(NASTY),
                "server": str(number),
                "machine": machine,
                "title": machine,
                "count": count,
                "slots_per_gpu": slots,
                "price_per_hour": price * chance.choice([1, 1, 1.1]),
                "groups": chance.sample(GROUPS, chance.randrange(4)),
                "requested_at": granted or 0.0,
                "granted_at": granted,
                "released_at": released,
            }
        )
        if granted is not None:
            use += uses(number, count, granted, min(released or now, end + HOUR), chance)
    with engine.begin() as connection:
        connection.execute(tables.lease.insert(), leases)
        connection.execute(tables.gpu_use.insert(), use)


def uses(lease, count, begin, end, chance):
    """Quarters of an hour in which somebody looked; some are missing."""
    first = int(begin // 900) * 900
    for quarter in range(
        first, int(end) + (1 if end >= begin else 900), 900 * (1 if end - begin < 1e6 else 16)
    ):
        for gpu in range(count):
            if chance.random() < 0.8:
                measured = chance.uniform(0, 900)
                figures = {"measured_seconds": measured, "idle_seconds": measured * chance.random()}
                key = {"begin": quarter, "gpu_uuid": f"GPU-{lease}-{gpu}", "lease_id": lease}
                yield {**key, **figures, "utilised_seconds": 0.0}
    # Nobody's use is nobody's bill.
    yield {
        "begin": first,
        "gpu_uuid": f"GPU-{lease}-free",
        "lease_id": 0,
        "measured_seconds": 900.0,
        "idle_seconds": 900.0,
        "utilised_seconds": 0.0,
    }


# --- the same, summed up by hand ---------------------------------------------------------------------

LEASES = """
SELECT count(*),
       sum(({least}(coalesce(released_at, :now), :end) - {greatest}(granted_at, :begin)) / 3600),
       sum(({least}(coalesce(released_at, :now), :end) - {greatest}(granted_at, :begin)) / 3600
           * count / (1.0 * slots_per_gpu)),
       sum(({least}(coalesce(released_at, :now), :end) - {greatest}(granted_at, :begin)) / 3600
           * price_per_hour)
FROM lease l WHERE {counts} AND {which}
"""
IDLE = """
SELECT sum(u.idle_seconds / 3600 / slots_per_gpu), sum(u.measured_seconds / 3600 / slots_per_gpu),
       sum(u.idle_seconds / 3600 * price_per_hour / count)
FROM gpu_use u, lease l
WHERE u.lease_id = l.id AND u.begin >= :begin AND u.begin < :end AND {counts} AND {which}
"""
COUNTS = """
granted_at < :end AND granted_at < coalesce(released_at, :now) AND coalesce(released_at, :now) > :begin
"""


def by_hand(engine, begin, end, now, which="0 = 0", **values):
    """(leases, hours, GPU-hours, idle GPU-hours, measured ones, cost, idle cost) of one part of the time."""
    is_sqlite = engine.dialect.name == "sqlite"
    words = {"least": "min", "greatest": "max"} if is_sqlite else {"least": "least", "greatest": "greatest"}
    values = {"begin": begin, "end": end, "now": now, **values}
    with engine.connect() as connection:
        told = sa.text(LEASES.format(counts=COUNTS, which=which, **words))
        count, hours, gpu_hours, cost = connection.execute(told, values).one()
        idle, measured, idle_cost = connection.execute(
            sa.text(IDLE.format(counts=COUNTS, which=which)), values
        ).one()
    return count, *(float(each or 0) for each in (hours, gpu_hours, idle, measured, cost, idle_cost))


def in_group(engine):
    """A condition on the text of the JSON, which has the name in quotes."""
    return (
        "instr(l.groups, :name) > 0"
        if engine.dialect.name == "sqlite"
        else "strpos(l.groups::text, :name) > 0"
    )


FIGURES = ("leases", "hours", "gpu_hours", "idle_gpu_hours", "measured_gpu_hours", "cost", "idle_cost")


def assert_is(row, expected):
    told = tuple(getattr(row, name) for name in FIGURES)
    assert told == pytest.approx(expected, abs=CENT), row.name


def assert_rows(bill, expected):
    assert {row.name for row in bill.rows} == {name for name, sums in expected.items() if sums[0]}
    for row in bill.rows:
        assert_is(row, expected[row.name])


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("Europe/Berlin", date(2026, 3, 1), date(2026, 3, 31)),
        ("Europe/Berlin", date(2026, 10, 1), date(2026, 10, 31)),
        ("America/New_York", date(2026, 3, 1), date(2026, 3, 31)),
        ("America/New_York", date(2026, 11, 1), date(2026, 11, 30)),
        ("Asia/Kolkata", date(2026, 10, 1), date(2026, 10, 31)),
    ],
)
def test_a_month_is_the_same_to_the_cent_as_summed_up_by_hand(engine, local_time, zone, first, last):
    clock = local_time(zone)

    def midnight(day):
        return datetime(day.year, day.month, day.day, tzinfo=clock).timestamp()

    begin, end = midnight(first), midnight(last + timedelta(days=1))
    now = end - 36 * HOUR
    generate(engine, begin, end, now, random.Random(f"{zone} {first}"))
    month = books.month(f"{first:%Y-%m}")
    assert (month.begin, month.end) == (begin, end)
    whole = by_hand(engine, begin, end, now)
    assert whole[0] > 300 and whole[3] > 100

    for key, names in (("user", NASTY), ("machine", MACHINES)):
        bill = books.usage(engine, month, now, key)
        column = f'l."{key}" = :name'
        assert_rows(bill, {name: by_hand(engine, begin, end, now, column, name=name) for name in names})
        assert_is(bill.total, whole)

    bill = books.usage(engine, month, now, "group")
    is_member = in_group(engine)
    expected = {name: by_hand(engine, begin, end, now, is_member, name=json.dumps(name)) for name in GROUPS}
    expected[books.NO_GROUP] = by_hand(engine, begin, end, now, is_member, name="[]")
    assert_rows(bill, expected)
    assert_is(bill.total, whole)
    assert sum(row.leases for row in bill.rows) > bill.total.leases  # members of two groups

    bill = books.usage(engine, month, now, "day")
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    expected = {str(day): by_hand(engine, midnight(day), midnight(day + timedelta(1)), now) for day in days}
    assert [row.name for row in bill.rows] == sorted(name for name in expected)
    assert_rows(bill, expected)
    assert_is(bill.total, whole)


def test_months_are_cut_at_their_ends(engine, local_time):
    clock = local_time("Europe/Berlin")
    begin, middle, end = (datetime(2026, n, 1, tzinfo=clock).timestamp() for n in (10, 11, 12))
    generate(engine, begin, end, end, random.Random(5))
    bill = books.usage(engine, books.days("2026-10-01", "2026-11-30"), end, "month")
    october, november = bill.rows
    assert (october.name, november.name) == ("2026-10", "2026-11")
    assert_is(october, by_hand(engine, begin, middle, end))
    assert_is(november, by_hand(engine, middle, end, end))
    assert_is(bill.total, by_hand(engine, begin, end, end))
    assert october.leases + november.leases > bill.total.leases  # some lay in both


# --- months that are over --------------------------------------------------------------------------------


def close_months(engine, now):
    store = Store(engine)
    store.forget_future(now)
    months = books.months_to_close(engine, now)
    for month in months:
        store.close_month(month, books.sum_up(engine, month, now), now)
    return [month.name for month in months]


def bills(engine, now):
    """Every kind of bill over whole months, parts of them, what is to come, and what nobody used."""
    periods = [
        books.days("2026-09-01", "2026-12-31"),
        books.days("2026-10-17", "2026-11-03"),
        books.days("2026-08-05", "2027-02-01"),
        books.month("2026-10"),
    ]
    whose: list[dict[str, Any]] = [{}, {"user": "o'brien"}, {"groups": ["students", 'lab "b"']}]
    return {
        (period, key, number): books.usage(engine, period, now, key, **one)
        for period in periods
        for key in books.KEYS
        for number, one in enumerate(whose)
    }


def test_months_that_were_summed_up_once_are_the_same_to_the_cent(engine, local_time):
    local_time("Europe/Berlin")
    october = books.month("2026-10")  # the clock is set back in it
    generate(
        engine,
        october.begin - 20 * 24 * HOUR,
        october.end + 40 * 24 * HOUR,
        october.end + 50 * 24 * HOUR,
        random.Random(11),
    )
    now = october.end + 50 * 24 * HOUR
    before = bills(engine, now)
    assert close_months(engine, now) == ["2026-09", "2026-10", "2026-11"]
    assert close_months(engine, now) == []
    after = bills(engine, now)
    for which, bill in before.items():
        told = {row.name: row for row in (*after[which].rows, after[which].total)}
        assert told.keys() == {row.name for row in (*bill.rows, bill.total)}, which
        for row in (*bill.rows, bill.total):
            assert_is(told[row.name], tuple(getattr(row, name) for name in FIGURES))

    # And they are what the bill is read from: the leases themselves are asked no more.
    with engine.begin() as connection:
        connection.execute(tables.gpu_use.delete())
        connection.execute(tables.lease.update().values(price_per_hour=0.0))
    kept = books.usage(engine, october, now, "user").total
    assert kept.cost == pytest.approx(before[october, "user", 0].total.cost)
    assert kept.idle_gpu_hours == pytest.approx(before[october, "user", 0].total.idle_gpu_hours)


def test_a_month_is_summed_up_when_it_is_settled_and_by_a_clock_that_is_right(engine, local_time):
    local_time("Europe/Berlin")
    october, november = books.month("2026-10"), books.month("2026-11")
    write(engine, granted_at=october.begin + HOUR, released_at=None)
    assert close_months(engine, october.end + books.SETTLED_SECONDS - 1) == []
    # A clock that is ahead closes a month that goes on.
    ahead = november.end + 2 * books.SETTLED_SECONDS
    assert close_months(engine, ahead) == ["2026-10", "2026-11"]
    now = november.begin + 12 * HOUR
    assert books.usage(engine, november, now).total.hours == pytest.approx(12)
    assert close_months(engine, now) == []
    with engine.begin() as connection:
        connection.execute(tables.lease.update().values(released_at=now))
    assert books.usage(engine, november, ahead + 1).total.hours == pytest.approx(12)
    assert close_months(engine, ahead + 1) == ["2026-10", "2026-11"]
    assert books.usage(engine, november, ahead + 1).total.hours == pytest.approx(12)


def test_another_time_zone_has_months_of_its_own(engine, local_time):
    local_time("Asia/Kolkata")
    month = books.month("2026-10")
    generate(engine, month.begin, month.end, month.end, random.Random(3))
    now = month.end + 3 * 24 * HOUR
    assert "2026-10" in close_months(engine, now)
    local_time("America/New_York")
    here = books.month("2026-10")
    assert_is(books.usage(engine, here, now).total, by_hand(engine, here.begin, here.end, now))
    assert "2026-10" in close_months(engine, now)
    assert_is(books.usage(engine, here, now).total, by_hand(engine, here.begin, here.end, now))


def test_the_bill_of_one_user_and_that_of_some_groups(engine, local_time):
    local_time("Asia/Kolkata")
    month = books.month("2026-10")
    generate(engine, month.begin, month.end, month.end, random.Random(9))
    span = (month.begin, month.end, month.end)

    bill = books.usage(engine, month, month.end, "machine", user="o'brien")
    assert_is(bill.total, by_hand(engine, *span, "l.\"user\" = 'o''brien'"))
    assert books.usage(engine, month, month.end, user="nobody").rows == ()

    either = f"({in_group(engine)} OR {in_group(engine).replace(':name', ':other')})"
    values = {"name": '"students"', "other": json.dumps('lab "b"')}
    bill = books.usage(engine, month, month.end, "user", groups=["students", 'lab "b"'])
    assert_is(bill.total, by_hand(engine, *span, either, **values))
    bill = books.usage(engine, month, month.end, "group", groups=["students", 'lab "b"'])
    assert {row.name for row in bill.rows} == {"students", 'lab "b"'}  # and none that they are also in
    assert_is(bill.total, by_hand(engine, *span, either, **values))
    bill = books.usage(engine, month, month.end, "day", groups=[])
    assert bill.total.leases == 0


# --- figures one can see through ---------------------------------------------------------------------

PERIOD = books.Period(100 * HOUR, 200 * HOUR)


def write(engine, *, use=(), **facts):
    """One lease with an id of 1, and its (GPU, begin in hours, measured, idle seconds)."""
    usual = {"user": "ada", "server": "", "machine": "m", "title": "M", "count": 1, "slots_per_gpu": 1}
    times = {"requested_at": 0.0, "granted_at": 110 * HOUR, "released_at": 114 * HOUR}
    with engine.begin() as connection:
        row = {"id": 1, "price_per_hour": 8.0, "groups": [], **usual, **times, **facts}
        connection.execute(tables.lease.insert(), [row])
        names = ("gpu_uuid", "begin", "measured_seconds", "idle_seconds")
        rows = [dict(zip(names, one, strict=True)) for one in use]
        rows = [
            {**row, "begin": int(row["begin"] * HOUR), "lease_id": 1, "utilised_seconds": 0} for row in rows
        ]
        if rows:
            connection.execute(tables.gpu_use.insert(), rows)


def test_an_idle_gpu_of_four_costs_its_quarter_of_the_price(engine):
    # Four GPUs for four hours; one of them was looked at for an hour, and idle.
    write(engine, count=4, use=[("GPU-0", 110 + n / 4, 900.0, 900.0) for n in range(4)])
    (row,) = books.usage(engine, PERIOD, now=300 * HOUR).rows
    assert (row.gpu_hours, row.cost) == (16, 32)
    assert (row.idle_gpu_hours, row.idle_cost) == (1, 2)
    assert (row.measured_gpu_hours, row.measured_share) == (1, 1 / 16)


def test_a_quarter_of_a_gpu_that_idles_for_an_hour_is_a_quarter_of_a_gpu_hour(engine):
    write(engine, slots_per_gpu=4, use=[("GPU-0", 110 + n / 4, 900.0, 900.0) for n in range(4)])
    (row,) = books.usage(engine, PERIOD, now=300 * HOUR).rows
    assert (row.gpu_hours, row.idle_gpu_hours, row.idle_cost) == (1, 0.25, 8)


def test_where_nobody_looked_nothing_is_idle_and_the_bill_says_so(engine):
    write(engine)
    (row,) = books.usage(engine, PERIOD, now=300 * HOUR).rows
    assert (row.idle_gpu_hours, row.measured_share) == (0, 0)


def test_a_cpu_machine_has_no_gpu_hours_to_look_at(engine):
    write(engine, count=0)
    (row,) = books.usage(engine, PERIOD, now=300 * HOUR).rows
    assert (row.hours, row.gpu_hours, row.cost, row.measured_share) == (4, 0, 32, None)


def test_days_of_nothing_are_told_and_days_to_come_are_not(engine, in_utc):
    write(engine, granted_at=2 * 24 * HOUR + 1, released_at=2 * 24 * HOUR + HOUR + 1)
    bill = books.usage(engine, books.Period(24 * HOUR, 30 * 24 * HOUR), 4.5 * 24 * HOUR, "day")
    told = [(row.name, row.hours) for row in bill.rows]
    assert told == [("1970-01-02", 0), ("1970-01-03", 1), ("1970-01-04", 0), ("1970-01-05", 0)]


@pytest.fixture
def in_utc(local_time):
    return local_time("UTC")


def test_a_bill_that_there_is_none_of_is_a_sentence(engine):
    with pytest.raises(books.BooksProblem, match="there are: user, group, machine, month, day"):
        books.usage(engine, PERIOD, 0.0, "colour")  # type: ignore[arg-type]
    with pytest.raises(books.BooksProblem, match="ends before it begins"):
        books.usage(engine, books.Period(2.0, 1.0), 0.0)


# --- for programs ------------------------------------------------------------------------------------


def a_bill(*names):
    rows = [books.Usage(name, 2, 1.23456, 0.5, 0.25, 0.5, 10.005, 2.0) for name in names]
    return books.Bill("user", PERIOD, tuple(rows), books.Usage("all", 2, 1.2, 0.5, 0.25, 0.5, 10.0, 2.0))


@given(st.lists(st.text(st.characters(blacklist_characters="\0", codec="utf-8"))))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_spreadsheet_reads_each_name_as_it_is_and_runs_none(names):
    text = books.as_csv(a_bill(*names))
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head[0] == "user"
    assert [row[0].removeprefix("'") for row in rows] == [name.removeprefix("'") for name in names]
    for row in rows:
        assert not row[0].lstrip().startswith(("=", "+", "-", "@"))
        assert row[1:] == ["2", "1.2346", "0.5000", "0.2500", "0.5000", "10.01", "2.00"] or row[6] == "10.00"


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@a", "\t=1", " =1", "\r=1", "\uff1d1"])
def test_a_name_that_looks_like_a_formula_is_text_in_a_spreadsheet(name):
    (_, row) = csv.reader(io.StringIO(books.as_csv(a_bill(name)), newline=""))
    assert row[0] == f"'{name}"


def test_a_bill_in_json_has_its_rows_and_the_total():
    told = json.loads(json.dumps(books.as_dict(a_bill("=1+1"))))
    assert (told["by"], told["period"]) == ("user", {"begin": PERIOD.begin, "end": PERIOD.end})
    assert told["rows"][0]["name"] == "=1+1"
    assert told["total"]["idle_gpu_hours"] == 0.25
