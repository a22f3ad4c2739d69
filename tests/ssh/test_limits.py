"""Who is turned away, and for how long."""

from gpubox.ssh.limits import Door, Failures


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_failures_count_for_a_while_each():
    clock = Clock()
    failures = Failures(2, 60, clock)
    failures.add("10.0.0.1")
    clock.now = 40
    failures.add("10.0.0.1")
    assert failures.are_too_many("10.0.0.1") and not failures.are_too_many("10.0.0.2")
    clock.now = 61
    assert not failures.are_too_many("10.0.0.1")
    failures.add("10.0.0.1")
    assert failures.are_too_many("10.0.0.1")
    clock.now = 200
    assert not failures.are_too_many("10.0.0.1")


def test_a_crowd_of_addresses_takes_no_endless_memory():
    failures = Failures(1, 1e9)
    for number in range(25_000):
        failures.add(str(number))
    assert len(failures._failed) == 10_000
    assert failures.are_too_many("24999") and not failures.are_too_many("0")


def test_the_door_has_room_for_some_and_for_fewer_of_one_address():
    door = Door(10)
    assert [door.enter("a") for _ in range(3)] == [True, True, False]
    assert [door.enter(str(number)) for number in range(9)] == [True] * 8 + [False]
    door.leave("a")
    assert door.enter("b")
