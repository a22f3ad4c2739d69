"""Which GPUs a machine gets."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubox.inventory import GPU
from gpubox.machines import MachineType
from gpubox.placement import Card, fits, keep_for, place

NVLINK, PCIE = 100, 10


def machine(count=1, parts=1):
    return MachineType(name="m", title="m", gpu="H100", count=count, slots_per_gpu=parts)


def cards(count, links=None, slots=1):
    """Cards GPU-0, GPU-1, ...; ``links(a, b)`` tells how close two are."""
    numbers = range(count)
    return [
        Card(
            GPU(
                f"GPU-{a}",
                "NVIDIA H100",
                index=a,
                links={f"GPU-{b}": links(a, b) for b in numbers if b != a} if links else {},
            ),
            slots=slots,
        )
        for a in numbers
    ]


def in_pairs(a, b):
    return NVLINK if a // 2 == b // 2 else PCIE


def in_eights(a, b):
    return NVLINK if a // 8 == b // 8 else PCIE


def take(card, *slots, division="shared"):
    card.division = division
    card.holders.update(dict.fromkeys(slots or range(card.slots), 1))


def chosen(placement):
    return sorted(int(uuid.removeprefix("GPU-")) for uuid in placement)


def test_two_gpus_are_the_two_that_are_linked():
    four = cards(4, in_pairs)
    take(four[0])
    assert chosen(place(machine(2), four)) == [2, 3]


def test_one_gpu_does_not_break_up_a_linked_pair():
    four = cards(4, in_pairs)
    take(four[2])
    assert chosen(place(machine(1), four)) == [3]


def test_with_no_links_the_first_ones_are_taken():
    assert chosen(place(machine(2), cards(4))) == [0, 1]


def test_eight_of_sixty_four_are_one_island():
    many = cards(64, in_eights)
    take(many[0])
    found = chosen(place(machine(8), many))
    assert len(found) == 8 and len({number // 8 for number in found}) == 1


def test_a_machine_that_has_its_gpu_alone_holds_all_slots():
    assert place(machine(), cards(1, slots=4)) == {"GPU-0": (0, 1, 2, 3)}


def test_a_card_that_is_held_in_part_serves_no_machine_that_wants_it_alone():
    two = cards(2, slots=4)
    take(two[0], 3)
    assert chosen(place(machine(), two)) == [1]
    assert place(machine(2), two) is None


def test_a_card_that_is_divided_otherwise_has_no_room_until_it_is_whole_again():
    vgpu = MachineType(name="v", title="v", gpu="H100", count=1, slots_per_gpu=4, vgpu="nvidia-63")
    other = MachineType(name="o", title="o", gpu="H100", count=1, slots_per_gpu=4, vgpu="nvidia-64")
    [card] = cards(1, slots=4)
    take(card, 0, division=vgpu.division)
    assert fits(card, vgpu)
    assert not any(fits(card, kind) for kind in (other, machine(parts=4), machine()))
    card.holders.clear()
    assert fits(card, other) and fits(card, machine(parts=4))


def test_shared_machines_fill_the_fullest_card_so_that_whole_ones_stay_free():
    two = cards(2, slots=4)
    take(two[1], 0, 2)
    assert place(machine(parts=4), two) == {"GPU-1": (1,)}
    assert place(machine(parts=2), two) == {"GPU-1": (1, 3)}
    take(two[1], 1)
    assert place(machine(parts=2), two) == {"GPU-0": (0, 1)}


def test_kept_gpus_are_those_that_are_nearest_to_being_free():
    three = cards(3, slots=4)
    take(three[0])
    take(three[1], 0)
    assert keep_for(machine(2), three) == {"GPU-1", "GPU-2"}


@given(st.data())
def test_a_placement_holds_exactly_what_was_asked_for_and_nothing_that_is_taken(data):
    slots = data.draw(st.sampled_from([1, 2, 4, 12]))
    some = cards(data.draw(st.integers(1, 6)), in_pairs, slots)
    for card in some:
        take_some = data.draw(st.sets(st.integers(0, slots - 1)))
        card.holders.update(dict.fromkeys(take_some, 1))
    parts = data.draw(st.sampled_from([n for n in (1, 2, 4) if slots % n == 0]))
    kind = machine(1 if parts > 1 else data.draw(st.integers(1, 4)), parts)
    placement = place(kind, some)
    assert (placement is None) == (sum(fits(card, kind) for card in some) < kind.count)
    if placement is None:
        return
    assert len(placement) == kind.count
    held = {card.gpu.uuid: card.holders for card in some}
    for uuid, taken in placement.items():
        assert len(set(taken)) == len(taken) == slots // parts
        assert not set(taken) & set(held[uuid])


@given(st.data())
def test_the_best_connected_set_is_what_trying_all_would_find(data):
    size = data.draw(st.integers(2, 6))
    pairs = list(itertools.combinations(range(size), 2))
    closeness = {pair: data.draw(st.sampled_from([0, PCIE, 50, NVLINK])) for pair in pairs}
    count = data.draw(st.integers(2, size))

    def links(a, b):
        return closeness[min(a, b), max(a, b)]

    def total(numbers):
        return sum(links(a, b) for a, b in itertools.combinations(numbers, 2))

    found = chosen(place(machine(count), cards(size, links)))
    assert total(found) == max(total(some) for some in itertools.combinations(range(size), count))


@pytest.mark.parametrize(("slots", "parts", "room"), [(4, 4, True), (4, 2, False), (4, 1, False)])
def test_a_card_with_one_free_slot_of_four_fits_a_quarter_alone(slots, parts, room):
    (card,) = cards(1, slots=slots)
    take(card, 0, 1, 2)
    assert fits(card, machine(parts=parts)) is room
