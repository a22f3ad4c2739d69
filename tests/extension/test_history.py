"""The history of GPUs' figures: ten minutes in full, a day by the minute."""

from __future__ import annotations

import threading

import pytest

from jupyterlab_gpubox.history import History, NoSuchRange
from jupyterlab_gpubox.records import COLUMNS

START = 1_795_437_600.0  # a full minute
NOTHING = (None,) * len(COLUMNS)


def row(load: float | None = 0, watts: float | None = None) -> tuple[float | None, ...]:
    return (load, None, None, watts, None, None)


def loads(history: History, name: str, gpu: str, now: float, of: str = "gpus") -> list[float | None]:
    return history.rows(name, now)[of][gpu]["utilisation_percent"]  # type: ignore[literal-required]


def test_an_empty_history_has_no_rows():
    for name in ("fine", "coarse"):
        assert History().rows(name) == {
            "range": name,
            "times": [],
            "columns": list(COLUMNS),
            "gpus": {},
            "peaks": {},
        }


def test_fine_rows_are_what_was_read_oldest_first():
    history = History()
    history.add(START, {"a": row(97, watts=612.4), "b": row(None)})
    history.add(START + 1, {"a": row(96, watts=600), "b": row(5)})

    rows = history.rows("fine", START + 1)

    assert rows["times"] == [START, START + 1]
    assert rows["gpus"]["a"]["utilisation_percent"] == [97, 96]
    assert rows["gpus"]["a"]["power_watts"] == [612.4, 600]
    assert rows["gpus"]["a"]["clock_sm_mhz"] == [None, None]
    assert rows["gpus"]["b"]["utilisation_percent"] == [None, 5]
    assert isinstance(rows["gpus"]["a"]["utilisation_percent"][0], int)


def test_fine_rows_are_of_the_last_ten_minutes():
    history = History(core_seconds=1)
    for second in range(1500):
        history.add(START + second, {"a": row(second % 100)})

    now = START + 1499
    assert history.rows("fine", now)["times"] == [START + second for second in range(900, 1500)]
    assert loads(history, "fine", "a", now) == [second % 100 for second in range(900, 1500)]


def test_rows_from_before_a_long_sleep_are_not_of_the_last_ten_minutes():
    history = History()
    history.add(START, {"a": row(1)})
    history.add(START + 3600, {"a": row(2)})

    assert loads(history, "fine", "a", START + 3600) == [2]
    assert history.rows("fine", START + 7200)["gpus"] == {}


def test_no_gpu_no_row():
    history = History()
    history.add(START, {"a": row(1)})
    history.add(START + 1, {})

    assert history.rows("fine", START + 1)["times"] == [START]


def test_coarse_rows_are_means_and_peaks_of_a_minute():
    history = History()
    for second, load in enumerate((0, 100, 50, None)):
        history.add(START + second, {"a": row(load, watts=100 + second / 4)})
    history.add(START + 60, {"a": row(7)})

    rows = history.rows("coarse", START + 60)

    assert rows["times"] == [START, START + 60]
    assert rows["gpus"]["a"]["utilisation_percent"] == [50, 7]
    assert rows["peaks"]["a"]["utilisation_percent"] == [100, 7]
    assert rows["gpus"]["a"]["power_watts"] == [100.4, None]
    assert rows["peaks"]["a"]["power_watts"] == [100.8, None]


def test_coarse_rows_are_of_the_last_day():
    history = History(core_seconds=60)
    for minute in range(3000):
        history.add(START + 60 * minute, {"a": row(minute % 100)})

    rows = history.rows("coarse", START + 60 * 2999)

    assert rows["times"] == [START + 60 * minute for minute in range(3000 - 1440, 3000)]
    assert rows["peaks"]["a"]["utilisation_percent"] == [minute % 100 for minute in range(1560, 3000)]


def test_a_gpu_that_comes_and_one_that_goes_do_not_disturb_the_others():
    history = History()
    history.add(START, {"stays": row(1), "goes": row(10)})
    history.add(START + 1, {"stays": row(2)})
    history.add(START + 2, {"stays": row(3), "comes": row(30)})

    rows = history.rows("fine", START + 2)["gpus"]

    assert {gpu: series["utilisation_percent"] for gpu, series in rows.items()} == {
        "stays": [1, 2, 3],
        "goes": [10, None, None],
        "comes": [None, None, 30],
    }


def test_a_gpu_that_is_long_gone_is_forgotten_with_its_memory():
    history = History(core_seconds=60)  # ten fine rows
    history.add(START, {"goes": row(10), "stays": row(1)})
    for minute in range(1, 1500):
        history.add(START + 60 * minute, {"stays": row(1)})

    now = START + 60 * 1499
    assert list(history.rows("fine", now)["gpus"]) == list(history.rows("coarse", now)["gpus"]) == ["stays"]
    assert list(history._fine._columns) == list(history._means._columns) == ["stays"]


def test_when_the_clock_is_set_back_what_is_later_is_dropped_and_times_still_rise():
    history = History()
    for second in range(10):
        history.add(START + second, {"a": row(second)})
    history.add(START + 3, {"a": row(77)})
    history.add(START + 4, {"a": row(78)})

    rows = history.rows("fine", START + 4)

    assert rows["times"] == [START + second for second in (0, 1, 2, 3, 4)]
    assert rows["gpus"]["a"]["utilisation_percent"] == [0, 1, 2, 77, 78]


def test_when_the_clock_jumps_ahead_sampling_goes_on():
    history = History()
    history.add(START, {"a": row(1)})
    history.add(START + 10**6, {"a": row(2)})

    assert loads(history, "coarse", "a", START + 10**6) == [2]


def test_an_unknown_range_is_refused_with_those_that_there_are():
    with pytest.raises(NoSuchRange, match="There is no range 'week'"):
        History().rows("week")


def test_it_is_read_whole_while_it_is_written():
    history = History()
    ended = threading.Event()

    def write() -> None:
        for tick in range(3000):
            history.add(START + tick, {"a": row(tick % 50), "b": row(tick % 50)})
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not ended.is_set():
        rows = history.rows("fine", START)
        both = [rows["gpus"][gpu]["utilisation_percent"] for gpu in rows["gpus"]]
        assert all(len(loads) == len(rows["times"]) for loads in both)
        assert not both or both[0] == both[1]
        assert rows["times"] == sorted(rows["times"])
    writer.join()
