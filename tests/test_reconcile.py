"""What is repaired when leases and running boxes differ."""

import logging
from types import SimpleNamespace

from gpubox.engines import Box
from gpubox.ledger import Lease
from gpubox.reconcile import AdoptBox, CloseLease, StopBox, decide
from gpubox.upkeep import Upkeep

ALICE = ("alice", "")


def lease(user="alice", server="", id=1):
    return Lease(
        id=id, user=user, server=server, machine="m", gpus=("GPU-1",), requested_at=1.0,
        granted_at=1.0, released_at=None, end_reason=None,
    )  # fmt: skip


def box(user="alice", server="", running=True, unstarted=False):
    return Box("id", f"jupyter-{user}", user, server, "m", running, unstarted, ("GPU-1",))


def kinds(repairs):
    return [type(repair) for repair in repairs]


def test_a_lease_with_its_box_running_is_left_alone():
    assert decide([lease()], [box()], busy=(), claimed={ALICE}) == []


def test_a_lease_whose_box_is_gone_is_closed():
    (repair,) = decide([lease()], [], busy=(), claimed={ALICE})
    assert isinstance(repair, CloseLease) and "alice" in repair.reason


def test_a_box_that_no_server_claims_is_stopped_before_its_lease_is_closed():
    assert kinds(decide([lease()], [box()], busy=(), claimed=())) == [StopBox]
    assert kinds(decide([lease()], [], busy=(), claimed=())) == [CloseLease]


def test_nothing_is_done_to_a_server_that_is_starting_or_stopping():
    assert decide([lease()], [], busy={ALICE}, claimed=()) == []
    assert decide([], [box()], busy={ALICE}, claimed=()) == []
    assert decide([], [box(running=False, unstarted=True)], busy={ALICE}, claimed=()) == []


def test_a_running_server_without_a_lease_is_written_down():
    assert kinds(decide([], [box()], busy=(), claimed={ALICE})) == [AdoptBox]


def test_a_box_that_was_made_and_never_started_is_removed():
    repairs = decide([lease()], [box(running=False, unstarted=True)], busy=(), claimed=())
    assert kinds(repairs) == [StopBox, CloseLease]


def test_a_stopped_box_that_is_kept_is_no_reason_for_anything_but_its_lease():
    assert kinds(decide([lease()], [box(running=False)], busy=(), claimed=())) == [CloseLease]
    assert decide([], [box(running=False)], busy=(), claimed=()) == []


def test_servers_of_one_user_are_told_apart():
    repairs = decide([lease(server="b")], [box(server="a")], busy=(), claimed={("alice", "a")})
    assert kinds(repairs) == [AdoptBox, CloseLease]


class StandIn:
    """In place of a hub and its engine, which tells what ran when it was asked, while a server starts."""

    config, log, spawners = None, logging.getLogger(__name__), list

    def __init__(self):
        self.engines = [SimpleNamespace(for_reconciliation=lambda config: self)]
        self.leases = [lease("ended")]
        self.pool = SimpleNamespace(hub_id="hub", held=lambda: tuple(self.leases))
        self.closed = []

    async def ask(self, question):
        return question()

    async def boxes(self, hub_id):
        self.leases.append(lease("quick", id=2))
        return []

    async def look_after(self, boxes):
        pass

    async def release(self, lease_id, reason):
        self.closed.append(lease_id)


async def test_a_server_that_starts_while_the_engine_is_asked_keeps_its_lease():
    hub = StandIn()
    assert await Upkeep(hub)._reconcile_once()
    assert hub.closed == [1]
