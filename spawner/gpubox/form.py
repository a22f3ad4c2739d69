"""The options form: machine types as cards, rendered from plain data.

Pure functions. Which figures are true now is ``pool``'s to say, what a choice means ``spawner``'s;
how a card looks is in ``templates/parts``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined

from .engines import KeptMachine
from .inventory import GPU
from .machines import MachineType, counted, duration_words, parse_duration

_MIB_PER_GIB = 1024

_environment = Environment(
    loader=PackageLoader("gpubox", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Figures(Protocol):
    """How many machines of a type there are and wait, as `gpubox.outlook.Availability` tells it."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def in_use(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def problem(self) -> str: ...


@dataclass(frozen=True)
class Card:
    """One machine type as the form shows it.

    ``free``, ``in_use`` and ``total`` count machines of this type, ``waiting`` the people in line
    for one. ``disabled_reason`` is empty for a type that the user may start. ``notice`` is a
    sentence about its GPUs that the user should know before waiting for one. ``contents`` says what
    is in its image: ``PyTorch 2.6, JAX 0.7``.
    """

    name: str
    title: str
    description: str = ""
    spec_lines: tuple[str, ...] = ()
    price_per_hour: float = 0.0
    free: int = 0
    in_use: int = 0
    total: int = 0
    waiting: int = 0
    disabled_reason: str = ""
    notice: str = ""
    time_limit_seconds: int | None = None
    contents: str = ""
    has_gpu: bool = True
    persistent: bool = False
    engine: str = ""

    @property
    def state(self) -> str:
        """``off`` (may not be started), ``free`` (starts at once) or ``line`` (starts in its turn)."""
        if self.disabled_reason:
            return "off"
        if not self.has_gpu or (self.free > 0 and self.waiting == 0):
            return "free"
        return "line"

    @property
    def status(self) -> str:
        """The live figures in words: ``3 of 8 free``, ``All 8 in use, 3 in line``."""
        if self.disabled_reason:
            return self.disabled_reason
        if not self.has_gpu:
            return "Free"
        if self.free > 0:
            free = f"{self.free} of {self.total} free"
            return f"{free}, {self.waiting} in line" if self.waiting else free
        line = f"{self.waiting} in line" if self.waiting else "nobody in line"
        return f"{_all_in_use(self.total)}, {line}"


def cards(
    machines: Sequence[MachineType],
    availability: Mapping[str, Figures],
    groups: Iterable[str],
    gpus: Sequence[GPU] = (),
    contents: Mapping[str, str] | None = None,
    longest: Mapping[str, float | None] | None = None,
) -> tuple[Card, ...]:
    """The cards of all machine types, for a member of ``groups``.

    ``availability``, ``contents`` (what is in the image) and ``longest`` (for how many seconds they may
    have one; None for no bound) are by the machine type's name; ``gpus``, where given, tell the memory.
    """
    member_of = frozenset(groups)
    bounded = [_bounded(machine, longest or {}) for machine in machines]
    return tuple(
        replace(
            _card(machine, availability[machine.name], member_of, gpus),
            contents=(contents or {}).get(machine.name, ""),
        )
        for machine in bounded
    )


def _bounded(machine: MachineType, longest: Mapping[str, float | None]) -> MachineType:
    bound = longest.get(machine.name, machine.time_limit_seconds)
    return replace(machine, time_limit_seconds=None if bound is None else int(bound))


@dataclass(frozen=True)
class Session:
    """A length of session to choose: its name for the API (``6h``), its seconds, and words."""

    name: str
    seconds: int
    words: str


def sessions(choices: Iterable[str], cards: Sequence[Card]) -> tuple[str, tuple[Session, ...]]:
    """Words for a session of no chosen length, and the lengths that at least one of the cards allows."""
    limits = [card.time_limit_seconds for card in cards if not card.disabled_reason]
    if not limits or None not in limits:
        longest: float = max((limit or 0 for limit in limits), default=0)
        unchosen = "The machine's limit"
    else:
        longest = math.inf
        unchosen = "Never" if not any(limits) else "Never, or the machine's limit"
    lengths = ((name, parse_duration(name)) for name in choices if name != "never")
    return unchosen, tuple(
        Session(name, seconds, duration_words(seconds)) for name, seconds in lengths if seconds <= longest
    )


@dataclass(frozen=True)
class Choice:
    """A template's version to start from: ``ada/torch-lab:2``, what it is called, its note, and whose, from
    what, how large and when."""

    reference: str
    title: str
    note: str
    facts: str
    mine: bool
    engine: str = ""

    @property
    def words(self) -> str:
        """All of it in one line."""
        return " · ".join(part for part in (self.title, self.note, self.facts) if part)


def template_choices(templates: Iterable[Mapping[str, Any]]) -> tuple[Choice, ...]:
    """What may be started of templates, as `gpubox.machine_templates.rights.seen_by` tells them.

    Own ones first, of each the newest version first.
    """
    found = [
        _choice(one, version)
        for one in templates
        for version in reversed(one["versions"])
        if version["number"] in one["startable"]
    ]
    return tuple(sorted(found, key=lambda choice: not choice.mine))


def _choice(template: Mapping[str, Any], version: Mapping[str, Any]) -> Choice:
    saved = datetime.fromtimestamp(version["saved_at"]).strftime("%d %b %Y")
    mine: bool = template["mine"]
    facts = ["" if mine else f"by {template['owner']}"]
    size, base = size_words(version["size_bytes"]), version["base"]
    made = f"virtual machine, {size}, made from {base}" if version["engine"] else f"{size} more than {base}"
    facts += [made, f"saved {saved}"]
    return Choice(
        reference=f"{template['reference']}:{version['number']}",
        title=f"{template['name'] if mine else template['reference']}, version {version['number']}",
        note=template["note"],
        facts=" · ".join(filter(None, facts)),
        mine=mine,
        engine=version["engine"],
    )


def size_words(size_bytes: int) -> str:
    """``1.4 GB``, ``12 MB``."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{max(1, round(size_bytes / 1e6))} MB"


def common_contents(cards: Sequence[Card]) -> str:
    """What is in the image of every machine, where that is the same for all; else empty."""
    different = {card.contents for card in cards}
    return different.pop() if len(different) == 1 else ""


def render_options_form(
    cards: Sequence[Card],
    *,
    images: Sequence[str],
    currency: str,
    selected: str,
    shutdown_choices: Sequence[str] = (),
    templates: Sequence[Choice] = (),
    template: str = "",
    kept: Sequence[KeptMachine] = (),
) -> str:
    """The form's fields as HTML: radio ``machine``; where there is something to choose, selects ``template``,
    ``image`` and ``shutdown``. ``template`` is the one to begin with. Where machines are ``kept`` (a
    container and a virtual machine may be), radio ``fresh``, which gives one up by its key.

    ``selected`` is the machine type to begin with; where it cannot be started, the first that is
    free, else the first that can be waited for.
    """
    unchosen, lengths = sessions(shutdown_choices, cards)
    return _environment.get_template("parts/machines.html").render(
        unchosen=unchosen,
        sessions=lengths,
        templates=templates,
        template=template,
        cards=cards,
        images=images,
        checked=_first_choice(cards, selected),
        kept=[(machine, kept_words(machine)) for machine in kept],
        common_contents=common_contents(cards),
        price=lambda card: price_words(card.price_per_hour, currency),
    )


def kept_words(machine: KeptMachine) -> str:
    """Since when a machine is kept, how much was changed in it, and whether its image is old."""
    since = datetime.fromtimestamp(machine.since).strftime("%d %b %Y, %H:%M")
    facts = [f"Kept since {since}"]
    if machine.size_bytes is not None:
        facts.append(f"{size_words(machine.size_bytes)} changed")
    if machine.is_old:
        facts.append("made from an older image than the one of today")
    return " · ".join(facts)


def price_words(per_hour: float, currency: str) -> str:
    """``$2.50`` or ``EUR 2.50``; empty for what costs nothing."""
    if not per_hour:
        return ""
    decimals = 2 if per_hour >= 0.01 else 4
    gap = " " if currency[-1:].isalpha() else ""
    return f"{currency}{gap}{per_hour:,.{decimals}f}"


def _first_choice(cards: Sequence[Card], selected: str) -> str:
    startable = [card for card in cards if card.state != "off"]
    preferred = [card for card in startable if card.name == selected]
    free = [card for card in startable if card.state == "free"]
    for card in preferred + free + startable:
        return card.name
    return ""


def _card(machine: MachineType, figures: Figures, groups: frozenset[str], gpus: Sequence[GPU]) -> Card:
    return Card(
        name=machine.name,
        title=machine.title,
        description=machine.description,
        spec_lines=_spec_lines(machine, gpus),
        price_per_hour=machine.price_per_hour,
        free=figures.free,
        in_use=figures.in_use,
        total=figures.total,
        waiting=figures.waiting,
        disabled_reason=_disabled_reason(machine, figures, groups),
        notice=figures.problem,
        time_limit_seconds=machine.time_limit_seconds,
        has_gpu=machine.count > 0,
        persistent=machine.persistent or bool(machine.engine),
        engine=machine.engine,
    )


def _disabled_reason(machine: MachineType, figures: Figures, groups: frozenset[str]) -> str:
    if not machine.allows(groups):
        return f"For members of: {', '.join(sorted(machine.groups))}"
    if machine.count and not figures.total:
        return figures.problem or "No such GPU here"
    return ""


def _spec_lines(machine: MachineType, gpus: Sequence[GPU]) -> tuple[str, ...]:
    lines = [
        _gpu_line(machine, gpus),
        " · ".join(
            part
            for part in (
                machine.cpus and counted(machine.cpus, "CPU"),
                machine.memory_mib and f"{_gib(machine.memory_mib)} memory",
            )
            if part
        ),
        machine.disk,
        machine.persistent and "Kept as you leave it",
        machine.engine and "Virtual machine: it stays as you leave it, and you are its root",
        machine.time_limit_seconds and f"Stops after {duration_words(machine.time_limit_seconds)}",
    ]
    return tuple(line for line in lines if line)


def _gpu_line(machine: MachineType, gpus: Sequence[GPU]) -> str:
    if machine.count == 0:
        return "No GPU"
    if machine.vgpu:
        return f"vGPU {machine.vgpu}, up to {machine.slots_per_gpu} on a GPU"  # its memory is not the card's
    if machine.is_function:
        return f"1 of {machine.slots_per_gpu} virtual functions of a GPU"
    if machine.mig_profile:
        number = f"{machine.count} " if machine.count > 1 else ""
        amount = f"{number}{machine.mig_profile} slice{'s' if number else ''}"
    elif machine.slots_per_gpu > 1:
        amount = f"1 GPU, shared by up to {machine.slots_per_gpu}"
    else:
        amount = counted(machine.count, "GPU")
    sizes = sorted({gpu.memory_mib for gpu in gpus if machine.matches(gpu) and gpu.memory_mib})
    if not sizes:
        return amount
    memory = _gib(sizes[0]) if len(sizes) == 1 else f"{_gib(sizes[0])} to {_gib(sizes[-1])}"
    return f"{amount} · {memory}{' each' if machine.count > 1 else ''}"


def _gib(mib: int) -> str:
    if mib < _MIB_PER_GIB:
        return f"{mib} MB"
    return f"{round(mib / _MIB_PER_GIB)} GB"


def _all_in_use(total: int) -> str:
    return {1: "In use", 2: "Both in use"}.get(total, f"All {total} in use")
