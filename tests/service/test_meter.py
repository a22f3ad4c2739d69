"""What GPUs do, put down: no second is counted twice or made up, whatever clocks, drivers and leases do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubox.db import USE_SECONDS
from gpubox.service.meter import Doing, IdleClocks, Meter, Moment, of_all, quarters, report, works_for

BUSY_FROM = 0.05
QUARTER = 1_000_000 * USE_SECONDS


def doing(utilisation, *leases, gpu="GPU-0", **reports):
    told = {int(name.removeprefix("of_")): said for name, said in reports.items()}
    return Doing(gpu, leases, utilisation, told)


def metered(*readings, gap=15.0, wall=float(QUARTER)):
    """A meter after readings 5 s apart."""
    meter = Meter(gap, BUSY_FROM)
    for number, reading in enumerate(readings):
        meter.take([reading], Moment(wall + 5.0 * number, 100.0 + 5.0 * number))
    return {(use.begin, use.gpu_uuid, use.lease_id): use for use in meter.unwritten()}


def test_time_is_counted_as_what_the_gpu_did_for_its_lease():
    (use,) = metered(doing(0.5, 7), doing(0.5, 7), doing(0.01, 7)).values()
    assert (use.begin, use.lease_id) == (QUARTER, 7)
    assert use.measured_seconds == pytest.approx(10)
    assert use.idle_seconds == pytest.approx(5)
    assert use.utilised_seconds == pytest.approx(5 * 0.5 + 5 * 0.01)


def test_a_gpu_that_nobody_holds_counts_as_nobodys():
    assert [key[2] for key in metered(doing(0.0), doing(0.0))] == [0]


def test_each_who_shares_a_card_has_a_row_and_idles_with_the_card():
    uses = metered(doing(0.0, 1, 2), doing(0.0, 1, 2))
    assert {key[2]: use.idle_seconds for key, use in uses.items()} == {1: 5, 2: 5}


def test_a_quarter_of_an_hour_ends_where_it_ends():
    uses = metered(doing(0.5, 1), doing(0.5, 1), wall=QUARTER + USE_SECONDS - 2.0)
    assert {key[0]: use.measured_seconds for key, use in uses.items()} == {
        QUARTER: pytest.approx(2),
        QUARTER + USE_SECONDS: pytest.approx(3),
    }


def test_what_nobody_looked_at_is_not_measured():
    meter = Meter(15.0, BUSY_FROM)
    for at in (0.0, 5.0, 25.0, 30.0):  # a driver that hung for 20 s
        meter.take([doing(0.5, 1)], Moment(QUARTER + at, at))
    assert sum(use.measured_seconds for use in meter.unwritten()) == pytest.approx(10)


def test_a_slice_tells_no_utilisation_and_its_box_does():
    (use,) = metered(
        doing(None, 3, of_3="busy"), doing(None, 3, of_3="busy"), doing(None, 3, of_3="idle")
    ).values()
    assert (use.measured_seconds, use.idle_seconds) == (pytest.approx(10), pytest.approx(5))
    assert not metered(doing(None, 3), doing(None, 3))
    assert not metered(doing(None), doing(None))


def test_what_was_written_is_not_written_again_and_the_rest_is_kept():
    meter = Meter(15.0, BUSY_FROM)
    meter.take([doing(0.5, 1)], Moment(QUARTER, 0.0))
    meter.take([doing(0.5, 1)], Moment(QUARTER + 5.0, 5.0))
    uses = meter.unwritten()
    meter.take([doing(0.5, 1)], Moment(QUARTER + 10.0, 10.0))  # while it is being written
    meter.written(uses)
    assert sum(use.measured_seconds for use in meter.unwritten()) == pytest.approx(5)
    meter.written(meter.unwritten())
    assert not meter.unwritten()


@given(
    steps=st.lists(
        st.tuples(st.floats(0.1, 40.0), st.floats(-1e5, 1e5), st.floats(0.0, 1.0)), min_size=1, max_size=40
    )
)
def test_no_clock_makes_more_time_than_there_was(steps):
    meter, wall, monotonic, told = Meter(15.0, BUSY_FROM), 1e9, 0.0, 0.0
    meter.take([doing(0.0, 1)], Moment(wall, monotonic))
    for seconds, jump, utilisation in steps:
        monotonic, wall = monotonic + seconds, wall + seconds + jump
        told += seconds if seconds <= 15.0 else 0.0
        meter.take([doing(utilisation, 1)], Moment(wall, monotonic))
    uses = meter.unwritten()
    assert sum(use.measured_seconds for use in uses) == pytest.approx(told)
    for use in uses:
        assert 0 <= use.idle_seconds <= use.measured_seconds + 1e-6
        assert 0 <= use.utilised_seconds <= use.measured_seconds + 1e-6


def test_quarters_leave_nothing_out():
    parts = list(quarters(QUARTER - 10.0, QUARTER + USE_SECONDS + 5.0))
    assert parts == [
        (QUARTER - USE_SECONDS, 10.0),
        (QUARTER, float(USE_SECONDS)),
        (QUARTER + USE_SECONDS, 5.0),
    ]


# --- whose work ----------------------------------------------------------------------------------------


def test_a_busy_card_works_for_who_holds_it_alone():
    assert works_for(doing(0.9, 1), 1, BUSY_FROM) == "busy"
    assert works_for(doing(0.04, 1), 1, BUSY_FROM) == "idle"


def test_on_a_busy_shared_card_only_the_boxes_know_whose_work_it_is():
    card = doing(0.9, 1, 2, 3, of_1="busy", of_2="idle")
    assert [works_for(card, lease, BUSY_FROM) for lease in (1, 2, 3)] == ["busy", "idle", "unknown"]


def test_of_several_gpus_one_that_works_is_enough_and_all_must_be_seen_idle():
    assert of_all(["idle", "busy", "unknown"]) == "busy"
    assert of_all(["idle", "idle"]) == "idle"
    assert of_all(["idle", "unknown"]) == of_all([]) == "unknown"


def test_a_report_says_something_of_now_for_a_while_alone():
    assert report(95.0, 100.0, 100.0, 120.0) == "busy"
    assert report(None, 100.0, 100.0, 120.0) == "idle"
    assert report(95.0, 100.0, 1000.0, 120.0) == "unknown"
    assert report(None, None, 100.0, 120.0) == "unknown"


# --- for how long --------------------------------------------------------------------------------------


def test_idle_time_begins_with_the_last_work():
    clocks = IdleClocks(15.0)
    for at, verdict in ((0.0, "busy"), (5.0, "idle"), (10.0, "idle")):
        clocks.take(1, verdict, at)
    assert clocks.idle_seconds(1, 10.0) == 10.0


def test_a_break_in_what_is_seen_begins_anew_and_a_missed_reading_does_not():
    clocks = IdleClocks(15.0)
    for at, verdict in ((0.0, "idle"), (5.0, "unknown"), (10.0, "idle")):
        clocks.take(1, verdict, at)
    assert clocks.idle_seconds(1, 10.0) == 10.0
    clocks.take(1, "idle", 40.0)
    assert clocks.idle_seconds(1, 40.0) == 0.0


def test_readings_that_tell_nothing_are_a_break_like_none_at_all():
    clocks = IdleClocks(15.0)
    for at in (0.0, 5.0):
        clocks.take(1, "idle", at)
    for at in (10.0, 15.0, 20.0, 25.0):
        clocks.take(1, "unknown", at)
    assert clocks.idle_seconds(1, 25.0) is None
    clocks.take(1, "idle", 30.0)
    assert clocks.idle_seconds(1, 30.0) == 0.0


def test_what_is_seen_no_more_is_not_known():
    clocks = IdleClocks(15.0)
    clocks.take(1, "idle", 0.0)
    assert clocks.idle_seconds(1, 16.0) is None
    assert clocks.idle_seconds(2, 0.0) is None
    clocks.keep(set())
    assert clocks.idle_seconds(1, 0.0) is None
