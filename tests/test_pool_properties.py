"""Whatever people do and whatever fails, in any order: what the pool promises always holds.

The same random stories are told to a pool on SQLite and to one on a real PostgreSQL.
"""

import os
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gpubox import db as tables
from gpubox.db import open_database
from gpubox.inventory import GPU
from gpubox.machines import parse_machine_types
from gpubox.placement import fits, place
from gpubox.pool import GPUPool
from gpubox.refusal import PoolRefusal
from gpubox.rules import parse_rules

PATIENCE = 1800.0
KEEP_PLACE = 3600.0
MOST_GPUS = 4

MACHINES = parse_machine_types(
    [
        {"name": "cpu", "title": "CPU"},
        {"name": "one", "title": "1x H100", "gpu": "H100"},
        {"name": "two", "title": "2x H100", "gpu": "H100", "count": 2, "time_limit": "8h"},
        {"name": "four", "title": "4x H100", "gpu": "H100", "count": 4},
        {"name": "quarter", "title": "Quarter of an H100", "gpu": "H100", "sharing": "shared: 4"},
        {"name": "third", "title": "Third of an H100", "gpu": "H100", "sharing": "shared: 3"},
        {"name": "slice", "title": "1/7 of an A100", "gpu": "A100", "sharing": "mig: 1g.10gb"},
    ]
)
KINDS = {machine.name: machine for machine in MACHINES}

# What the admin may have in the config from one start to the next.
OFFERS = [
    frozenset(KINDS),
    frozenset(KINDS) - {"third"},
    frozenset(KINDS) - {"quarter"},
    frozenset(KINDS) - {"quarter", "third"},
]


def all_gpus():
    """Four H100s, of which 0-1 and 2-3 are paired, and two slices of an A100."""
    cards = [f"GPU-{number}" for number in range(4)]
    for number, uuid in enumerate(cards):
        links = {other: 100 if other == cards[number ^ 1] else 10 for other in cards if other != uuid}
        yield GPU(uuid, "NVIDIA H100 80GB HBM3", 81559, number, links=links)
    for number in range(2):
        yield GPU(f"MIG-{number}", "NVIDIA A100-SXM4-80GB", 9728, 4, "1g.10gb", parent="GPU-4")


class PoolStory(RuleBasedStateMachine):
    """People who ask, leave, crash and come back; GPUs that fail; a hub that restarts."""

    engine: sa.Engine

    def __init__(self):
        super().__init__()
        with self.engine.begin() as connection:
            for table in (tables.lease_gpu, tables.lease, tables.gpu):
                connection.execute(table.delete())
        self.now = 1_000_000_000.0
        self.gpus = {gpu.uuid: gpu for gpu in all_gpus()}
        self.absent = set()
        self.drained = set()
        self.asked = {}  # (user, server) -> lease id: what must not be lost
        self.away = set()  # lease ids of people who have not come back since a restart
        self.offer = OFFERS[0]
        self.start_hub()

    def new_pool(self):
        return GPUPool(
            self.engine,
            [machine for machine in MACHINES if machine.name in self.offer],
            clock=lambda: self.now,
            patience_seconds=PATIENCE,
            keep_place_seconds=KEEP_PLACE,
            rules=parse_rules([{"gpus": MOST_GPUS}]),
        )

    def start_hub(self):
        self.pool = self.new_pool()
        self.look()

    def look(self):
        self.told(self.pool.refresh([gpu for gpu in self.gpus.values() if gpu.uuid not in self.absent]))

    def cards_in_service(self, kind, also_of=None):
        """Copies of the cards that serve a type; those of one lease counted as free if wanted."""
        for card in self.pool._fleet.cards.values():
            if card.in_service and kind.matches(card.gpu):
                free = {slot: holder for slot, holder in card.holders.items() if holder != also_of}
                yield replace(card, holders=free)

    def told(self, news):
        for lease in news:
            self.granted(lease)

    def granted(self, lease):
        assert lease.is_held
        assert self.asked[lease.user, lease.server] == lease.id, "somebody got what nobody asked for"
        assert lease.id not in self.away, "a GPU was given to somebody who is not there"
        kind = KINDS[lease.machine]
        assert len(lease.gpus) == kind.count
        for uuid in lease.gpus:
            assert uuid not in self.absent | self.drained and not self.gpus[uuid].problem
        self.nobody_due_was_overtaken_by(lease)

    def first_due(self):
        """Who has waited longest of those who must not be overtaken any more and can be served at all."""
        for ticket in sorted(self.pool.waiting(), key=lambda one: (one.requested_at, one.id)):
            kind = KINDS[ticket.machine]
            is_due = self.now - ticket.requested_at >= PATIENCE and ticket.id not in self.away
            if is_due and len(list(self.cards_in_service(kind))) >= kind.count:
                return ticket
        return None

    def nobody_due_was_overtaken_by(self, lease):
        first = self.first_due()
        if first is None or first.requested_at >= lease.requested_at:
            return
        cards = list(self.cards_in_service(KINDS[first.machine], also_of=lease.id))
        assert place(KINDS[first.machine], cards) is None, f"{lease} overtook {first}, who could have had it"

    # --- what people do --------------------------------------------------------------------------

    @rule(
        user=st.sampled_from(["ann", "bob", "cy", "di"]),
        server=st.sampled_from(["", "b"]),
        name=st.sampled_from(sorted(KINDS)),
    )
    def ask(self, user, server, name):
        if name not in self.offer:
            return
        before = self.asked.get((user, server))
        try:
            lease = self.pool.request(user, server, KINDS[name])
        except PoolRefusal:
            self.told(self.pool.served())
            return
        self.asked[user, server] = lease.id
        self.away.discard(lease.id)
        if before is not None and before != lease.id:
            assert self.pool.lease(before).end_reason
            self.away.discard(before)
        if lease.is_held and before != lease.id:
            self.granted(lease)
        self.told(self.pool.served())

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), how=st.sampled_from(["stopped", "crashed", "twice"]))
    def end(self, data, how):
        key = data.draw(st.sampled_from(sorted(self.asked)))
        lease = self.pool.lease(self.asked.pop(key))
        self.away.discard(lease.id)
        leave = self.pool.cancel if lease.is_waiting else self.pool.release
        self.told(leave(lease.id, how))
        if how == "twice":
            assert self.pool.release(lease.id, how) == self.pool.cancel(lease.id, how) == ()
        assert self.pool.lease(lease.id).released_at == self.now

    @rule(seconds=st.sampled_from([1.0, 60.0, PATIENCE, 86400.0]))
    def time_passes(self, seconds):
        self.now += seconds

    # --- what fails --------------------------------------------------------------------------------

    @rule(data=st.data(), how=st.sampled_from(["absent", "problem", "back"]))
    def gpu_news(self, data, how):
        uuid = data.draw(st.sampled_from(sorted(self.gpus)))
        self.absent.discard(uuid)
        self.gpus[uuid] = replace(self.gpus[uuid], problem="It fell off the bus." if how == "problem" else "")
        if how == "absent":
            self.absent.add(uuid)
        self.look()

    @rule(data=st.data())
    def drain_or_undrain(self, data):
        uuid = data.draw(st.sampled_from(sorted(self.pool.gpu_states())))
        if uuid in self.drained:
            self.drained.discard(uuid)
            self.told(self.pool.undrain(uuid))
        else:
            self.drained.add(uuid)
            self.pool.drain(uuid, "new thermal paste")

    @rule(offer=st.sampled_from(OFFERS))
    def hub_is_killed_and_starts_again(self, offer):
        self.away = {lease.id for lease in self.pool.waiting()}
        self.offer = offer
        self.start_hub()

    @precondition(lambda self: self.away)
    @rule()
    def nobody_comes_back(self):
        self.now += KEEP_PLACE
        self.told(self.pool.expire_places())
        for key, lease_id in list(self.asked.items()):
            if lease_id in self.away:
                assert self.pool.lease(lease_id).end_reason
                del self.asked[key]
        self.away.clear()

    # --- what always holds -------------------------------------------------------------------------

    @invariant()
    def no_slot_has_two_holders(self):
        columns = tables.lease_gpu.c
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(columns).where(columns.open.is_(True))).all()
        taken = {}
        for row in rows:
            for part in range(row.slot * 840 // row.slots, (row.slot + 1) * 840 // row.slots):
                holder = taken.setdefault((row.gpu_uuid, part), row.lease_id)
                assert holder == row.lease_id, f"{row.gpu_uuid} is held by {holder} and {row.lease_id}"
        assert {row.lease_id for row in rows} <= {lease.id for lease in self.pool.held()}

    @invariant()
    def nothing_asked_for_is_lost(self):
        assert {lease.id for lease in self.pool.open_leases()} == set(self.asked.values())

    @invariant()
    def memory_is_what_a_fresh_start_would_read(self):
        fresh = self.new_pool()
        assert {lease.id: lease for lease in fresh.open_leases()} == {
            lease.id: lease for lease in self.pool.open_leases()
        }
        ours = self.pool.gpu_states()
        for uuid, state in fresh.gpu_states().items():
            assert state == ours[uuid]
        for user in ("ann", "bob", "cy", "di"):
            here, there = (
                pool._shares.used(user, self.now) / 2 ** ((self.now - pool._shares._epoch) / 86400.0)
                for pool in (self.pool, fresh)
            )
            assert here == pytest.approx(there, rel=0.01, abs=100)

    @invariant()
    def nothing_idles_that_somebody_may_have(self):
        first = self.first_due()
        present = [lease for lease in self.pool.waiting() if lease.id not in self.away]
        # Others may have to wait for what is kept for the first.
        for lease in [first] if first else present:
            kind = KINDS[lease.machine]
            assert place(kind, list(self.cards_in_service(kind))) is None, f"{lease} could be served"

    @invariant()
    def quotas_hold(self):
        for user in {lease.user for lease in self.pool.open_leases()}:
            mine = [KINDS[one.machine].gpu_share for one in self.pool.open_leases() if one.user == user]
            assert sum(mine) <= MOST_GPUS

    @invariant()
    def places_are_in_order(self):
        for lease in self.pool.waiting():
            place_in_line = self.pool.place(lease.id)
            assert 1 <= place_in_line.position <= place_in_line.waiting
            assert place_in_line.estimate_seconds is None or place_in_line.estimate_seconds >= 0
        for kind in (KINDS[name] for name in self.offer):
            figures = self.pool.availability(kind)
            assert 0 <= figures.free <= figures.total or kind.count == 0
            room = sum(fits(card, kind) for card in self.cards_in_service(kind))
            assert kind.count == 0 or bool(figures.free) == (room >= kind.count)

    def teardown(self):
        """In the end, with all GPUs back and machines stopping one after the other, everyone is served."""
        self.absent.clear()
        self.gpus = {gpu.uuid: gpu for gpu in all_gpus()}
        self.look()
        for uuid in list(self.drained):
            self.drained.discard(uuid)
            self.told(self.pool.undrain(uuid))
        self.hub_is_killed_and_starts_again(OFFERS[0])
        for lease in self.pool.waiting():
            self.away.discard(lease.id)
            self.pool.request(lease.user, lease.server, KINDS[lease.machine])
            self.told(self.pool.served())
        for _ in range(len(self.asked)):
            held = self.pool.held()
            if not held:
                break
            self.now += 60
            oldest = min(held, key=lambda lease: (lease.granted_at, lease.id))
            del self.asked[oldest.user, oldest.server]
            self.told(self.pool.release(oldest.id, "stopped"))
        assert not self.pool.waiting(), "somebody was never served"


def tell_stories(engine, count):
    story = type("Story", (PoolStory,), {"engine": engine})
    run_state_machine_as_test(
        story,
        settings=settings(
            max_examples=count,
            stateful_step_count=40,
            deadline=None,
            derandomize=os.environ.get("CI") == "true",
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_stories_on_sqlite():
    tell_stories(open_database("sqlite://"), 300)


def test_stories_on_postgresql(postgres_url):
    tell_stories(open_database(postgres_url), 25)
