"""How commands tell what they found: aligned tables, lines by topic, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from ..host import Say


def say(topic: str) -> Say:
    """Tells lines about one topic, aligned with those of others."""
    return lambda line: print(f"{topic:<8} {line}", flush=True)


def print_json(value: object) -> int:
    """Print it, and return the exit status 0."""
    print(json.dumps(value, indent=1))
    return 0


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Aligned columns, those in ``right`` at their right edge. What would break a line is shown as \\n."""
    shown = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]

    def fitted(column: int, cell: str) -> str:
        return cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])

    return "\n".join("  ".join(fitted(*cell) for cell in enumerate(row)).rstrip() for row in shown)


def moment(seconds: float) -> str:
    """A time as a person says it: 23 Nov 13:54."""
    return datetime.fromtimestamp(seconds).strftime("%d %b %H:%M")


def duration(seconds: float) -> str:
    """How long: 40 s, 14 min, 3 h 05 min, 2 d 4 h."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min" if minutes else f"{rest} s"


def one_line(cell: str) -> str:
    """The text as one line that moves no cursor: names come from outside."""
    return cell if cell.isprintable() else cell.encode("unicode_escape").decode()
