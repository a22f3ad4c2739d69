"""What counts as a GPU at work for this server."""

from __future__ import annotations

import pytest

from jupyterlab_gpubox.activity import works
from jupyterlab_gpubox.records import GPU, Others, Owner, Process, ProcessList, Snapshot

THRESHOLD = 5.0
NOBODY = ProcessList(0)


def seen(utilisation: float | None, **changes: object) -> Snapshot:
    """One GPU, as it was seen."""
    figures = {"utilisation_percent": utilisation}
    return Snapshot(0, gpus=(GPU("GPU-1", 0, "nvidia", "H100", figures=figures, **changes),))  # type: ignore[arg-type]


MINE = Process("GPU-1", 7, "python3", 100, Owner("kernel"))


@pytest.mark.parametrize(("utilisation", "at_work"), [(0, False), (4.9, False), (5, True), (97, True)])
def test_work_begins_at_the_threshold(utilisation: float, at_work: bool) -> None:
    assert works(seen(utilisation), NOBODY, THRESHOLD) is at_work


def test_others_work_on_a_shared_gpu_is_not_ours() -> None:
    theirs = ProcessList(0, others=(Others("GPU-1", 1, 500),))
    assert not works(seen(97), theirs, THRESHOLD)
    assert works(seen(97), ProcessList(0, processes=(MINE,), others=theirs.others), THRESHOLD)


def test_a_slice_that_tells_no_utilisation_works_while_our_process_on_it_uses_the_cpu() -> None:
    listed = ProcessList(0, processes=(MINE,))
    assert works(seen(None), listed, THRESHOLD, busy={7})
    assert not works(seen(None), listed, THRESHOLD, busy={8})
    assert not works(seen(None), NOBODY, THRESHOLD, busy={7})


def test_figures_of_the_past_and_lost_gpus_are_no_work() -> None:
    assert not works(seen(97, stale={"utilisation_percent": 3.0}), NOBODY, THRESHOLD)
    assert not works(seen(97, state="lost"), NOBODY, THRESHOLD)
