"""A real engine hands out simulated GPUs: a container sees those that it was given, whatever it does."""

from __future__ import annotations

import docker
import pytest


def test_two_containers_see_different_gpus(installed, probe):
    first, second = (gpu.uuid for gpu in installed.gpus[:2])

    assert probe(first) == [first]
    assert probe(second) == [second]


def test_gpus_can_be_named_by_number_and_several_at_once(installed, probe):
    first, second, _ = installed.gpus

    assert probe(str(second.minor)) == [second.uuid]
    assert probe(str(first.minor), second.uuid) == [first.uuid, second.uuid]


def test_an_unprivileged_user_sees_the_gpu_too(installed, probe):
    assert probe(installed.gpus[0].uuid, user="1000:100") == [installed.gpus[0].uuid]


def test_a_container_without_a_device_has_not_even_the_library(installed, probe):
    assert probe() == ["no library"]


def test_a_node_made_by_hand_shows_no_other_gpu(installed, probe):
    mine, other = installed.gpus[:2]

    assert probe(mine.uuid, by_hand=f"/dev/nvidia{other.minor} 195 {other.minor}") == [mine.uuid]
    assert probe(mine.uuid, by_hand=f"/dev/nvidia{other.minor} 195 {mine.minor}") == [mine.uuid]


def test_a_container_with_a_slice_sees_that_slice_alone(installed, probe):
    card = installed.gpus[2]
    for one in card.slices:
        assert probe(one.uuid) == [card.uuid, one.uuid]
    assert probe(f"{card.minor}:1") == [card.uuid, card.slices[1].uuid]


def test_a_capability_made_by_hand_shows_no_other_slice(installed, probe):
    mine, other = installed.gpus[2].slices[:2]
    minors = (other.gi_capability, other.ci_capability)
    nodes = " ".join(f"/dev/nvidia-caps/nvidia-cap{minor} 120 {minor}" for minor in minors)

    assert probe(mine.uuid, by_hand=nodes) == [installed.gpus[2].uuid, mine.uuid]


def test_a_card_cut_anew_offers_its_new_slices_and_no_old_one(installed, probe):
    card = installed.gpus[2]
    gone = card.slices[0].uuid

    card.partition("2x3g.40gb")

    assert [one.profile.name for one in card.slices] == ["3g.40gb", "3g.40gb"]
    assert probe(card.slices[1].uuid) == [card.uuid, card.slices[1].uuid]
    with pytest.raises(docker.errors.APIError, match="unresolvable CDI devices"):
        probe(gone)


def test_a_device_that_is_none_of_ours_is_refused_by_the_engine(installed, probe):
    with pytest.raises(docker.errors.APIError, match="unresolvable CDI devices"):
        probe("GPU-00000000-0000-0000-0000-000000000000")


def test_a_lost_gpu_is_lost_in_its_container_too(installed, probe):
    installed.gpus[0].lose()

    assert probe(installed.gpus[0].uuid) == []
    assert probe(installed.gpus[1].uuid) == [installed.gpus[1].uuid]
