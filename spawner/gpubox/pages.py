"""Where the hub's pages are. The pages themselves are Jinja templates over JupyterHub's own."""

from __future__ import annotations

from pathlib import Path

TEMPLATES = str(Path(__file__).parent / "templates")
"""For ``c.JupyterHub.template_paths``: JupyterHub looks here first, then among its own."""


def template_paths() -> list[str]:
    """What to set ``c.JupyterHub.template_paths`` to."""
    return [TEMPLATES]
