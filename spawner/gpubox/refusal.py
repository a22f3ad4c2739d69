"""What cannot be, said at once: the sentences for requests that no waiting would meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .budget import Spent
from .fleet import Fleet
from .machines import MachineType
from .placement import Card
from .rules import Rule, rule_for, rules_together


class PoolRefusal(Exception):
    """A request that cannot be met, now or ever; str() is the sentence for the user.

    ``reason`` is one word for programs: no_such_gpu, too_many, out_of_service, over_quota, over_budget,
    too_long, clearing, not_held, not_waiting.
    """

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def shortage(machine: MachineType, cards: Sequence[Card]) -> str:
    """A sentence where not all GPUs of the type (``cards``) serve; empty where they do."""
    if not cards:
        return "No such GPU here"
    out = [card for card in cards if not card.in_service]
    if not out:
        if len(cards) < machine.count:
            return f"Only {len(cards)} such GPU{'s' if len(cards) > 1 else ''} here"
        return ""
    reason = out[0].gpu.problem or f"Taken out of service: {out[0].drain_reason}"
    return f"{len(out)} of {len(cards)} GPUs out of service. {_sentence(reason)}"


def _sentence(words: str) -> str:
    """A reason as someone wrote it, so that another sentence can follow it."""
    return words if words.endswith((".", "!", "?")) else f"{words}."


def refuse_what_cannot_be(machine: MachineType, fleet: Fleet) -> None:
    """Raise PoolRefusal where the GPUs that there are can never make such a machine."""
    cards = fleet.matching(machine)
    if machine.count == 0 or fleet.in_service(machine) >= machine.count:
        return
    if not cards:
        kinds = sorted({card.gpu.model for card in fleet.cards.values()})
        here = f"There are: {', '.join(kinds)}." if kinds else "No GPU was found at all."
        of_slices = f" with a {machine.mig_profile} slice" if machine.mig_profile else ""
        raise PoolRefusal(
            f"No {machine.gpu or 'GPU'}{of_slices} is in this machine, so"
            f" {machine.title} cannot start. {here} Choose another machine type.",
            "no_such_gpu",
        )
    if len(cards) < machine.count:
        raise PoolRefusal(
            f"{machine.title} needs {machine.count} GPUs and there are only {len(cards)} such."
            " Choose a smaller machine type.",
            "too_many",
        )
    raise PoolRefusal(
        f"{machine.title} cannot start: {shortage(machine, cards)}"
        " Choose another machine type, or ask the admin.",
        "out_of_service",
    )


@dataclass(frozen=True)
class Claim:
    """What a machine that is held or waited for counts for: its user, then, and its GPUs as a share."""

    user: str
    groups: tuple[str, ...]
    gpus: float
    is_waiting: bool


@dataclass(frozen=True)
class Quota:
    """One kind of limit: which field of a rule, what a machine counts for, and the words."""

    limit: Callable[[Rule], float | None]
    of: Callable[[Claim], float]
    have: str
    noun: str
    remedy: str
    too_large: str = ""


QUOTAS = (
    Quota(
        lambda rule: rule.gpus,
        lambda claim: claim.gpus,
        "hold or wait for",
        "GPU",
        "Stop one of your machines first, or choose a smaller one.",
        "This machine takes {} and the limit is {:g}. Choose a smaller one.",
    ),
    Quota(lambda rule: rule.servers, lambda claim: 1, "have", "machine", "Stop one of them first."),
    Quota(
        lambda rule: rule.waiting,
        lambda claim: float(claim.is_waiting),
        "have",
        "place in line|places in line",
        "Leave one of those places, or wait until you are served.",
    ),
)


def refuse_over_quota(rules: Sequence[Rule], new: Claim, others: Sequence[Claim]) -> None:
    """Raise PoolRefusal where a rule's limit would be passed with ``new`` beside the ``others``.

    ``others`` are all machines that are held or waited for, whoever's.
    """
    for quota in QUOTAS:
        if not quota.of(new):
            continue
        if (rule := rule_for(rules, new.user, new.groups, quota.limit)) is not None:
            own = sum(quota.of(one) for one in others if one.user == new.user)
            _refuse(quota, rule, own, quota.of(new), "You")
        for rule in rules_together(rules, new.user, new.groups, quota.limit):
            all_of_them = sum(quota.of(one) for one in others if rule.concerns(one.user, one.groups))
            _refuse(quota, rule, all_of_them, quota.of(new), f"All of {rule.who} together")


def _refuse(quota: Quota, rule: Rule, has: float, more: float, who: str) -> None:
    most = quota.limit(rule)
    assert most is not None
    if has + more <= most + 1e-9:
        return
    if more > most and quota.too_large:
        sentence = quota.too_large.format(_counted(more, quota.noun), most)
    else:
        counted = _counted(has, quota.noun)
        sentence = f"{who} {quota.have} {counted} and the limit is {most:g}. {quota.remedy}"
    raise PoolRefusal(f"{sentence}{in_words(rule)}", "over_quota")


def _counted(number: float, noun: str) -> str:
    one, _, more = noun.partition("|")
    return f"{number:g} {one if number == 1 else more or one + 's'}"


def refuse_over_budget(spent: Spent | None) -> None:
    """Raise PoolRefusal where a budget is used up."""
    if spent is not None:
        raise PoolRefusal(f"{spent.sentence()}{in_words(spent.rule)}", "over_budget")


def in_words(rule: Rule | None) -> str:
    """A rule's own words, to be added to a sentence; empty where it has none."""
    return f" {rule.words}" if rule is not None and rule.words else ""
