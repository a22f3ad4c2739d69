"""What gpubox server this is: the machine, its price and its end, as the hub told it at the start.

The hub's side is `GPUSpawner.box_environment`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

FACTS = "GPUBOX_BOX"


@dataclass(frozen=True)
class Box:
    """A machine of a gpubox hub. Times are Unix seconds; ``ends`` is None without a time limit.

    ``gpus`` are the ids of its GPUs; ``is_shared`` says that other users have slots of them.
    ``ends`` is as it was at the start: the hub's service may know better (`hub_link`).
    """

    machine: str
    title: str
    started: float
    contents: str = ""
    price_per_hour: float = 0.0
    currency: str = ""
    ends: float | None = None
    is_shared: bool = False
    gpus: tuple[str, ...] = ()
    # Which of its user's servers it is, and where it reaches the hub's service.
    server: str = ""
    service: str = ""
    # How to reach it by SSH: user, host (empty: as the page is reached), port; None where the hub has no
    # gateway.
    ssh: dict[str, Any] | None = None
    hub_url: str = ""

    def cost(self, now: float) -> float:
        """What it has cost until ``now``, in ``currency``."""
        return self.price_per_hour * max(0.0, now - self.started) / 3600


def find_box(environment: Mapping[str, str] = os.environ) -> Box | None:
    """The box this process runs in; None where no gpubox hub started it, or told it in no known form."""
    try:
        told = json.loads(environment.get(FACTS, ""))
        known = {field.name for field in fields(Box)}
        facts: dict[str, Any] = {key: value for key, value in told.items() if key in known}
        facts["gpus"] = tuple(facts.get("gpus", ()))
        return Box(**facts, hub_url=_hub_url(environment))
    except (AttributeError, TypeError, ValueError):
        return None


def _hub_url(environment: Mapping[str, str]) -> str:
    """The hub's home page: a path, or a URL where the hub has a domain of its own."""
    public = environment.get("JUPYTERHUB_PUBLIC_HUB_URL", "")
    base = public or environment.get("JUPYTERHUB_BASE_URL", "/").rstrip("/") + "/hub/"
    return base.rstrip("/") + "/home"
