"""Whose process it is: the driver's pids mapped to kernels, terminals and this Jupyter server.

Which pids are kernels and terminals is told by `jupyter_processes`, what processes there are by `procfs`.
The driver tells pids of the caller's namespace, or of the host's if it is an older one. `_translate` finds
out which, the hub's host helper (`host_pids`) translates, and without one `guess` estimates.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from . import host_pids
from .guess import Guess, Guesses, Holder, by, guess, sums
from .procfs import Procfs, Stat, cards_of
from .records import GPU, Owner, Process, ProcessList, Use

SERVER = Owner("server", name="Jupyter server")
AMBIGUOUS = (
    "Several of your programs have the GPU open, and the driver does not tell which of them uses how much."
    " Shut down the kernels that you no longer need, and it shows."
)
Ask = Callable[[Collection[int]], Mapping[int, int] | None]


class Owners:
    """Finds the owners of GPU processes; calls block, so make them in a thread, one at a time.

    ``known`` gives the pids of kernels and terminals as they are now. The rest is for tests: where
    processes are read, who is asked for host pids, and where device nodes are.
    """

    def __init__(
        self,
        known: Callable[[], Mapping[int, Owner]],
        *,
        proc: Procfs | None = None,
        ask: Ask = host_pids.ask,
        dev: Path | str = "/dev",
    ) -> None:
        self._known = known
        self._proc = proc or Procfs()
        self._ask = ask
        self._dev = dev
        # Processes that were once seen with a GPU open, by pid and start: they need no second look.
        self._users: set[tuple[int, int]] = set()

    def processes(self, uses: Sequence[Use], gpus: Sequence[GPU]) -> ProcessList:
        """Who uses the GPUs, given what the driver said. Never raises for what /proc does not tell."""
        now = time.time()
        if not uses:
            return ProcessList(now)
        look = _Look(self._proc, self._known(), self._users)
        here = self._translate(uses, look)
        found = self._guessed(uses, gpus, look) if here is None else _owned(uses, here, look)
        self._users = look.users
        message = AMBIGUOUS if any(one.owner.kind == "unknown" for one in found.ours) else ""
        named = [look.process(one, is_estimated=here is None) for one in found.ours]
        return ProcessList(now, named, found.others, message)

    def _translate(self, uses: Sequence[Use], look: _Look) -> Mapping[int, int] | None:
        """What the driver's pids are here, without those of somebody else; None where it cannot be told."""
        told = {use.pid for use in uses}
        if self._proc.is_of_the_host():
            return {pid: pid for pid in told}
        # A host pid may be the number of some process here, but hardly of one that has a GPU open.
        ours = {pid: pid for pid in told if look.has_gpu(pid)}
        if len(ours) == len(told):
            return ours
        answer = self._ask(told)
        if answer is None:
            return ours or None
        translated = {host: here for host, here in answer.items() if look.may_have_gpu(here)}
        # A driver that gives host pids gives nothing else.
        return translated or ours

    def _guessed(self, uses: Sequence[Use], gpus: Sequence[GPU], look: _Look) -> Guesses:
        """Estimates, card by card: a device is a card's, whatever slices it is cut into."""
        holders = look.holders()
        devices = self._devices(gpus)
        cards = {gpu.id: gpu.parent or gpu.id for gpu in gpus}
        all_of_them = Guesses()
        for card, some in by(lambda use: cards.get(use.gpu, use.gpu), uses).items():
            device = devices.get(card)
            found = guess(some, [one for one, held in holders if device is None or device in held])
            all_of_them.ours += found.ours
            all_of_them.others += found.others
        return all_of_them

    def _devices(self, gpus: Sequence[GPU]) -> Mapping[str, str]:
        """The device of each card that is known."""
        told = self._proc.card_devices()
        if told:
            return told
        try:
            nodes = [name for name in os.listdir(self._dev) if re.fullmatch(r"nvidia\d+", name)]
        except OSError:
            return {}
        ordered = sorted(gpus, key=lambda gpu: gpu.index)
        cards = list(dict.fromkeys(gpu.parent or gpu.id for gpu in ordered))
        nodes.sort(key=lambda name: int(name.removeprefix("nvidia")))
        return dict(zip(cards, nodes, strict=True)) if len(cards) == len(nodes) else {}


def _owned(uses: Sequence[Use], here: Mapping[int, int], look: _Look) -> Guesses:
    """The uses whose process is known, by owner; all that is not ours as a sum."""
    ours, others = [], []
    for use in uses:
        pid = here.get(use.pid)
        owner = None if pid is None else look.owner(pid)
        if owner is None:
            others.append(use)
        else:
            ours.append(Guess(use, pid, owner))
    return Guesses(ours, sums(others))


class _Look:
    """What was found out of processes within one call: nothing is read twice."""

    def __init__(self, proc: Procfs, known: Mapping[int, Owner], users: Collection[tuple[int, int]]) -> None:
        self._proc = proc
        self._known = known
        self._is_box = proc.is_a_box()
        self._before = users
        self.users: set[tuple[int, int]] = set()
        self._stats: dict[int, Stat | None] = {}

    def process(self, one: Guess, *, is_estimated: bool) -> Process:
        pid, name = one.use.pid, ""
        if one.pid is not None:
            pid, name = one.pid, self._proc.name(one.pid)
        return Process(one.use.gpu, pid, name, one.use.memory_mib, one.owner, is_estimated)

    def owner(self, pid: int) -> Owner | None:
        """The kernel or terminal that it comes from, else the server; None if it is not ours."""
        seen = False
        for ancestor in self._line(pid):
            seen = True
            if ancestor in self._known:
                return self._known[ancestor]
            if ancestor == self._proc.own:
                return SERVER
        # In a box: what was started with nohup and left by its terminal, or came in by `docker exec`.
        return SERVER if seen and self._is_box else None

    def has_gpu(self, pid: int) -> bool:
        """Whether it was seen to have a GPU open, now or before."""
        stat = self._stat(pid)
        if stat is None:
            return False
        if (pid, stat.started) in self._before or self._proc.devices(pid):
            self.users.add((pid, stat.started))
            return True
        return False

    def may_have_gpu(self, pid: int) -> bool:
        """The same, the doubt in favour of another user's, which cannot be looked into."""
        return self._stat(pid) is not None and (self.has_gpu(pid) or self._proc.devices(pid) is None)

    def holders(self) -> list[tuple[Holder, frozenset[str]]]:
        """Our processes that have a card open, with which cards."""
        held = {}
        for pid in self._proc.pids():
            # The server itself reads the figures: it has all cards open.
            if pid != self._proc.own and (devices := self._proc.devices(pid)):
                held[pid] = devices
        # Who computes has the unified memory open, too; a monitor such as nvitop has not.
        computing = {pid: devices for pid, devices in held.items() if "nvidia-uvm" in devices}
        found = []
        for pid, devices in (computing or held).items():
            owner, stat = self.owner(pid), self._stat(pid)
            if owner is None or stat is None:
                continue
            inherits = any(ancestor in held for ancestor in list(self._line(pid))[1:])
            found.append((Holder(pid, stat.started, owner, inherits), cards_of(devices)))
        return found

    def _line(self, pid: int) -> Iterator[int]:
        """The process, its parent, and so on."""
        seen = set()
        while pid > 0 and pid not in seen and (stat := self._stat(pid)) is not None:
            yield pid
            seen.add(pid)
            pid = stat.parent

    def _stat(self, pid: int) -> Stat | None:
        if pid not in self._stats:
            self._stats[pid] = self._proc.stat(pid)
        return self._stats[pid]
