"""GPU work as activity of the server: training with no browser open is not culled, an idle GPU is.

Jupyter Server takes the newest of its settings that end in ``_last_activity`` (serverapp.py,
``last_activity``), and JupyterHub's single-user server posts that to the hub.
"""

from __future__ import annotations

from collections.abc import Collection

from .records import GPU, ProcessList, Snapshot

SETTING = "gpu_last_activity"


def works(
    snapshot: Snapshot, listed: ProcessList, threshold_percent: float, busy: Collection[int] = ()
) -> bool:
    """Whether a GPU works for this server.

    Its utilisation is at ``threshold_percent`` or more, and where others have processes on it, one of
    ours is there, too. A slice of a card tells no utilisation: there a process of ours counts that is
    among ``busy``, the pids that used the CPU since the last look.
    """
    ours = {process.gpu for process in listed.processes}
    busy_on = {process.gpu for process in listed.processes if process.pid in busy}
    theirs = {others.gpu for others in listed.others if others.count}
    return any(_works(gpu, threshold_percent, ours, theirs, busy_on) for gpu in snapshot.gpus)


def _works(
    gpu: GPU, threshold: float, ours: Collection[str], theirs: Collection[str], busy_on: Collection[str]
) -> bool:
    # A value that could not be read anew says nothing of now.
    if gpu.state != "ok" or "utilisation_percent" in gpu.stale:
        return False
    utilisation = gpu.figures.get("utilisation_percent")
    if utilisation is None:
        return gpu.id in busy_on
    assert isinstance(utilisation, int | float)
    return utilisation >= threshold and (gpu.id in ours or gpu.id not in theirs)
