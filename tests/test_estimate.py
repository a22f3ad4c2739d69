"""How long a wait may take."""

import math

import pytest

from gpubox.estimate import Estimates, History, Holding, Wish

NOW = 1_000.0


def history(*lengths, machine="one"):
    past = History()
    for seconds in lengths:
        past.ended(machine, seconds)
    return past


def estimates(*holdings, idle=0.0, line=(1,), length=600.0):
    ends = [Holding(NOW + seconds, share, basis) for seconds, share, basis in holdings]
    return Estimates(NOW, idle, ends, [Wish(share, length) for share in line])


def test_a_time_limit_tells_the_longest_that_it_can_take():
    assert History().remaining("one", elapsed=600.0, limit=7200.0) == (6600.0, "time limits")


def test_nothing_is_known_without_a_limit_or_a_past():
    assert History().remaining("one", 600.0, None) == (math.inf, "")


def test_past_machines_tell_how_long_one_usually_goes_on():
    past = history(3600.0, 3600.0, 7200.0)
    assert past.remaining("one", 600.0, None) == (3000.0, "past machines")


def test_only_those_that_ran_longer_than_this_one_has_tell_anything():
    past = history(3600.0, 3600.0, 7200.0)
    assert past.remaining("one", 5000.0, None) == (2200.0, "past machines")
    assert past.remaining("one", 8000.0, None) == (math.inf, "")


def test_the_limit_counts_where_it_comes_sooner():
    past = history(7200.0, 7200.0, 7200.0)
    assert past.remaining("one", 0.0, 3600.0) == (3600.0, "time limits")


def test_a_limit_that_is_over_tells_now():
    assert History().remaining("one", 9000.0, 7200.0) == (0.0, "time limits")


def test_too_few_machines_tell_nothing_and_failed_starts_do_not_count():
    assert history(3600.0, 3600.0, 5.0, 5.0, 5.0).remaining("one", 0.0, None) == (math.inf, "")


def test_machines_of_another_type_tell_nothing():
    past = history(3600.0, 3600.0, 3600.0, machine="other")
    assert past.remaining("one", 0.0, None) == (math.inf, "")


def test_who_is_first_gets_the_machine_that_ends_first():
    line = estimates((300, 1, "past machines"), (100, 1, "past machines"))
    assert line.of(1, NOW) == (100.0, "past machines")


def test_who_is_second_gets_the_machine_that_ends_second():
    line = estimates((300, 1, "past machines"), (100, 1, "past machines"), line=(1, 1))
    assert line.of(2, NOW) == (300.0, "past machines")


def test_who_comes_after_waits_for_those_before_to_have_worked():
    line = estimates((100, 1, "past machines"), line=(1, 1, 1), length=600.0)
    assert [line.of(place, NOW)[0] for place in (1, 2, 3)] == [100.0, 700.0, 1300.0]


def test_several_gpus_are_there_when_the_last_of_them_is():
    line = estimates((100, 1, "past machines"), (500, 1, "time limits"), line=(2,))
    assert line.of(1, NOW) == (500.0, "time limits")


def test_a_quarter_waits_for_a_quarter():
    line = estimates((100, 0.25, "past machines"), (50, 0.25, "past machines"), line=(0.25, 0.25, 0.5))
    assert [line.of(place, NOW)[0] for place in (1, 2)] == [50.0, 100.0]


def test_what_lies_idle_counts():
    line = estimates((100, 1, "past machines"), idle=1.0, line=(2,))
    assert line.of(1, NOW)[0] == 100.0


def test_what_is_not_known_is_not_told_nor_for_those_behind():
    line = estimates((math.inf, 1, ""), line=(1, 1))
    assert line.of(1, NOW) == line.of(2, NOW) == (None, "")


def test_machines_that_end_in_the_same_moment_do_not_confuse_it():
    same = [(100, 1, "past machines")] * 5
    line = estimates(*same, line=(1,) * 12, length=0.0)
    assert line.of(12, NOW)[0] == 100.0


@pytest.mark.parametrize(("later", "left"), [(40.0, 60.0), (500.0, 0.0)])
def test_time_that_passes_is_taken_off_and_never_below_nothing(later, left):
    assert estimates((100, 1, "past machines")).of(1, NOW + later)[0] == left
