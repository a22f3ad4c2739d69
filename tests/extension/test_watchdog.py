"""Calls that hang keep one thread each, and no other call waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from jupyterlab_gpubox.watchdog import Lanes

NAME = "test-lanes"


@pytest.fixture
def lanes() -> Iterator[Lanes[str]]:
    lanes: Lanes[str] = Lanes(NAME, patience_seconds=0.2)
    yield lanes
    lanes.stop()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Until it is set, calls that wait for it hang."""
    event = threading.Event()
    yield event
    event.set()


def threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def gather(lanes: Lanes[str], *keys: str) -> dict[str, object]:
    """Results, until those of these keys are there."""
    found: dict[str, object] = {}
    while not found.keys() >= {*keys}:
        found |= lanes.results(0.05)
    return found


def test_calls_are_made_in_order_on_one_thread(lanes):
    made = []
    lanes.submit({key: lambda key=key: made.append((key, threading.current_thread())) for key in "abc"})

    assert lanes.results(60) == {"a": None, "b": None, "c": None}
    assert [key for key, _ in made] == ["a", "b", "c"]
    assert len({thread for _, thread in made}) == 1


def test_an_exception_is_a_result(lanes):
    error = OSError("gone")

    def fail() -> None:
        raise error

    lanes.submit({"a": fail, "b": lambda: 1})

    assert lanes.results(60) == {"a": error, "b": 1}


def test_a_hung_call_is_left_behind_and_the_rest_is_made(lanes, release):
    lanes.submit({"hung": release.wait, "a": lambda: 1, "b": lambda: 2})

    assert lanes.results(60) == {"a": 1, "b": 2}
    assert lanes.hung == lanes.pending == {"hung"}


def test_a_key_that_hangs_is_not_called_again_and_has_one_thread(lanes, release):
    made = []
    for number in range(20):
        lanes.submit({"hung": lambda: (made.append(1), release.wait()), "a": lambda: 1})
        assert lanes.results(60)["a"] == 1, number

    assert (len(made), threads()) == (1, 2)
    release.set()
    gather(lanes, "hung")
    lanes.submit({"a": lambda: 1})
    gather(lanes, "a")
    assert len(made) == 1


def test_a_late_result_is_told_and_a_quick_call_rejoins_the_others(lanes, release):
    lanes.submit({"hung": lambda: release.wait() and "late", "a": lambda: 1})
    gather(lanes, "a")
    release.set()
    assert gather(lanes, "hung")["hung"] == "late"
    assert lanes.hung == frozenset()

    lanes.submit({"hung": threading.current_thread})
    assert gather(lanes, "hung")
    while threads() > 1:
        time.sleep(0.01)

    lanes.submit({"hung": threading.current_thread, "a": threading.current_thread})
    found = lanes.results(60)
    assert found["hung"] is found["a"]


def test_a_key_is_pending_until_its_result_is_taken(lanes, release):
    lanes.submit({"a": lambda: 1})
    while threads() and not lanes._done:
        time.sleep(0.01)
    assert lanes.pending == {"a"}

    lanes.results()

    assert lanes.pending == frozenset()


def test_who_waits_for_results_goes_on_when_it_is_stopped(lanes, release):
    lanes = Lanes(NAME, patience_seconds=3600)
    begun = threading.Event()
    lanes.submit({"hung": lambda: (begun.set(), release.wait()), "a": lambda: 1})
    waiting = threading.Thread(target=lanes.results, args=[3600])
    waiting.start()
    begun.wait()

    lanes.stop()
    waiting.join()

    assert lanes.drain(0) is False
    release.set()
    assert lanes.drain(60) is True
    lanes.submit({"b": lambda: 1})
    assert lanes.results().keys() == {"hung"}
