"""When GPUs are read."""

from __future__ import annotations

import math

import pytest

from jupyterlab_gpubox.schedule import Intervals, Schedule
from jupyterlab_gpubox.vendors import Tier

ALL = Tier.CORE | Tier.PROCESSES | Tier.HEALTH


def run(
    schedule: Schedule, begin: float, seconds: float, *, is_watched: bool = True
) -> list[tuple[float, Tier]]:
    """The ticks of these seconds, each of which takes no time."""
    now, ticks = begin, []
    while (now := now + schedule.wait_seconds(now)) < begin + seconds:
        ticks.append((now, schedule.take(now, is_watched=is_watched)))
    return ticks


def test_each_tier_has_its_interval():
    ticks = run(Schedule(Intervals()), 100, 60)

    assert [now for now, _ in ticks] == [100 + second for second in range(60)]
    assert [now - 100 for now, tiers in ticks if Tier.PROCESSES in tiers] == list(range(0, 60, 5))
    assert [now - 100 for now, tiers in ticks if Tier.HEALTH in tiers] == [0, 30]


def test_ticks_do_not_drift_when_each_begins_late():
    schedule = Schedule(Intervals())
    schedule.take(100, is_watched=True)
    for second in range(1, 50):
        assert schedule.take(100 + second + 0.01, is_watched=True)
        assert schedule.wait_seconds(100 + second + 0.01) == pytest.approx(0.99)


def test_missed_ticks_are_not_made_up_for():
    schedule = Schedule(Intervals())
    schedule.take(100, is_watched=True)
    schedule.take(163.5, is_watched=True)

    assert schedule.wait_seconds(163.5) == 1


def test_nobody_watches_and_all_is_slow():
    schedule = Schedule(Intervals(idle_seconds=10))

    assert run(schedule, 100, 60, is_watched=False) == [
        (100 + ten, ALL if ten % 30 == 0 else Tier.CORE | Tier.PROCESSES) for ten in range(0, 60, 10)
    ]


def test_a_watcher_does_not_wait_for_the_slow_tick():
    schedule = Schedule(Intervals(idle_seconds=600, health_seconds=30))
    schedule.take(100, is_watched=False)

    schedule.hurry(105)

    assert schedule.wait_seconds(105) == 0
    assert [now for now, _ in run(schedule, 105, 5)] == [105, 106, 107, 108, 109]


def test_waking_makes_everything_due():
    schedule = Schedule(Intervals())
    schedule.take(100, is_watched=True)

    schedule.restart()

    assert (schedule.wait_seconds(100.1), schedule.take(100.1, is_watched=True)) == (0, ALL)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"core_seconds": 0}, "core_seconds is 0: an interval is a number of seconds above 0"),
        ({"health_seconds": -1}, "health_seconds is -1"),
        ({"process_seconds": math.inf}, "process_seconds is inf"),
        ({"retry_seconds": math.nan}, "retry_seconds is nan"),
        ({"core_seconds": 20}, "idle_seconds is 10, less than core_seconds"),
    ],
)
def test_intervals_that_cannot_be_are_refused_with_a_sentence(wrong, words):
    with pytest.raises(ValueError, match=words):
        Intervals(**wrong)


def test_a_driver_may_be_kept_open_for_ever():
    assert Intervals(close_after_seconds=math.inf).close_after_seconds == math.inf
