"""The pool's promises, one by one; what holds in any order of events is in test_pool_properties."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from gpubox import db as tables
from gpubox.db import open_database
from gpubox.inventory import GPU
from gpubox.machines import parse_machine_types
from gpubox.outlook import Availability
from gpubox.pool import GPUPool
from gpubox.refusal import PoolRefusal
from gpubox.rules import parse_rules

CPU, ONE, FOUR, QUARTER, A100 = parse_machine_types(
    [
        {"name": "cpu", "title": "CPU"},
        {"name": "one", "title": "1x H100", "gpu": "H100", "time_limit": "2h"},
        {"name": "four", "title": "4x H100", "gpu": "H100", "count": 4},
        {"name": "quarter", "title": "Quarter of an H100", "gpu": "H100", "sharing": "shared: 4"},
        {"name": "a100", "title": "1x A100", "gpu": "A100"},
    ]
)
MACHINES = (CPU, ONE, FOUR, QUARTER, A100)
PATIENCE = 1800.0


def h100s(count):
    return [GPU(f"GPU-{number}", "NVIDIA H100 80GB HBM3", 81559, number) for number in range(count)]


class Lab:
    """A pool with a clock that the test turns; `restart` is a new process over the same database."""

    def __init__(self, gpus, machines=MACHINES, **options):
        self.now = 1_000_000.0
        self.db = open_database("sqlite://")
        self.options = options
        self.restart(machines)
        self.pool.refresh(gpus)

    def restart(self, machines=MACHINES):
        self.pool = GPUPool(
            self.db, machines, clock=lambda: self.now, patience_seconds=PATIENCE, **self.options
        )

    def ask(self, user, machine, server=""):
        return self.pool.request(user, server, machine)

    def refusal(self, user, machine, server=""):
        with pytest.raises(PoolRefusal) as refused:
            self.ask(user, machine, server)
        return refused.value

    def users(self, leases):
        return [lease.user for lease in leases]


@pytest.fixture
def lab():
    return Lab(h100s(2))


def test_the_third_user_waits_and_is_served_when_one_stops(lab):
    first, second, third = (lab.ask(user, ONE) for user in ("ann", "bob", "cy"))
    assert first.is_held and second.is_held and first.gpus != second.gpus
    assert third.is_waiting and lab.pool.place(third.id).position == 1

    (served,) = lab.pool.release(first.id, "stopped")
    assert (served.user, served.gpus) == ("cy", first.gpus)


def test_a_cpu_machine_never_waits(lab):
    assert all(lab.ask(f"user-{number}", CPU).is_held for number in range(20))


def test_the_second_click_finds_the_first_ones_lease_and_ticket(lab):
    held = lab.ask("ann", ONE)
    lab.ask("bob", ONE)
    ticket = lab.ask("cy", ONE)
    assert lab.ask("ann", ONE) == held and lab.ask("cy", ONE) == ticket
    assert len(lab.pool.open_leases()) == 3


def test_another_choice_gives_up_the_first_place(lab):
    lab.ask("ann", ONE)
    lab.ask("bob", ONE)
    ticket = lab.ask("cy", ONE)
    assert lab.ask("cy", CPU).is_held
    assert lab.pool.lease(ticket.id).end_reason == "another machine type was chosen"


def test_a_machine_that_is_still_put_away_is_not_exchanged(lab):
    lab.ask("ann", ONE)
    assert lab.refusal("ann", CPU).reason == "clearing"


def test_who_used_gpus_lately_comes_after_who_did_not(lab):
    lab.ask("ann", ONE, "a")
    lab.ask("ann", ONE, "b")
    lab.now += 3600
    lab.ask("ann", ONE, "c")
    lab.now += 10
    lab.ask("bob", ONE)
    assert lab.users(lab.pool.release(lab.pool.held()[0].id, "stopped")) == ["bob"]


def test_small_requests_cannot_starve_a_large_one():
    lab = Lab(h100s(4))
    holders = [lab.ask(f"holder-{number}", ONE) for number in range(4)]
    lab.now += 1
    large = lab.ask("ann", FOUR)
    for round_ in range(1000):
        # Each minute somebody stops and somebody new comes, who has used nothing.
        lab.now += 60
        lab.ask(f"newcomer-{round_}", ONE)
        lab.pool.release(holders.pop(0).id, "stopped")
        holders = [lease for lease in lab.pool.held() if lease.user != "ann"]
        if not lab.pool.lease(large.id).is_waiting:
            break
    assert lab.pool.lease(large.id).is_held
    assert len(lab.pool.lease(large.id).gpus) == 4


def test_gpus_are_not_kept_for_those_who_came_lately():
    lab = Lab(h100s(4))
    lab.ask("holder", ONE)
    lab.ask("ann", FOUR)
    assert lab.ask("bob", ONE).is_held, "three GPUs would idle for a request that has just been made"


def test_nothing_is_kept_for_what_cannot_be():
    lab = Lab(h100s(4))
    lab.ask("holder", ONE)
    lab.ask("ann", FOUR)
    lab.pool.drain("GPU-3", "new fan")
    lab.now += PATIENCE
    assert lab.ask("bob", ONE).is_held


def test_slots_of_a_shared_gpu_are_given_one_by_one_and_clash_with_the_whole():
    lab = Lab(h100s(1))
    quarters = [lab.ask(f"user-{number}", QUARTER) for number in range(4)]
    assert all(lease.is_held for lease in quarters)
    fifth, whole = lab.ask("fifth", QUARTER), lab.ask("whole", ONE)
    assert fifth.is_waiting and whole.is_waiting
    for lease in quarters:
        lab.pool.release(lease.id, "stopped")
    assert lab.users(lab.pool.held()) == ["fifth"] and lab.users(lab.pool.waiting()) == ["whole"]


def test_one_gpu_has_vgpus_of_one_type_at_a_time_also_after_a_restart():
    small, large, quarter = parse_machine_types(
        [
            {"name": "small", "engine": "libvirt", "gpu": "H100", "sharing": "vgpu: 4 x nvidia-63"},
            {"name": "large", "engine": "libvirt", "gpu": "H100", "sharing": "vgpu: 2 x nvidia-64"},
            {"name": "quarter", "gpu": "H100", "sharing": "shared: 4"},
        ]
    )
    lab = Lab(h100s(1), (small, large, quarter))
    first = lab.ask("ann", small)
    lab.restart((small, large, quarter))
    lab.pool.refresh(h100s(1))
    assert lab.ask("bob", small).is_held
    assert lab.ask("cy", large).is_waiting and lab.ask("di", quarter).is_waiting
    assert lab.pool.availability(large) == Availability(total=2, free=0, waiting=1, in_use=2)
    for lease in (first, *[one for one in lab.pool.held() if one.user == "bob"]):
        lab.pool.release(lease.id, "stopped")
    assert lab.users(lab.pool.held()) == ["cy"] and lab.users(lab.pool.waiting()) == ["di"]


def test_a_place_in_line_outlives_a_restart_and_is_taken_up_again(lab):
    lab.ask("ann", ONE)
    lab.ask("bob", ONE)
    lab.now += 1
    first = lab.ask("cy", ONE)
    lab.now += 1
    lab.ask("di", ONE)
    lab.restart()
    lab.pool.refresh(h100s(2))
    assert [lab.pool.place(one.id).position for one in lab.pool.waiting()] == [1, 2]
    lab.ask("di", ONE)
    assert lab.ask("cy", ONE) == first
    assert lab.users(lab.pool.release(lab.pool.held()[0].id, "stopped")) == ["cy"]


def test_nobody_is_served_who_has_not_come_back_and_their_place_ends(lab):
    held = lab.ask("ann", ONE)
    lab.ask("bob", ONE)
    ticket = lab.ask("cy", ONE)
    lab.restart()
    lab.pool.refresh(h100s(2))
    assert lab.pool.release(held.id, "stopped") == ()
    assert lab.pool.expire_places() == () and lab.pool.lease(ticket.id).is_waiting
    lab.now += 3600
    lab.pool.expire_places()
    assert "nobody came back" in lab.pool.lease(ticket.id).end_reason


def test_a_lost_gpu_is_never_handed_out_until_it_is_back(lab):
    zero, one = h100s(2)
    lab.pool.refresh([replace(zero, problem="GPU is lost."), one])
    assert lab.ask("ann", ONE).gpus == ("GPU-1",)
    ticket = lab.ask("bob", ONE)
    assert ticket.is_waiting and lab.pool.gpu_states()["GPU-0"].state == "lost"
    assert lab.users(lab.pool.refresh([zero, one])) == ["bob"]


def test_a_gpu_that_is_added_serves_the_line(lab):
    for user in ("ann", "bob", "cy"):
        lab.ask(user, ONE)
    assert lab.users(lab.pool.refresh(h100s(3))) == ["cy"]


def test_who_holds_a_lost_gpu_keeps_the_lease_until_they_stop(lab):
    lease = lab.ask("ann", ONE)
    lab.pool.refresh(h100s(2)[1:])
    assert lab.pool.lease(lease.id).is_held
    assert lab.pool.gpu_states()["GPU-0"].holders == (lease.id,)
    lab.ask("bob", ONE)
    ticket = lab.ask("cy", ONE)
    lab.pool.release(lease.id, "stopped")
    assert lab.pool.lease(ticket.id).is_waiting


def test_a_drained_gpu_stays_drained_though_it_was_lost_over_a_restart(lab):
    lab.pool.drain("GPU-0", "new fan")
    lab.pool.refresh(h100s(2)[1:])
    lab.restart()
    lab.pool.refresh(h100s(2))
    assert lab.pool.gpu_states()["GPU-0"].state == "drained"
    assert lab.users(lab.pool.undrain("GPU-0")) == []
    assert lab.ask("ann", ONE).gpus == ("GPU-0",)


def test_a_drained_gpu_serves_its_holder_to_the_end_and_then_nobody(lab):
    lease = lab.ask("ann", ONE)
    lab.pool.drain(lease.gpus[0], "new fan")
    assert lab.pool.gpu_states()[lease.gpus[0]].state == "draining"
    lab.pool.release(lease.id, "stopped")
    assert lab.pool.gpu_states()[lease.gpus[0]].state == "drained"
    assert lab.ask("bob", ONE).gpus != lease.gpus


def test_the_reason_of_a_drain_ends_before_what_to_do_begins(lab):
    for gpu in h100s(2):
        lab.pool.drain(gpu.uuid, "new fan")
    with pytest.raises(PoolRefusal, match=r"Taken out of service: new fan\. Choose another"):
        lab.ask("bob", ONE)


@pytest.mark.parametrize(
    ("gpus", "machine", "reason", "words"),
    [
        ([], ONE, "no_such_gpu", "No GPU was found at all"),
        (h100s(2), A100, "no_such_gpu", "There are: NVIDIA H100 80GB HBM3"),
        (h100s(2), FOUR, "too_many", "needs 4 GPUs and there are only 2"),
        ([replace(gpu, problem="It fell off the bus.") for gpu in h100s(1)], ONE, "out_of_service", "bus"),
    ],
)
def test_what_can_never_be_is_refused_at_once(gpus, machine, reason, words):
    lab = Lab(gpus)
    refusal = lab.refusal("ann", machine)
    assert refusal.reason == reason and words in str(refusal)
    assert lab.pool.open_leases() == ()


def test_quota_counts_held_and_waited_for_but_not_the_server_itself():
    lab = Lab(h100s(4), rules=parse_rules([{"gpus": 2}]))
    lab.ask("ann", ONE, "a")
    lab.ask("ann", ONE, "b")
    refusal = lab.refusal("ann", QUARTER, "c")
    assert refusal.reason == "over_quota" and "hold or wait for 2 GPUs" in str(refusal)
    assert "takes 4 GPUs and the limit is 2" in str(lab.refusal("bob", FOUR))
    assert lab.ask("ann", CPU, "c").is_held


def test_a_refused_choice_leaves_the_ticket_that_was_there(lab):
    lab.ask("ann", ONE)
    lab.ask("bob", ONE)
    ticket = lab.ask("cy", ONE)
    assert lab.refusal("cy", FOUR).reason == "too_many"
    assert lab.pool.lease(ticket.id).is_waiting


def test_leaving_or_giving_back_twice_changes_nothing(lab):
    held = lab.ask("ann", ONE)
    lab.ask("bob", ONE)
    lab.ask("cy", ONE)
    assert lab.users(lab.pool.release(held.id, "stopped")) == ["cy"]
    before = lab.pool.open_leases()
    assert lab.pool.release(held.id, "again") == lab.pool.cancel(held.id, "again") == ()
    assert lab.pool.open_leases() == before and lab.pool.lease(held.id).end_reason == "stopped"


def test_a_running_server_that_the_ledger_forgot_is_written_down_again(lab):
    lease = lab.pool.adopt("ann", "", "one", ["GPU-1"])
    assert lease.gpus == ("GPU-1",) and lease.is_held
    assert lab.ask("bob", ONE).gpus == ("GPU-0",)
    assert lab.pool.adopt("cy", "", "one", ["GPU-1"]) is None
    assert lab.pool.adopt("cy", "", "one", ["GPU-unknown"]) is None
    assert lab.pool.adopt("ann", "", "one", ["GPU-1"]) is None


def test_a_running_server_of_a_type_that_is_no_longer_offered_is_written_down_too(lab):
    lease = lab.pool.adopt("ann", "", "pair", ["GPU-0", "GPU-1"])
    assert lease.gpus == ("GPU-0", "GPU-1") and lab.ask("bob", ONE).is_waiting


def test_a_card_that_is_held_is_divided_finer_when_the_config_now_shares_it():
    lab = Lab(h100s(1), machines=(ONE,))
    lease = lab.ask("ann", ONE)
    lab.restart((ONE, QUARTER))
    lab.pool.refresh(h100s(1))
    assert lab.pool.gpu_states()["GPU-0"].holders == (lease.id,)
    ticket = lab.ask("bob", QUARTER)
    assert ticket.is_waiting
    with lab.db.connect() as connection:
        held = tables.lease_gpu.c
        slots = connection.execute(sa.select(held.slot, held.slots).where(held.open.is_(True))).all()
    assert sorted(slots) == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert lab.users(lab.pool.release(lease.id, "stopped")) == ["bob"]


def test_what_a_stopped_machine_cost_can_be_told_for_ever(lab):
    lease = lab.ask("ann", ONE)
    lab.now += 90
    lab.pool.release(lease.id, "stopped")
    lab.restart()
    past = lab.pool.lease(lease.id)
    assert past.gpus == lease.gpus and past.released_at - past.granted_at == 90
    with pytest.raises(KeyError):
        lab.pool.lease(lease.id + 1)


def test_figures_tell_what_is_free_in_use_and_in_line(lab):
    lab.ask("ann", ONE)
    assert lab.pool.availability(ONE) == Availability(total=2, free=1, waiting=0, in_use=1)
    assert lab.pool.availability(QUARTER) == Availability(total=8, free=4, waiting=0, in_use=4)
    lab.ask("bob", ONE)
    lab.ask("cy", ONE)
    assert lab.pool.availability(ONE) == Availability(total=2, free=0, waiting=1, in_use=2)
    assert lab.pool.availability(A100).problem == "No such GPU here"
    assert lab.pool.availability(FOUR).problem == "Only 2 such GPUs here"


def test_the_estimate_is_the_time_limit_until_past_machines_tell_better(lab):
    for user in ("ann", "bob"):
        lab.ask(user, ONE)
    lab.now += 600
    ticket = lab.ask("cy", ONE)
    place = lab.pool.place(ticket.id)
    assert (place.estimate_seconds, place.basis) == (7200 - 600, "time limits")


def test_a_place_tells_why_nothing_moves(lab):
    for user in ("ann", "bob"):
        lab.ask(user, ONE)
    ticket = lab.ask("cy", ONE)
    lab.pool.refresh([])
    place = lab.pool.place(ticket.id)
    assert place.estimate_seconds is None and "The driver no longer lists it." in place.blocked


def test_order_stays_fair_over_years():
    lab = Lab(h100s(1), half_life_seconds=60.0)
    held = lab.ask("ann", ONE)
    lab.now += 60.0 * 400
    lab.pool.release(held.id, "stopped")
    held = lab.ask("bob", ONE)
    lab.ask("ann", ONE)
    lab.ask("bob", ONE, "second")
    # Figures of use are counted anew now, while two stand in line.
    lab.now += 60.0 * 400
    assert lab.users(lab.pool.release(held.id, "stopped")) == ["ann"]


def test_a_lease_is_written_before_memory_and_a_double_one_is_impossible(lab):
    lease = lab.ask("ann", ONE)
    # Somebody else's hand in the same database: the pool's memory does not know of it.
    with lab.db.begin() as connection:
        connection.execute(
            tables.lease_gpu.insert().values(
                lease_id=lease.id, gpu_uuid="GPU-1", slot=0, slots=4, open=True
            )
        )
    with pytest.raises(sa.exc.IntegrityError):
        lab.ask("bob", ONE)
    assert lab.pool.gpu_states()["GPU-1"].holders == ()


# --- quotas and budgets -----------------------------------------------------------------------------


def ruled(*entries, gpus=4):
    return Lab(h100s(gpus), rules=parse_rules(entries))


def test_what_is_refused_leaves_nothing_behind():
    lab = ruled({"gpus": 1})
    lab.ask("ann", ONE, "a")
    lab.refusal("ann", ONE, "b")
    assert len(lab.pool.open_leases()) == 1


def test_a_rules_own_words_are_told():
    lab = ruled({"gpus": 1, "words": "Ask Dr. Ada."})
    lab.ask("ann", ONE, "a")
    assert str(lab.refusal("ann", ONE, "b")).endswith("the limit is 1. Stop one of your machines first, or"
                                                      " choose a smaller one. Ask Dr. Ada.")


def test_a_group_together_has_a_limit():
    lab = ruled({"groups": ["lab"], "together": True, "gpus": 2})
    lab.pool.request("ann", "", ONE, ["lab"])
    lab.pool.request("bob", "", ONE, ["lab"])
    with pytest.raises(PoolRefusal, match="All of lab together hold or wait for 2 GPUs and the limit is 2"):
        lab.pool.request("cleo", "", ONE, ["lab"])
    assert lab.pool.request("dan", "", ONE, ["other"]).is_held


def test_machines_and_places_in_line_have_limits():
    lab = ruled({"servers": 3, "waiting": 1}, gpus=1)
    assert lab.ask("ann", ONE, "a").is_held
    assert lab.ask("ann", ONE, "b").is_waiting
    assert "have 1 place in line and the limit is 1" in str(lab.refusal("ann", ONE, "c"))
    lab.ask("ann", CPU, "c")
    assert "have 3 machines and the limit is 3" in str(lab.refusal("ann", CPU, "d"))


def test_a_used_up_budget_refuses_the_next_start():
    lab = ruled({"budget": {"gpu_hours": 2}, "words": "Ask Ada."})
    lease = lab.ask("ann", FOUR)
    lab.now += 1800
    lab.pool.release(lease.id, "stopped")
    refusal = lab.refusal("ann", ONE)
    assert refusal.reason == "over_budget"
    assert "is used up: 2.0 of 2.0 GPU-hours." in str(refusal) and str(refusal).endswith("Ask Ada.")
    assert lab.ask("bob", ONE).is_held


def test_a_budget_that_stops_gives_a_near_end_that_cannot_be_put_off():
    lab = ruled({"budget": {"gpu_hours": 1}, "at_limit": "stop"})
    lease = lab.ask("ann", FOUR)
    lab.now += 1800
    lab.pool.stop_over_budget()
    lab.pool.stop_over_budget()
    held = lab.pool.lease(lease.id)
    assert (held.ends_at, held.ends_because) == (lab.now + 600, "budget")
    with pytest.raises(PoolRefusal, match="budget is used up"):
        lab.pool.extend(lease.id, 3600)
    assert not lab.pool.over_time()
    lab.now += 600
    assert [one.id for one in lab.pool.over_time()] == [lease.id]


# --- how long ---------------------------------------------------------------------------------------


def test_a_session_ends_after_the_time_that_was_chosen():
    lab = Lab(h100s(1))
    lease = lab.pool.request("ann", "", ONE, (), 3600.0)
    assert (lease.ends_at, lease.ends_because) == (lab.now + 3600, "session")
    lab.restart()
    assert lab.pool.lease(lease.id).ends_at == lab.now + 3600
    lab.now += 3600
    assert [one.id for one in lab.pool.over_time()] == [lease.id]


def test_time_in_line_is_no_time_of_the_session():
    lab = Lab(h100s(1))
    first = lab.ask("ann", ONE)
    ticket = lab.pool.request("bob", "", ONE, (), 3600.0)
    lab.now += 5000
    lab.pool.release(first.id, "stopped")
    assert lab.pool.lease(ticket.id).ends_at == lab.now + 3600


def test_with_nothing_chosen_the_bound_is_the_end():
    lab = ruled({"session": "1h"}, {"users": ["bob"], "session": "1d"})
    assert lab.ask("ann", ONE).ends_at == lab.now + 3600
    assert lab.ask("bob", CPU).ends_at == lab.now + 86400
    assert lab.ask("bob", ONE, "b").ends_at == lab.now + 7200  # the machine type's own limit


def test_a_longer_session_than_allowed_is_refused():
    lab = Lab(h100s(1))
    with pytest.raises(PoolRefusal, match="You may have 1x H100 for 2 hours at most"):
        lab.pool.request("ann", "", ONE, (), 7201.0)
    assert not lab.pool.open_leases()


def test_an_extension_goes_as_far_as_allowed():
    lab = Lab(h100s(1))
    lease = lab.pool.request("ann", "", ONE, (), 3600.0)
    assert lab.pool.extend(lease.id, 1800) == lab.now + 5400
    assert lab.pool.extend(lease.id, 9999) == lab.now + 7200
    with pytest.raises(PoolRefusal, match="may not run longer"):
        lab.pool.extend(lease.id, 60)
    lab.restart()
    assert lab.pool.lease(lease.id).ends_at == lab.now + 7200


def test_a_machine_without_an_end_needs_no_extension():
    lab = Lab(h100s(4))
    assert lab.pool.extend(lab.ask("ann", FOUR).id, 60) is None


# --- moves ------------------------------------------------------------------------------------------


def line_of(lab, *tickets):
    """The users of the tickets in the order of their places."""
    return [one.user for one in sorted(tickets, key=lambda one: lab.pool.place(one.id).position)]


def three_in_line(lab):
    held = lab.ask("holder", ONE)
    tickets = []
    for user in ("ann", "bob", "cleo"):
        lab.now += 1
        tickets.append(lab.ask(user, ONE))
    return held, tickets


def test_an_admin_moves_somebody_to_the_front_to_the_end_and_back():
    lab = Lab(h100s(1))
    _, tickets = three_in_line(lab)
    ann, _, cleo = tickets
    assert line_of(lab, *tickets) == ["ann", "bob", "cleo"]
    lab.pool.move(cleo.id, "first")
    assert line_of(lab, *tickets) == ["cleo", "ann", "bob"]
    lab.pool.move(ann.id, "last")
    assert line_of(lab, *tickets) == ["cleo", "bob", "ann"]
    lab.pool.move(ann.id, "fair")
    lab.pool.move(cleo.id, "fair")
    assert line_of(lab, *tickets) == ["ann", "bob", "cleo"]


@pytest.mark.parametrize("waited", [0, PATIENCE + 1])
def test_the_line_is_served_in_the_order_that_was_shown(waited):
    lab = Lab(h100s(1))
    held, tickets = three_in_line(lab)
    lab.pool.move(tickets[2].id, "first")
    lab.pool.move(tickets[0].id, "last")
    lab.now += waited
    shown = line_of(lab, *tickets)
    served = []
    for _ in range(3):
        (held,) = lab.pool.release(held.id, "stopped")
        served.append(held.user)
    assert served == shown == ["cleo", "bob", "ann"]


def test_a_move_outlives_a_restart():
    lab = Lab(h100s(1))
    held, tickets = three_in_line(lab)
    lab.pool.move(tickets[1].id, "first")
    lab.restart()
    lab.pool.refresh(h100s(1))
    for user in ("ann", "bob", "cleo"):
        lab.ask(user, ONE)
    assert lab.users(lab.pool.release(held.id, "stopped")) == ["bob"]


def test_who_is_served_already_cannot_be_moved():
    lab = Lab(h100s(1))
    with pytest.raises(PoolRefusal, match="does not wait any more"):
        lab.pool.move(lab.ask("ann", ONE).id, "first")
