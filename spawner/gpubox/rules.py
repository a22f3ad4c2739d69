"""Quotas and budgets: what one person, or a group together, may have. Plain data and its validation.

Which rule counts for whom is decided here, over plain records; who is refused with which sentence is in
``refusal``, what has been used of a budget in ``budget``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .machines import counted, duration_words, parse_duration, parse_size_mib

Unit = Literal["gpu_hours", "cost"]
Per = Literal["week", "month"]
AtLimit = Literal["refuse", "stop"]


class RuleError(ValueError):
    """An entry of ``c.GPUHub.rules`` is wrong; the message names entry, field and remedy."""


@dataclass(frozen=True)
class Budget:
    """At most ``amount`` GPU-hours, or money, a calendar week or month.

    ``at_limit`` is what happens then: new starts are refused, or what runs is stopped, too.
    """

    amount: float
    unit: Unit
    per: Per = "month"
    at_limit: AtLimit = "refuse"


@dataclass(frozen=True)
class Rule:
    """One entry. None is no limit; with neither users nor groups it is everybody's.

    ``together`` counts all whom it names as one. ``number`` is its place in the config, from 0.
    """

    number: int = 0
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    together: bool = False
    gpus: float | None = None
    servers: int | None = None
    waiting: int | None = None
    session_seconds: int | None = None
    templates_mib: int | None = None
    kept_mib: int | None = None
    budget: Budget | None = None
    words: str = ""

    @property
    def is_everybodys(self) -> bool:
        """Whether it names nobody."""
        return not self.users and not self.groups

    def concerns(self, user: str, groups: Collection[str]) -> bool:
        """Whether it holds for a user who is in those groups."""
        return self.is_everybodys or user in self.users or not self.groups.isdisjoint(groups)

    @property
    def who(self) -> str:
        """Whom it counts together, in words: ``students``, ``ada and ben``, ``everybody``."""
        names = sorted(self.groups) + sorted(self.users)
        if not names:
            return "everybody"
        return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def parse_rules(entries: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Rules from ``c.GPUHub.rules``, a list of dicts.

    Raises `RuleError` with the entry, the field and what was expected there.
    """
    return tuple(_parse_entry(number, entry) for number, entry in enumerate(entries))


# --- which rule counts -------------------------------------------------------------------------------


def rule_for(
    rules: Iterable[Rule], user: str, groups: Collection[str], limit: Callable[[Rule], float | None]
) -> Rule | None:
    """The rule whose ``limit`` counts for a user alone; None where there is no such limit.

    The most specific one: a rule that names the user, else one of the user's groups (of several the most
    generous), else everybody's.
    """
    concerning = [
        rule
        for rule in rules
        if not rule.together and limit(rule) is not None and rule.concerns(user, groups)
    ]
    by_name = [rule for rule in concerning if user in rule.users]
    by_group = [rule for rule in concerning if not rule.groups.isdisjoint(groups)]
    for found in (by_name, by_group, concerning):
        if found:
            return max(found, key=lambda rule: limit(rule) or 0)
    return None


def rules_together(
    rules: Iterable[Rule], user: str, groups: Collection[str], limit: Callable[[Rule], float | None]
) -> list[Rule]:
    """Rules over many at once that concern the user, too: each of them holds."""
    return [
        rule for rule in rules if rule.together and limit(rule) is not None and rule.concerns(user, groups)
    ]


def longest_session(rules: Iterable[Rule], user: str, groups: Collection[str]) -> Rule | None:
    """The rule that bounds the length of the user's sessions, if any."""
    return rule_for(rules, user, groups, lambda rule: rule.session_seconds)


def in_sentences(rules: Sequence[Rule], user: str, groups: Collection[str]) -> list[str]:
    """The limits that hold for a user, a sentence each; empty without any. Budgets tell their own."""
    told: list[str] = []
    for limit, words in _SENTENCES:
        if (own := rule_for(rules, user, groups, limit)) is not None:
            told.append(f"You: {words(own)}.{f' {own.words}' if own.words else ''}")
        for rule in rules_together(rules, user, groups, limit):
            told.append(f"All of {rule.who} together: {words(rule)}.{f' {rule.words}' if rule.words else ''}")
    return told


_SENTENCES: tuple[tuple[Callable[[Rule], float | None], Callable[[Rule], str]], ...] = (
    (
        lambda rule: rule.gpus,
        lambda rule: f"at most {counted(rule.gpus or 0, 'GPU')} at once, held or waited for",
    ),
    (lambda rule: rule.servers, lambda rule: f"at most {counted(rule.servers or 0, 'machine')} at once"),
    (
        lambda rule: rule.waiting,
        lambda rule: f"at most {counted(rule.waiting or 0, 'place')} in line at once",
    ),
    (
        lambda rule: rule.session_seconds,
        lambda rule: f"a machine for {duration_words(rule.session_seconds or 0)} at most",
    ),
    (
        lambda rule: rule.templates_mib,
        lambda rule: f"templates of {(rule.templates_mib or 0) / 1024:g} GiB at most",
    ),
    (
        lambda rule: rule.kept_mib,
        lambda rule: f"a new machine that is kept while those you keep have less than"
        f" {(rule.kept_mib or 0) / 1024:g} GiB",
    ),
)


# --- reading one entry -------------------------------------------------------------------------------


_LIMITS = {"gpus", "servers", "waiting", "session_seconds", "templates_mib", "kept_mib", "budget"}


def _parse_entry(number: int, entry: Mapping[str, Any]) -> Rule:
    if not isinstance(entry, Mapping):
        raise RuleError(f"c.GPUHub.rules[{number}]: expected a dict of fields, got {entry!r}.")
    values: dict[str, Any] = {}
    for field, value in entry.items():
        if field not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise RuleError(f"c.GPUHub.rules[{number}]: there is no field {field!r}; there are: {known}.")
        expected, read = _FIELDS[field]
        try:
            values[field] = read(value)
        except (TypeError, ValueError) as error:
            raise RuleError(
                f"c.GPUHub.rules[{number}], field {field!r}: expected {expected}, got {value!r}."
            ) from error
    return Rule(number=number, **_joined(number, values))


def _joined(number: int, values: dict[str, Any]) -> dict[str, Any]:
    """The fields as `Rule` has them, once it is clear that they make sense together."""
    if "session" in values:
        values["session_seconds"] = values.pop("session")
    if "templates" in values:
        values["templates_mib"] = values.pop("templates")
    if "kept" in values:
        values["kept_mib"] = values.pop("kept")
    per, at_limit = values.pop("per", None), values.pop("at_limit", None)
    if "budget" in values:
        amount, unit = values["budget"]
        values["budget"] = Budget(amount, unit, per or "month", at_limit or "refuse")
    elif per or at_limit:
        raise RuleError(f"c.GPUHub.rules[{number}]: 'per' and 'at_limit' are of a 'budget'; there is none.")
    if not values.keys() & _LIMITS:
        raise RuleError(
            f"c.GPUHub.rules[{number}]: it limits nothing. Name gpus, servers, waiting, session,"
            " templates, kept or budget."
        )
    if values.get("together") and "session_seconds" in values:
        raise RuleError(f"c.GPUHub.rules[{number}]: a session is one person's; leave 'together' out.")
    if values.get("together") and "templates_mib" in values:
        raise RuleError(f"c.GPUHub.rules[{number}]: templates are one person's; leave 'together' out.")
    if values.get("together") and "kept_mib" in values:
        raise RuleError(f"c.GPUHub.rules[{number}]: what is kept is one person's; leave 'together' out.")
    return values


def _names(value: object) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError
    names = frozenset(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError
    return names


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value.strip()


def _budget(value: object) -> tuple[float, str]:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise TypeError
    ((unit, amount),) = value.items()
    if unit not in ("gpu_hours", "cost") or not _number(amount):
        raise ValueError
    return float(amount), unit


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return read


# Field of an entry -> (what is expected there, how it is read).
_FIELDS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "users": ("a list of user names, such as ['ada']", _names),
    "groups": ("a list of group names, such as ['students']", _names),
    "together": ("True or False", _flag),
    "gpus": ("how many GPUs at once, such as 2 or 0.5", _number),
    "servers": ("how many machines at once, a whole number", _whole),
    "waiting": ("how many places in line at once, a whole number", _whole),
    "session": ("a time of a minute or more, such as '8h'", parse_duration),
    "templates": ("how much room templates may take, such as '50G'", parse_size_mib),
    "kept": ("how much room machines that are kept may take, such as '50G'", parse_size_mib),
    "budget": ("{'gpu_hours': 100} or {'cost': 500}", _budget),
    "per": ("'week' or 'month'", _one_of("week", "month")),
    "at_limit": ("'refuse' or 'stop'", _one_of("refuse", "stop")),
    "words": ("a sentence", _text),
}
