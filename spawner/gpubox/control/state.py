"""The hub's state as one JSON document: GPUs, open leases, the line, machine types. (`Desk` adds templates.)

Read on the pool's thread, out of its memory; times are Unix seconds. What a viewer may see of it is the
service's to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ..ledger import Lease
from ..machines import MachineType
from ..pool import GPUPool

State = dict[str, Any]
IdleLimits = Callable[[MachineType], tuple[float | None, float | None]]


def read(
    pool: GPUPool,
    machines: Sequence[MachineType],
    *,
    idle_limits: IdleLimits,
    ready: Collection[tuple[str, str]],
    currency: str,
) -> State:
    """The whole state, less what tells one run of the hub from another (``feed`` adds that).

    ``ready`` are the servers (user, server name) that can be used already.
    """
    tickets = pool.waiting()
    return {
        "hub": pool.hub_id,
        "currency": currency,
        "gpus": _gpus(pool),
        "leases": [_lease(pool, lease, (lease.user, lease.server) in ready) for lease in pool.open_leases()],
        "line": sorted(
            (_place(pool, ticket) for ticket in tickets), key=lambda one: (one["position"], one["lease"])
        ),
        "machines": [_machine(pool, machine, idle_limits) for machine in machines],
    }


def _gpus(pool: GPUPool) -> list[State]:
    states = pool.gpu_states()
    return [
        {
            "uuid": card.gpu.uuid,
            "index": card.gpu.index,
            "model": card.gpu.model,
            "memory_mib": card.gpu.memory_mib,
            "mig_profile": card.gpu.mig_profile,
            "parent": card.gpu.parent,
            "state": states[card.gpu.uuid].state,
            "reason": states[card.gpu.uuid].reason,
            "slots": card.slots,
            "holders": [
                {"lease": lease, "slots": sorted(slot for slot, one in card.holders.items() if one == lease)}
                for lease in states[card.gpu.uuid].holders
            ],
        }
        for card in sorted(pool.cards(), key=lambda card: (card.gpu.index, card.gpu.uuid))
    ]


def _lease(pool: GPUPool, lease: Lease, is_ready: bool) -> State:
    terms = pool.terms(lease)
    return {
        "id": lease.id,
        "user": lease.user,
        "server": lease.server,
        "machine": lease.machine,
        "title": terms.title,
        "groups": list(terms.groups),
        "gpus": list(lease.gpus),
        "share": terms.share,
        "price_per_hour": terms.price_per_hour,
        "requested_at": lease.requested_at,
        "granted_at": lease.granted_at,
        "ends_at": lease.ends_at,
        "ends_because": lease.ends_because,
        "latest_end": pool.latest_end(lease),
        "rank": lease.rank,
        "is_ready": is_ready,
    }


def _place(pool: GPUPool, ticket: Lease) -> State:
    place = pool.place(ticket.id)
    expected = None
    if place.estimate_seconds is not None:
        # Whole minutes: an estimate that creeps is no news.
        expected = round((pool.clock() + place.estimate_seconds) / 60) * 60
    return {
        "lease": ticket.id,
        "position": place.position,
        "waiting": place.waiting,
        "expected_at": expected,
        "basis": place.basis,
        "blocked": place.blocked,
    }


def _machine(pool: GPUPool, machine: MachineType, idle_limits: IdleLimits) -> State:
    figures = pool.availability(machine)
    idle, gpu_idle = idle_limits(machine)
    return {
        "name": machine.name,
        "title": machine.title,
        "count": machine.count,
        "share": machine.gpu_share,
        "gpu_words": machine.gpu_words,
        "total": figures.total,
        "free": figures.free,
        "in_use": figures.in_use,
        "waiting": figures.waiting,
        "problem": figures.problem,
        "price_per_hour": machine.price_per_hour,
        "time_limit_seconds": machine.time_limit_seconds,
        "idle_seconds": idle,
        "gpu_idle_seconds": gpu_idle,
        "gpus": [card.gpu.uuid for card in pool.cards() if machine.matches(card.gpu)],
    }
