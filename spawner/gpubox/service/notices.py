"""What users are told: each once, and closed when it is no longer true.

The rules are pure functions of the hub's state and the time (`wanted`, `over`); a notice's subject says
what it is about, and the database takes each subject once, whatever is restarted. The notice of an idle
machine is ``culler``'s; how notices go out is in ``boxes`` and ``delivery``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ..budget import Spent
from . import words
from .live import Live, State
from .store import Notice, Store

log = logging.getLogger(__name__)

END_SECONDS = 900.0
_WAITED_SECONDS = 60.0
# That a machine has become free is news for so long.
_NEWS_SECONDS = 1800.0
_LOOK_SECONDS = 5.0
_LONGEST_SUBJECT = 255
_CLOSED_SECONDS = 86400.0
_REMEMBER_SECONDS = 7 * 86400.0
_MOST_REMEMBERED = 100_000  # the database knows the others

_BUDGET_LEVELS = (100, 80)  # percent, the highest first

OF_LEASE = ("free", "end", "idle", "lost", "ask")
"""How subjects begin that are about one lease, whose number follows."""


ReadBudgets = Callable[[str, Sequence[str], float, dict[int, Spent]], Sequence[Spent]]


@dataclass(frozen=True)
class Wanted:
    """Something to be told, unless its subject has been."""

    user: str
    server: str | None
    kind: str
    subject: str
    sentence: str
    due_at: float | None = None


def subject(*parts: object) -> str:
    """What a notice is about, short enough for its column however long names are."""
    whole = " ".join(str(part) for part in parts)
    if len(whole) <= _LONGEST_SUBJECT:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return f"{whole[: _LONGEST_SUBJECT - len(digest) - 1]} {digest}"


def wanted(state: State, now: float) -> Iterator[Wanted]:
    """All that is true now and worth telling, told before or not."""
    lost = {gpu["uuid"]: gpu for gpu in state["gpus"] if gpu["state"] == "lost"}
    for lease in state["leases"]:
        if lease["granted_at"] is not None:
            yield from _of_lease(lease, now)
            for uuid in lease["gpus"]:
                if uuid in lost:
                    yield _lost(lease, lost[uuid])


def _of_lease(lease: State, now: float) -> Iterator[Wanted]:
    number, granted_at, ends_at = lease["id"], lease["granted_at"], lease["ends_at"]
    waited = granted_at - lease["requested_at"]
    if waited > _WAITED_SECONDS and lease["is_ready"] and now - granted_at < _NEWS_SECONDS:
        sentence = f"{words.machine(lease)} is running for you, after {words.length(waited)} in line."
        yield Wanted(lease["user"], lease["server"], "free", subject("free", number), sentence)
    if ends_at is None:
        return
    # A session of ten minutes is not told of its end as it begins; the end of a budget comes unforeseen.
    is_session = lease["ends_because"] != "budget"
    if ends_at - now <= (min(END_SECONDS, (ends_at - granted_at) / 2) if is_session else END_SECONDS):
        yield _end(lease, now)


def _end(lease: State, now: float) -> Wanted:
    ends_at = lease["ends_at"]
    at = words.clock(ends_at, now)
    if lease["ends_because"] == "budget":
        kind, because = "budget", f"{words.machine(lease)} stops at {at}, because the budget is used up."
    else:
        kind, because = "end", f"{words.machine(lease)} stops at {at}: the session ends."
    latest = lease["latest_end"]
    more = " It can be extended." if latest is None or latest > ends_at else ""
    return Wanted(
        user=lease["user"],
        server=lease["server"],
        kind=kind,
        subject=subject("end", lease["id"], f"{ends_at:.0f}"),
        sentence=f"{because} Save your work.{more if kind == 'end' else ''}",
        due_at=ends_at,
    )


def _lost(lease: State, gpu: State) -> Wanted:
    sentence = f"A GPU of {words.machine(lease)} is lost: {gpu['reason']}"
    sentence += " Save your work, then stop the machine."
    about = subject("lost", lease["id"], gpu["uuid"])
    return Wanted(lease["user"], lease["server"], "lost", about, sentence)


def of_budgets(user: str, budgets: Iterable[Spent]) -> Iterator[Wanted]:
    """What a user is to know of the budgets that hold for them."""
    for spent in budgets:
        level = next((level for level in _BUDGET_LEVELS if spent.share * 100 >= level), None)
        if level is None:
            continue
        about = subject("budget", level, f"{spent.term.end:.0f}", spent.rule.number, user)
        yield Wanted(user, None, "budget", about, spent.sentence() if level == 100 else _much_used(spent))


def _much_used(spent: Spent) -> str:
    whose = f"the budget of {spent.who} together" if spent.rule.together else "your budget"
    amounts = f"{spent.used:,.1f} of {spent.limit:,.1f} {spent.unit_words}".rstrip()
    return f"{100 * spent.share:.0f} % of {whose} for {spent.term.name} are used: {amounts}."


def over(notices: Iterable[Notice], state: State) -> list[Notice]:
    """Those of the notices whose words are no longer true."""
    leases = {str(lease["id"]): lease for lease in state["leases"]}
    lost = {gpu["uuid"] for gpu in state["gpus"] if gpu["state"] == "lost"}
    return [notice for notice in notices if _is_over(notice, leases, lost)]


def _is_over(notice: Notice, leases: Mapping[str, State], lost: Collection[str]) -> bool:
    first, number, *rest = notice.subject.split(" ")
    if first not in OF_LEASE:
        return False  # a budget's: see `Notices.tell_budgets`
    lease = leases.get(number)
    if lease is None:
        return True
    if first == "end":
        return lease["ends_at"] is None or f"{lease['ends_at']:.0f}" != rest[0]
    return first == "lost" and rest[0] not in lost


class Notices:
    """All open notices. ``on_told`` and ``on_closed`` are called with each; they must not block."""

    budget_seconds = 60.0

    def __init__(self, store: Store, live: Live) -> None:
        self._store, self._live = store, live
        self._open: dict[int, Notice] = {}
        self._told: dict[str, None] = {}
        self._closed: dict[int, Notice] = {}
        self._changed = asyncio.Event()
        self.on_told: list[Callable[[Notice], None]] = []
        self.on_closed: list[Callable[[Notice], None]] = []
        live.on_state(lambda before, after: self._changed.set())

    async def load(self) -> None:
        """Know what was told before this process."""
        self._open = {notice.id: notice for notice in await self._store.run(self._store.open_notices)}
        closed = await self._store.run(self._store.closed_since, time.time() - _CLOSED_SECONDS)
        self._closed = {notice.id: notice for notice in closed}
        since = time.time() - _REMEMBER_SECONDS
        self._told = dict.fromkeys(await self._store.run(self._store.told_since, since))
        self._told |= dict.fromkeys(notice.subject for notice in self._open.values())

    def open(self, user: str | None = None, server: str | None = None) -> list[Notice]:
        """Open notices, the oldest first: all, a user's, or those that concern one of a user's servers."""
        return [
            notice
            for notice in self._open.values()
            if (user is None or notice.user == user)
            and (server is None or notice.server is None or notice.server == server)
        ]

    def lately_closed(self, user: str) -> list[Notice]:
        """A user's notices that were closed within a day: who did not listen then may still show them."""
        return [notice for notice in self._closed.values() if notice.user == user]

    def find(self, number: int) -> Notice | None:
        """An open notice."""
        return self._open.get(number)

    async def tell(self, told: Wanted, now: float) -> Notice | None:
        """Tell it; None where that has been done before."""
        if told.subject in self._told:
            return None
        self._told[told.subject] = None
        if len(self._told) > _MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        try:
            columns = {**asdict(told), "told_at": now}
            notice = await self._store.run(lambda: self._store.add_notice(**columns))
        except BaseException:
            self._told.pop(told.subject, None)
            raise
        if notice is not None:
            self._open[notice.id] = notice
            for listener in list(self.on_told):
                listener(notice)
        return notice

    async def close(self, number: int) -> None:
        """It is seen, dismissed, or no longer true."""
        notice = self._open.pop(number, None)
        if notice is None:
            return
        self._closed[number] = closed = replace(notice, closed_at=time.time())
        for listener in list(self.on_closed):
            listener(closed)
        await self._store.run(lambda: self._store.set_notice(number, closed_at=closed.closed_at))

    async def sent(self, number: int, at: float) -> None:
        """It went out by webhook or e-mail."""
        if number in self._open:
            self._open[number] = replace(self._open[number], sent_at=at)
        await self._store.run(lambda: self._store.set_notice(number, sent_at=at))

    async def run(self) -> None:
        """Tell and close as the hub's state and the time demand."""
        while True:
            if self._live.known.is_set() and self._live.hub_answers:
                await self.look(time.time())
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), _LOOK_SECONDS)
            except TimeoutError:
                pass

    async def tell_budgets(self, read: ReadBudgets) -> None:
        """Tell users of their budgets, again and again; ``read`` blocks (`gpubox.budget.Budgets.of`)."""
        took = 0.0
        while True:
            # A large ledger is asked less often.
            await asyncio.sleep(max(self.budget_seconds, 9 * took))
            began = time.monotonic()
            groups = {lease["user"]: lease["groups"] for lease in self._live.state["leases"]}
            warned = {notice.user for notice in self._open.values() if notice.subject.startswith("budget ")}
            now, known = time.time(), dict[int, Spent]()
            for user in groups.keys() | warned:
                spent = await asyncio.to_thread(read, user, groups.get(user, ()), now, known)
                await self._tell_budgets(user, list(of_budgets(user, spent)), now, user in groups)
            took = time.monotonic() - began

    async def _tell_budgets(self, user: str, told: Sequence[Wanted], now: float, is_whole: bool) -> None:
        """``is_whole``: the user's groups are known, and so are all of their budgets."""
        true_now = {one.subject for one in told}
        for notice in self.open(user):
            first, _, *rest = notice.subject.split(" ")
            if first == "budget" and notice.subject not in true_now and (is_whole or now >= float(rest[0])):
                await self.close(notice.id)
        for one in told:
            await self.tell(one, now)

    def last_told(self, beginning: str) -> float | None:
        """When somebody was last told of a subject that begins so and ends with its time."""
        times = [told.rpartition(" ")[2] for told in self._told if told.startswith(f"{beginning} ")]
        return max(map(float, times), default=None)

    async def look(self, now: float) -> None:
        """Tell what is to be told now, and close what is over."""
        state = self._live.state
        for told in wanted(state, now):
            await self.tell(told, now)
        for notice in over(self._open.values(), state):
            await self.close(notice.id)
        for number, notice in list(self._closed.items()):
            if now - (notice.closed_at or 0.0) > _CLOSED_SECONDS:
                del self._closed[number]
