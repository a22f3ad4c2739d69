"""The routes over the books: a day of each GPU, usage and its cost, budgets and rules.

The books are read in a thread: a large ledger takes its time, and the pages go on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, TypeVar

from .. import books, db
from ..budget import Budgets, Spent
from ..rules import Rule, in_sentences
from .handlers import APIHandler, Refusal
from .view import SOMEONE

T = TypeVar("T")


class BooksHandler(APIHandler):
    """A route that reads the ledger."""

    async def read(self, function: Callable[..., T], *arguments: Any, **more: Any) -> T:
        """Call a function in a thread. Raises `Refusal` (400) with the books' sentence."""
        try:
            return await asyncio.to_thread(function, *arguments, **more)
        except books.BooksProblem as error:
            raise Refusal(400, str(error)) from error

    def asked(self, name: str) -> str | None:
        """A query argument that may be there once. Raises `Refusal` (400)."""
        given = self.get_query_arguments(name)
        if len(given) > 1:
            raise Refusal(400, f"{name}: once, please.")
        return given[0] if given else None

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """A query argument that is one of a few. Raises `Refusal` (400)."""
        chosen = self.asked(name)
        if chosen is None:
            return default
        if chosen not in choices:
            raise Refusal(400, f"{name}: expected one of {', '.join(choices)}.")
        return chosen


class HistoryHandler(BooksHandler):
    """GET api/history"""

    arguments = ("day",)

    async def get(self) -> None:
        asked = self.asked("day")
        day = date.today().isoformat() if asked is None else asked
        period = await self.read(books.day, day)
        found = await self.read(books.history, self.service.ledger, period, time.time())
        self.answer(
            {
                "day": day,
                "begin": period.begin,
                "end": period.end,
                "step": db.USE_SECONDS,
                "gpus": [self._shown(gpu) for gpu in found.values()],
            }
        )

    def _shown(self, gpu: books.Timeline) -> dict[str, Any]:
        return {
            "uuid": gpu.uuid,
            "spans": [
                {
                    "lease": span.lease,
                    "holder": self._holder(span),
                    "machine": span.machine,
                    "slots": span.slots,
                    "of_slots": span.of_slots,
                    "begin": span.begin,
                    "end": span.end,
                    "is_mine": span.user == self.viewer.name,
                }
                for span in gpu.spans
            ],
            "use": [asdict(row) for row in gpu.use],
        }

    def _holder(self, span: books.Span) -> str:
        manages = self.viewer.audience.manages(span.groups)
        is_seen = self.service.names or manages or span.user == self.viewer.name
        return span.user if is_seen else SOMEONE


class UsageHandler(BooksHandler):
    """GET api/usage"""

    arguments = ("month", "from", "to", "by", "user", "group", "format")

    async def get(self) -> None:
        by = self.choice("by", books.KEYS, "user")
        form = self.choice("format", ("json", "csv"), "json")
        name, period = await self._period()
        user, groups = self._whose(self.asked("user"), self.asked("group"))
        bill = await self.read(
            books.usage, self.service.ledger, period, time.time(), by, user=user, groups=groups
        )
        if form == "csv":
            self.set_header("Content-Type", "text/csv; charset=utf-8")
            self.set_header("Content-Disposition", f'attachment; filename="usage-{name}-by-{by}.csv"')
            self.finish(books.as_csv(bill))
            return
        self.answer(
            {
                "period": {"name": name, **asdict(period)},
                "by": by,
                "currency": self.service.live.state["currency"],
                "rows": [_row(row) for row in bill.rows],
                "total": _row(bill.total),
            }
        )

    async def _period(self) -> tuple[str, books.Period]:
        first, last, month = self.asked("from"), self.asked("to"), self.asked("month")
        if first is not None and last is not None and month is None:
            return f"{first}-to-{last}", await self.read(books.days, first, last)
        if first is not None or last is not None:
            raise Refusal(400, "Name a month, or from and to.")
        month = date.today().strftime("%Y-%m") if month is None else month
        return month, await self.read(books.month, month)

    def _whose(self, user: str | None, group: str | None) -> tuple[str | None, list[str] | None]:
        """The user and the groups to ask for: what the viewer may see of what was asked for."""
        viewer = self.viewer
        managed = viewer.audience.groups
        if viewer.is_admin:
            return user or None, [group] if group else None
        if group:
            if group not in managed:
                raise Refusal(403, "Only those who manage that group, and admins, see its usage.")
            return user or None, [group]
        if user and user != viewer.name:
            if not managed:
                raise Refusal(403, "You see your own usage; an admin sees that of all.")
            return user, sorted(managed)
        if managed and not user:
            return None, sorted(managed)
        return viewer.name, None


def _row(row: books.Usage) -> dict[str, Any]:
    return asdict(row) | {"measured_share": row.measured_share}


class BudgetsHandler(BooksHandler):
    """GET api/budgets"""

    async def get(self) -> None:
        budgets, viewer, now = Budgets(self.service.ledger, self.service.rules), self.viewer, time.time()
        if viewer.is_admin:
            found = await self.read(budgets.all, now)
        else:
            found = await self.read(budgets.of, viewer.name, viewer.groups, now) if viewer.name else []
            if managed := viewer.audience.groups:
                everybodys = await self.read(budgets.all, now)
                found += [one for one in everybodys if one.rule.groups & managed and one not in found]
        self.answer({"budgets": [_budget(one) for one in found]})


def _budget(spent: Spent) -> dict[str, Any]:
    budget = spent.rule.budget
    assert budget is not None
    return {
        "rule": spent.rule.number,
        "who": spent.who,
        "together": spent.rule.together,
        "used": spent.used,
        "limit": spent.limit,
        "unit": "GPU-hours" if budget.unit == "gpu_hours" else "money",
        "share": spent.share,
        "period": asdict(spent.term),
        "at_limit": budget.at_limit,
        "words": spent.rule.words,
    }


class RulesHandler(BooksHandler):
    """GET api/rules"""

    async def get(self) -> None:
        rules: Sequence[Rule] = self.service.rules
        self.answer({"rules": in_sentences(rules, self.viewer.name, self.viewer.groups)})


ROUTES: list[tuple[str, type[APIHandler]]] = [
    (r"api/history", HistoryHandler),
    (r"api/usage", UsageHandler),
    (r"api/budgets", BudgetsHandler),
    (r"api/rules", RulesHandler),
]
