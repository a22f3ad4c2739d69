"""Which of our processes use a card, when the driver tells pids that mean nothing here.

A pure decision over who holds the card's device open. What is decided so is an estimate, and said to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .records import Others, Owner, Use

UNKNOWN = Owner("unknown")


@dataclass(frozen=True)
class Holder:
    """A process of ours that holds a card open. ``inherits``: so does one that it descends from."""

    pid: int
    started: int
    owner: Owner
    inherits: bool = False


@dataclass(frozen=True)
class Guess:
    """A use of a GPU, or one owner's uses together. ``pid`` is None where it cannot be told."""

    use: Use
    pid: int | None
    owner: Owner


@dataclass
class Guesses:
    """What is thought of one card's uses."""

    ours: list[Guess] = field(default_factory=list)
    others: list[Others] = field(default_factory=list)


def guess(uses: Sequence[Use], holders: Sequence[Holder]) -> Guesses:
    """Whose the uses of one card (and of its slices) are.

    - Nobody of ours holds it: they are others'.
    - As many of ours hold it as use it, children that inherited their parent's files left out or not:
      they are paired in order, since pids rise with time in every namespace.
    - More use it than we hold: the surplus is others'. Which, and so who has how much, is not known.
    - All that hold it have one owner: it is theirs, as a sum under their first process.
    - Else it is ours, and whose is unknown.
    """
    if not holders:
        return Guesses(others=sums(uses))
    holders = sorted(holders, key=lambda holder: (holder.started, holder.pid))
    pids = sorted({use.pid for use in uses})
    first = [holder for holder in holders if not holder.inherits]
    for some in (first, holders):
        if len(some) == len(pids):
            meant = dict(zip(pids, some, strict=True))
            return Guesses([Guess(use, meant[use.pid].pid, meant[use.pid].owner) for use in uses])
    if len(pids) > len(holders):
        return _some_ours(uses, first)
    if len({holder.owner for holder in holders}) == 1:
        return Guesses([Guess(use, holders[0].pid, holders[0].owner) for use in _summed(uses)])
    return Guesses([Guess(use, None, UNKNOWN) for use in uses])


def _some_ours(uses: Sequence[Use], ours: Sequence[Holder]) -> Guesses:
    """More uses than holders. Slices of one card are told apart by the driver alone: all go to the first."""
    gpu = uses[0].gpu
    others = len({use.pid for use in uses}) - len(ours)
    return Guesses(
        [Guess(Use(gpu, holder.pid, None), holder.pid, holder.owner) for holder in ours],
        [Others(gpu, others, None)],
    )


def sums(uses: Sequence[Use]) -> list[Others]:
    """The uses of others, summed up GPU by GPU."""
    return [Others(gpu, len(some), total(some)) for gpu, some in by(lambda use: use.gpu, uses).items()]


def total(uses: Sequence[Use]) -> int | None:
    """The memory of all; None where the driver does not say it of every one."""
    memory = [use.memory_mib for use in uses]
    return None if None in memory else sum(filter(None, memory))


def by(key: Callable[[Use], str], uses: Sequence[Use]) -> Mapping[str, list[Use]]:
    """The uses in groups."""
    groups: dict[str, list[Use]] = {}
    for use in uses:
        groups.setdefault(key(use), []).append(use)
    return groups


def _summed(uses: Sequence[Use]) -> list[Use]:
    groups = by(lambda use: use.gpu, uses).values()
    return [Use(some[0].gpu, some[0].pid, total(some)) for some in groups]
