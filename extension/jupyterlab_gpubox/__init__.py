"""gpubox inside the box: what runs beside the user's own server.

Importing this imports nothing else: Jupyter asks it which extensions there are each time it starts.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyterlab_gpubox"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    from .app import load

    load(serverapp)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "@gpubox/jupyterlab-gpubox"}]
