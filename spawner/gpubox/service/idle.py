"""Who is idle: the decision about one machine, as a pure function. What is done about it is ``culler``'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from . import words
from .store import Activity

# A box reports once a minute. After this long without one nobody knows what goes on in it.
SILENT_SECONDS = 300.0

Rule = Literal["machine", "gpu"]
"""By which it is idle: the machine as a whole, or its GPUs, whatever else goes on."""


@dataclass(frozen=True)
class Limits:
    """After how long an idle machine is stopped, and one whose GPUs are idle; None: never."""

    idle_seconds: float | None
    gpu_idle_seconds: float | None


@dataclass(frozen=True)
class Record:
    """What is known of a machine that runs.

    ``since`` is when it could first be used. ``hub_active_at`` is the hub's word, which counts where the
    box has never reported. ``gpu_idle_for`` is None where it has no GPU, or nobody knows. ``warned`` is what
    its user has been given notice of: the rule, and when the countdown ends.
    """

    title: str
    since: float
    activity: Activity
    hub_active_at: float | None = None
    gpu_idle_for: float | None = None
    is_gpu_lost: bool = False
    warned: tuple[Rule, float] | None = None


@dataclass(frozen=True)
class Keep:
    """It stays."""


@dataclass(frozen=True)
class Warn:
    """Its user is to know that it will be stopped at ``due_at``, by that rule."""

    due_at: float
    sentence: str
    rule: Rule


@dataclass(frozen=True)
class Stop:
    """It is to be stopped now."""

    sentence: str


def decide(record: Record, limits: Limits, now: float, warn_seconds: float) -> Keep | Warn | Stop:
    """Whether the machine stays; nothing is stopped without a notice of that rule whose time has run out."""
    reasons = _reasons(record, limits, now)
    if record.warned is not None and record.warned[0] in reasons:
        rule, due_at = record.warned
        is_over = now >= due_at and (rule == "gpu" or _has_spoken_since(record, due_at))
        return Stop(reasons[rule]) if is_over else Warn(due_at, reasons[rule], rule)
    for rule, sentence in reasons.items():
        return Warn(now + warn_seconds, sentence, rule)
    return Keep()


def _has_spoken_since(record: Record, due_at: float) -> bool:
    """Whether the box's last word is of after the countdown: it may have been used in the last minute."""
    reported_at = record.activity.reported_at
    return reported_at is None or reported_at >= due_at


def _reasons(record: Record, limits: Limits, now: float) -> dict[Rule, str]:
    """The rules by which it counts as idle, each with its sentence."""
    reasons: dict[Rule, str] = {}
    if record.is_gpu_lost:
        return reasons  # its user has been told to save their work: that nothing goes on is not their doing
    active_at = _active_at(record, now)
    if limits.idle_seconds is not None and active_at is not None and now - active_at >= limits.idle_seconds:
        reasons["machine"] = (
            f"{record.title} has done nothing for {words.length(limits.idle_seconds)}: no notebook, terminal,"
            " desktop or GPU was in use. It will be stopped, unless you use it or keep it."
        )
    if limits.gpu_idle_seconds is not None and record.gpu_idle_for is not None:
        kept_for = now - min(record.activity.kept_at or 0.0, now)
        if min(record.gpu_idle_for, kept_for, now - record.since) >= limits.gpu_idle_seconds:
            reasons["gpu"] = (
                f"The GPU of {record.title} has done nothing for {words.length(limits.gpu_idle_seconds)},"
                " though notebooks may be open. It will be stopped, unless its GPU works or you keep it."
            )
    return reasons


def _active_at(record: Record, now: float) -> float | None:
    """When it last showed any life; None where nobody knows."""
    known = record.activity
    signs = [record.since, known.gpu_at, known.kept_at]
    if known.reported_at is None:
        # A custom image, with nothing of ours in it: the hub's word, as for any other server.
        signs.append(record.hub_active_at)
    elif now - known.reported_at > SILENT_SECONDS:
        return None
    else:
        signs += [known.kernel_at, known.terminal_at, known.desktop_at]
    return min(now, max(sign for sign in signs if sign is not None))
