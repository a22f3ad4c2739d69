"""Budgets over a real ledger: what counts, for whom, when a week or month begins."""

import os
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from gpubox import db as tables
from gpubox.budget import Budgets, term
from gpubox.db import open_database
from gpubox.rules import parse_rules

HOUR = 3600.0


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request, tmp_path):
    if request.param == "sqlite":
        engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    else:
        engine = open_database(request.getfixturevalue("postgres_url"))
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def moment(*when):
    return datetime(*when, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


NOW = moment(2026, 11, 23, 12)  # a Monday


def lease(db, user, begin, hours, *, groups=(), count=1, slots=1, price=2.0, still_open=False):
    with db.begin() as connection:
        connection.execute(
            tables.lease.insert().values(
                user=user,
                server=os.urandom(4).hex(),
                machine="m",
                title="M",
                count=count,
                slots_per_gpu=slots,
                price_per_hour=price,
                groups=list(groups),
                requested_at=begin,
                granted_at=begin,
                released_at=None if still_open else begin + hours * HOUR,
            )
        )


def spent(db, *entries, user="ann", groups=(), now=NOW):
    return Budgets(db, parse_rules(entries)).of(user, groups, now)


def test_gpu_hours_count_by_share_and_money_by_the_price_of_the_lease(db):
    lease(db, "ann", moment(2026, 11, 10), 4, count=2)
    lease(db, "ann", moment(2026, 11, 11), 8, slots=4, price=0.5)
    lease(db, "bob", moment(2026, 11, 11), 100)
    hours, money = spent(db, {"budget": {"gpu_hours": 20}}, {"budget": {"cost": 24}})
    assert hours.used == pytest.approx(4 * 2 + 8 / 4)
    assert hours.share == pytest.approx(0.5)
    assert money.used == pytest.approx(4 * 2.0 + 8 * 0.5)


def test_a_lease_counts_for_the_part_that_lies_in_the_term(db):
    lease(db, "ann", moment(2026, 10, 31, 22), 4)
    lease(db, "ann", NOW - 3 * HOUR, 0, still_open=True)
    (month,) = spent(db, {"budget": {"gpu_hours": 10}})
    assert month.used == pytest.approx(2 + 3)
    (week,) = spent(db, {"budget": {"gpu_hours": 10}, "per": "week"})
    assert week.used == pytest.approx(3)


def test_together_counts_members_as_they_were_then(db):
    lease(db, "ann", moment(2026, 11, 10), 3, groups=["lab", "phd"])
    lease(db, "bob", moment(2026, 11, 10), 4, groups=["lab"])
    lease(db, "eve", moment(2026, 11, 10), 50, groups=["labs", "x\"lab'"])
    (one,) = spent(
        db,
        {"groups": ["lab"], "together": True, "budget": {"gpu_hours": 7}, "words": "Ask Ada."},
        groups=["lab"],
    )
    assert (one.used, one.who) == (pytest.approx(7), "lab")
    assert "The budget of lab together for November 2026 is used up: 7.0 of 7.0 GPU-hours." in one.sentence()


def test_of_two_budgets_of_a_kind_the_more_specific_counts(db):
    entries = [{"budget": {"gpu_hours": 1}}, {"users": ["ann"], "budget": {"gpu_hours": 9}}]
    (own,) = spent(db, *entries)
    assert own.limit == 9
    (others,) = spent(db, *entries, user="bob")
    assert others.limit == 1


def test_only_a_full_budget_is_exhausted(db):
    lease(db, "ann", moment(2026, 11, 10), 10)
    budgets = Budgets(db, parse_rules([{"budget": {"gpu_hours": 10}, "at_limit": "stop"}]))
    assert budgets.exhausted("ann", (), NOW)
    assert budgets.exhausted("ann", (), NOW, at_limit="stop")
    assert not budgets.exhausted("ann", (), NOW, at_limit="refuse")
    assert not budgets.exhausted("bob", (), NOW)
    assert not budgets.exhausted("ann", (), moment(2026, 12, 1, 0, 1))


def test_all_tells_each_budget_once_the_fullest_first(db):
    lease(db, "ann", moment(2026, 11, 10), 5, groups=["lab"])
    lease(db, "bob", moment(2026, 11, 10), 9, groups=["lab"])
    rules = parse_rules(
        [{"budget": {"gpu_hours": 10}}, {"groups": ["lab"], "together": True, "budget": {"gpu_hours": 20}}]
    )
    found = [(one.who, round(one.share, 2)) for one in Budgets(db, rules).all(NOW)]
    assert found == [("bob", 0.9), ("lab", 0.7), ("ann", 0.5)]


def test_what_many_used_together_is_summed_up_once_and_not_for_each_of_them(db):
    budgets = Budgets(db, parse_rules([{"groups": ["lab"], "together": True, "budget": {"cost": 50}}]))
    for number in range(20):
        lease(db, f"user{number}", NOW - HOUR, 1, groups=["lab"])
    sums = []
    sa.event.listen(
        db, "before_cursor_execute", lambda *told: sums.append(told[2]) if "sum(" in told[2] else None
    )
    (spent,) = budgets.all(NOW)
    assert spent.used == pytest.approx(40.0) and len(sums) == 1


def test_an_ended_lease_whose_clock_was_set_back_takes_nothing_off(db):
    lease(db, "ann", moment(2026, 11, 10), -5)
    lease(db, "ann", moment(2026, 11, 11), 2)
    (one,) = spent(db, {"budget": {"gpu_hours": 10}})
    assert one.used == pytest.approx(2)


@pytest.mark.parametrize(
    ("per", "now", "begin", "end"),
    [
        # Clocks went back in the night to 25 October 2026, forward in the night to 29 March.
        ("week", (2026, 10, 25, 23), (2026, 10, 19), (2026, 10, 26)),
        ("week", (2026, 3, 29, 12), (2026, 3, 23), (2026, 3, 30)),
        ("month", (2026, 10, 31, 23, 59), (2026, 10, 1), (2026, 11, 1)),
        ("month", (2026, 12, 31, 23, 59), (2026, 12, 1), (2027, 1, 1)),
        ("week", (2026, 11, 23), (2026, 11, 23), (2026, 11, 30)),
    ],
)
def test_weeks_and_months_are_the_calendars(per, now, begin, end):
    found = term(per, moment(*now))
    assert (found.begin, found.end) == (moment(*begin), moment(*end))
