"""What is repaired when leases and running boxes differ."""

from gpubox.engines import Box
from gpubox.ledger import Lease
from gpubox.reconcile import AdoptBox, CloseLease, StopBox, decide

ALICE = ("alice", "")


def lease(user="alice", server=""):
    return Lease(
        id=1, user=user, server=server, machine="m", gpus=("GPU-1",), requested_at=1.0,
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
