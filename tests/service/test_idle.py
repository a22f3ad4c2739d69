"""Who is idle, decided over records alone: every kind of life keeps, and nobody is stopped without notice."""

import pytest

from gpubox.service.idle import SILENT_SECONDS, Keep, Limits, Record, Stop, Warn, decide
from gpubox.service.store import Activity

NOW = 1_000_000.0
HOUR = 3600.0
WARN = 600.0
BOTH = Limits(idle_seconds=HOUR, gpu_idle_seconds=HOUR)


def record(
    *, reported_at=NOW, warned=None, gpu_idle_for=None, since=0.0, is_gpu_lost=False, hub=None, **shown
):
    return Record(
        title="1x H100",
        since=since,
        activity=Activity(1, reported_at=reported_at, **shown),
        hub_active_at=hub,
        gpu_idle_for=gpu_idle_for,
        is_gpu_lost=is_gpu_lost,
        warned=warned,
    )


def decided(limits=BOTH, **known):
    return decide(record(**known), limits, NOW, WARN)


def test_what_shows_no_life_for_the_limit_is_told_and_has_time():
    told = decided(kernel_at=NOW - HOUR)
    assert isinstance(told, Warn)
    assert (told.due_at, told.rule) == (NOW + WARN, "machine")
    assert "1x H100 has done nothing for 1 hour" in told.sentence


@pytest.mark.parametrize("kind", ["kernel_at", "terminal_at", "desktop_at", "gpu_at", "kept_at"])
def test_any_kind_of_life_within_the_limit_keeps(kind):
    assert decided(**{kind: NOW - HOUR + 1}) == Keep()
    assert isinstance(decided(**{kind: NOW - HOUR}), Warn)


def test_a_machine_that_has_just_begun_stays():
    assert decided(since=NOW - 10) == Keep()


def test_it_is_stopped_once_the_countdown_is_over_and_not_before():
    assert isinstance(decided(warned=("machine", NOW + 1)), Warn)
    assert isinstance(decided(warned=("machine", NOW)), Stop)


def test_the_last_word_of_the_box_is_waited_for():
    # It reports once a minute: what its user did in the last one is not known yet.
    waits = {"warned": ("machine", NOW - 10), "kernel_at": NOW - 2 * HOUR}
    assert isinstance(decided(**waits, reported_at=NOW - 30), Warn)
    assert isinstance(decided(**waits, reported_at=NOW - 5), Stop)
    assert isinstance(decided(**waits, reported_at=None, hub=NOW - 2 * HOUR), Stop)


def test_activity_that_returns_in_the_countdown_ends_it():
    assert decided(warned=("machine", NOW - 1), terminal_at=NOW - 5) == Keep()


def test_never_is_never():
    assert decided(Limits(None, None), gpu_idle_for=100 * HOUR) == Keep()


def test_an_idle_gpu_is_taken_back_though_a_kernel_is_busy():
    told = decided(kernel_at=NOW, gpu_idle_for=HOUR)
    assert isinstance(told, Warn)
    assert told.rule == "gpu" and "The GPU of 1x H100" in told.sentence
    assert decided(kernel_at=NOW, gpu_idle_for=HOUR - 1) == Keep()


def test_a_gpu_that_nobody_could_measure_is_not_taken_for_idle():
    assert decided(kernel_at=NOW, gpu_idle_for=None) == Keep()


def test_keep_and_a_fresh_start_hold_for_the_gpu_too():
    assert decided(kernel_at=NOW, gpu_idle_for=HOUR, kept_at=NOW - HOUR + 1) == Keep()
    assert decided(kernel_at=NOW, gpu_idle_for=HOUR, since=NOW - HOUR + 1) == Keep()


def test_the_notice_of_one_rule_does_not_stop_by_the_other():
    # Who was told "use it or keep it" and did is told anew that its GPU idles, and has the time for that.
    told = decided(kernel_at=NOW, gpu_idle_for=HOUR, warned=("machine", NOW - 1))
    assert told == Warn(NOW + WARN, told.sentence, "gpu")


def test_a_machine_whose_gpu_is_lost_is_not_stopped():
    assert decided(is_gpu_lost=True, gpu_idle_for=HOUR, warned=("machine", NOW - 1)) == Keep()


def test_a_box_that_has_fallen_silent_is_not_taken_for_idle():
    silent = {"reported_at": NOW - SILENT_SECONDS - 1, "kernel_at": NOW - 10 * HOUR}
    assert decided(**silent, hub=NOW - 10 * HOUR, warned=("machine", NOW - 1)) == Keep()


def test_a_silent_box_still_gives_back_a_gpu_that_idles():
    assert isinstance(decided(reported_at=NOW - HOUR, gpu_idle_for=HOUR), Warn)


def test_a_box_that_has_never_reported_goes_by_the_hubs_word():
    assert decided(reported_at=None, hub=NOW - HOUR + 1) == Keep()
    assert isinstance(decided(reported_at=None, hub=NOW - HOUR), Warn)
    assert decided(reported_at=None, hub=NOW - HOUR, gpu_at=NOW - 5) == Keep()
    assert isinstance(decided(reported_at=NOW, hub=NOW), Warn)


def test_a_clock_that_was_set_back_stops_nobody():
    assert decided(kernel_at=NOW + 10 * HOUR) == Keep()
    assert decided(kept_at=NOW + 10 * HOUR, gpu_idle_for=HOUR, kernel_at=NOW) == Keep()
