"""Budgets: what has been used of each in this week or month. Pure decisions, and two sums in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from . import db as tables
from .rules import AtLimit, Per, Rule, Unit, rule_for, rules_together

_lease = tables.lease.c
_KINDS: tuple[tuple[Unit, Per], ...] = (
    ("gpu_hours", "week"),
    ("gpu_hours", "month"),
    ("cost", "week"),
    ("cost", "month"),
)


@dataclass(frozen=True)
class Term:
    """A calendar week (from Monday on) or month of this machine's time zone."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Spent:
    """What is used of one rule's budget: by a user, or by all whom the rule counts together (``who``)."""

    rule: Rule
    who: str
    used: float
    term: Term

    @property
    def limit(self) -> float:
        """The budget's amount."""
        assert self.rule.budget is not None
        return self.rule.budget.amount

    @property
    def share(self) -> float:
        """1.0 is all of it."""
        return self.used / self.limit

    @property
    def unit_words(self) -> str:
        """``GPU-hours``, or what money needs beside it: nothing."""
        assert self.rule.budget is not None
        return "GPU-hours" if self.rule.budget.unit == "gpu_hours" else ""

    def sentence(self) -> str:
        """Says that the budget is used up, and until when."""
        whose = f"The budget of {self.who} together" if self.rule.together else "Your budget"
        until = datetime.fromtimestamp(self.term.end)
        amounts = f"{self.used:,.1f} of {self.limit:,.1f} {self.unit_words}".rstrip()
        return (
            f"{whose} for {self.term.name} is used up: {amounts}. The next begins on"
            f" {until:%A}, {until.day} {until:%B}; ask an admin, should you need more before."
        )


def term(per: Per, now: float) -> Term:
    """The week or month in which ``now`` lies."""
    today = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "week":
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
        name = f"the week from {first.day} {first:%B}"
    else:
        first = today.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
        name = f"{first:%B %Y}"
    # `timestamp` takes what has no zone for local time, summer time and all.
    return Term(name, first.timestamp(), after.timestamp())


class Budgets:
    """The budgets among the rules, over one ledger."""

    def __init__(self, db: sa.Engine, rules: Sequence[Rule]) -> None:
        self._db = db
        self._rules = [rule for rule in rules if rule.budget is not None]

    def of(
        self, user: str, groups: Collection[str], now: float, known: dict[int, Spent] | None = None
    ) -> list[Spent]:
        """Every budget that holds for a user who is in those groups.

        ``known`` keeps those that count many together, by rule: who asks for many users at once passes the
        same one each time, and each such sum is made once.
        """
        if not self._rules:
            return []
        known = {} if known is None else known
        with self._db.connect() as connection:
            return [
                _spent(connection, rule, user, now, known) for rule in _concerning(self._rules, user, groups)
            ]

    def all(self, now: float) -> list[Spent]:
        """Every budget of everybody who has used something of it, the fullest first."""
        known: dict[int, Spent] = {}
        found = (
            one for user, groups in self._users(now).items() for one in self.of(user, groups, now, known)
        )
        once = {(one.rule.number, one.who): one for one in found}
        return sorted(once.values(), key=lambda one: (-one.share, one.rule.number, one.who))

    def _users(self, now: float) -> dict[str, tuple[str, ...]]:
        """Users with leases in the longest term that is running, with their groups at the last of them."""
        if not self._rules:
            return {}
        since = min(term("week", now).begin, term("month", now).begin)
        query = (
            sa.select(_lease.user, _lease.groups)
            .where(sa.or_(_lease.released_at.is_(None), _lease.released_at > since))
            .where(_lease.granted_at.is_not(None))
            .order_by(_lease.id)
        )
        with self._db.connect() as connection:
            return {row.user: tuple(row.groups) for row in connection.execute(query)}

    def exhausted(
        self, user: str, groups: Collection[str], now: float, at_limit: AtLimit | None = None
    ) -> Spent | None:
        """A budget of the user's that is used up (with that ``at_limit``), if there is one."""
        return next(
            (
                one
                for one in self.of(user, groups, now)
                if one.share >= 1
                and one.rule.budget is not None
                and at_limit in (None, one.rule.budget.at_limit)
            ),
            None,
        )


def _spent(connection: sa.Connection, rule: Rule, user: str, now: float, known: dict[int, Spent]) -> Spent:
    assert rule.budget is not None
    if rule.number in known:
        return known[rule.number]
    when = term(rule.budget.per, now)
    whose = _together(connection, rule) if rule.together else _lease.user == user
    used = connection.scalar(_sum(rule, when, now).where(whose)) or 0.0
    spent = Spent(rule, rule.who if rule.together else user, float(used), when)
    if rule.together:
        known[rule.number] = spent
    return spent


def _concerning(rules: Sequence[Rule], user: str, groups: Collection[str]) -> Iterator[Rule]:
    """The most specific of each kind of budget, and each that counts many together."""
    for unit, per in _KINDS:

        def amount(rule: Rule, unit: Unit = unit, per: Per = per) -> float | None:
            is_it = rule.budget is not None and (rule.budget.unit, rule.budget.per) == (unit, per)
            return rule.budget.amount if is_it and rule.budget else None

        if (own := rule_for(rules, user, groups, amount)) is not None:
            yield own
        yield from rules_together(rules, user, groups, amount)


def _sum(rule: Rule, when: Term, now: float) -> sa.Select[Any]:
    """What leases took of the term until now, in the budget's unit."""
    assert rule.budget is not None
    ended = sa.func.coalesce(_lease.released_at, now)
    begin = sa.case((_lease.granted_at > when.begin, _lease.granted_at), else_=when.begin)
    end = sa.case((ended < when.end, ended), else_=when.end)
    share = _lease["count"] * 1.0 / _lease.slots_per_gpu
    worth = share if rule.budget.unit == "gpu_hours" else _lease.price_per_hour
    return sa.select(sa.func.sum((end - begin) / 3600.0 * worth)).where(
        sa.or_(_lease.released_at.is_(None), _lease.released_at > when.begin),
        _lease.granted_at + 0.0 < when.end,  # no index is to go by this: most leases were granted before
        # A clock that was set back may have ended a lease before it began.
        end > begin,
    )


def _together(connection: sa.Connection, rule: Rule) -> sa.ColumnElement[bool]:
    """Leases of all whom the rule names, by the groups that they were in then."""
    if rule.is_everybodys:
        return sa.true()
    function = "json_each" if connection.dialect.name == "sqlite" else "json_array_elements_text"
    member = getattr(sa.func, function)(_lease.groups).table_valued("value")
    in_group = sa.exists().select_from(member).where(member.c.value.in_(rule.groups))
    return sa.or_(_lease.user.in_(rule.users), in_group)
