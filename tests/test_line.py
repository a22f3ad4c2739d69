"""Who is next: fair shares, and the line of one machine type."""

import pytest

from gpubox.line import FairShare, Line, Ticket

DAY = 86_400.0


@pytest.fixture
def shares():
    return FairShare(half_life_seconds=DAY, now=0.0)


@pytest.fixture
def line(shares):
    return Line(shares)


def next_in(line, now):
    ticket = line.fairest(now)
    return ticket and ticket.user


def test_who_came_first_is_next_while_nobody_used_anything(line):
    line.add(Ticket(1, "ann", 10.0), 10.0)
    line.add(Ticket(2, "bob", 11.0), 11.0)
    assert next_in(line, 12.0) == "ann"


def test_who_used_less_is_next_though_they_came_later(line, shares):
    shares.add_past("ann", 1, 0.0, 3600.0)
    line.add(Ticket(1, "ann", 4000.0), 4000.0)
    line.add(Ticket(2, "bob", 4001.0), 4001.0)
    assert next_in(line, 4002.0) == "bob"


def test_use_counts_half_after_a_half_life(shares):
    shares.add_past("long ago", 2, 0.0, 3600.0)
    shares.add_past("now", 1, DAY, DAY + 3600.0)
    assert shares.used("long ago", 2 * DAY) == pytest.approx(shares.used("now", 2 * DAY))


def test_more_gpus_are_more_use(shares):
    shares.add_past("four", 4, 0.0, 900.0)
    shares.add_past("quarter", 0.25, 0.0, 900.0)
    assert shares.used("four", 1000.0) == pytest.approx(16 * shares.used("quarter", 1000.0))


def test_what_runs_counts_while_it_runs_and_the_same_when_it_has_ended(shares):
    shares.begin("ann", 1, 2, since=100.0)
    running = shares.used("ann", 500.0)
    assert 0 < running < shares.used("ann", 600.0)
    shares.end("ann", 1, now=500.0)
    assert shares.used("ann", 10_000.0) == pytest.approx(running)


def test_who_gets_a_machine_while_in_line_sinks(line, shares):
    line.add(Ticket(1, "ann", 10.0), 10.0)
    line.add(Ticket(2, "bob", 11.0), 11.0)
    shares.begin("ann", 7, 1, since=12.0)
    assert next_in(line, 20.0) == "bob"


def test_order_does_not_turn_by_waiting_alone(line, shares):
    shares.add_past("ann", 1, 0.0, 100.0)
    shares.add_past("bob", 1, 0.0, 90.0)
    line.add(Ticket(1, "ann", 200.0), 200.0)
    line.add(Ticket(2, "bob", 201.0), 201.0)
    assert {next_in(line, 300.0 + day * DAY) for day in range(30)} == {"bob"}


def test_who_left_is_not_next(line):
    line.add(Ticket(1, "ann", 10.0), 10.0)
    line.add(Ticket(2, "bob", 11.0), 11.0)
    line.remove(1)
    line.remove(1)
    assert next_in(line, 12.0) == "bob" and len(line) == 1
    line.remove(2)
    assert line.fairest(13.0) is None and line.oldest() is None


def test_who_comes_back_after_a_restart_regains_the_old_place(line):
    line.add(Ticket(2, "bob", 11.0), 100.0)
    line.add(Ticket(1, "ann", 10.0), 101.0)
    line.add(Ticket(3, "cy", 12.0), 102.0)
    assert line.oldest().user == next_in(line, 103.0) == "ann"
    assert [ticket.user for ticket in line] == ["ann", "bob", "cy"]


def test_figures_that_are_counted_anew_keep_the_order(line, shares):
    shares.add_past("ann", 1, 0.0, 3600.0)
    shares.add_past("bob", 1, 499 * DAY, 499 * DAY + 60.0)
    shares.begin("cy", 1, 1, since=500 * DAY)
    now = 501 * DAY
    for number, user in enumerate(("ann", "bob", "cy")):
        line.add(Ticket(number, user, now), now)
    before = [shares.used(user, now) for user in ("ann", "bob", "cy")]
    assert shares.needs_rebase(now)
    shares.rebase(now)
    line.sort_anew(now)
    after = [shares.used(user, now) for user in ("ann", "bob", "cy")]
    assert not shares.needs_rebase(now)
    assert [b / before[1] for b in before] == pytest.approx([a / after[1] for a in after])
    assert next_in(line, now) == "ann"
