"""Lengths of time and names in words, for the sentences of notices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def length(seconds: float) -> str:
    """``45 seconds``, ``30 minutes``, ``2 hours``, ``1.5 hours``, ``3 days``."""
    for unit, size, least in (("day", 86400, 2 * 86400), ("hour", 3600, 3600), ("minute", 60, 60)):
        if seconds >= least:
            number = round(seconds / size, 1)
            return f"{number:g} {unit}{'' if number == 1 else 's'}"
    return f"{round(seconds)} second{'' if round(seconds) == 1 else 's'}"


def clock(at: float, now: float) -> str:
    """A time of this machine's zone: ``14:05``, or with its day where that is another."""
    then = datetime.fromtimestamp(at)
    same_day = then.date() == datetime.fromtimestamp(now).date()
    return then.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M")


def machine(lease: Mapping[str, Any]) -> str:
    """``1x H100``, or with the name that its user gave it: ``1x H100 (training)``."""
    return f"{lease['title']} ({lease['server']})" if lease["server"] else str(lease["title"])
