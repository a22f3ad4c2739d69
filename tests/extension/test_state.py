"""How readings change what is known of GPUs, and what of it is news."""

from __future__ import annotations

from dataclasses import replace

from jupyterlab_gpubox.records import GPU, Driver, Snapshot, Use, Value
from jupyterlab_gpubox.state import (
    Change,
    Place,
    answered,
    changes,
    columns_now,
    gpus_of,
    news,
    unanswered,
    with_links,
    without_links,
)
from jupyterlab_gpubox.vendors import Reading, Tier

CARD = GPU(id="GPU-1", index=0, vendor="nvidia", name="H100", memory_total_mib=80000)
SLICES = tuple(replace(CARD, id=f"MIG-{n}", parent="GPU-1", mig_profile="1g.10gb") for n in (1, 2))
DRIVER = Driver("nvidia", "ok", "580")
ALL = Tier.CORE | Tier.PROCESSES | Tier.HEALTH


def reading(*gpus: GPU, uses: tuple[Use, ...] | None = None, **figures: Value) -> Reading:
    return Reading("GPU-1", gpus or (CARD,), {gpu.id: figures for gpu in gpus or (CARD,)}, uses)


def now(place: Place, at: float, xids: dict[str, int] | None = None) -> GPU:
    (gpu,) = gpus_of([place], [], xids or {}, at)
    return gpu


def test_what_was_read_is_fresh():
    place = answered(Place(), reading(utilisation_percent=50, power_watts=None), Tier.CORE, 10)

    gpu = now(place, 10)

    assert gpu == replace(CARD, figures={"utilisation_percent": 50, "power_watts": None})
    assert columns_now(gpu) == (50, None, None, None, None, None)


def test_what_could_not_be_read_anew_keeps_its_value_and_says_its_age():
    place = answered(Place(), reading(utilisation_percent=50, power_watts=70), Tier.CORE, 10)
    place = answered(place, reading(utilisation_percent=60), Tier.CORE, 17.2)

    gpu = now(place, 17.2)

    assert (gpu.figures, gpu.stale) == ({"utilisation_percent": 60, "power_watts": 70}, {"power_watts": 7.2})
    assert gpu.state == "ok"
    assert columns_now(gpu)[3] is None


def test_a_figure_is_as_old_as_its_tier_lets_it_be():
    place = answered(Place(), reading(utilisation_percent=50, ecc_corrected=0), ALL, 10)
    place = answered(place, reading(utilisation_percent=51), Tier.CORE, 11)
    assert now(place, 11).stale == {}

    place = answered(place, reading(utilisation_percent=52), ALL, 40)
    assert now(place, 40).stale == {"ecc_corrected": 30}


def test_a_gpu_of_which_nothing_is_new_is_stale():
    place = answered(Place(), reading(utilisation_percent=50, power_watts=None), Tier.CORE, 10)

    gpu = now(unanswered(place, Tier.CORE, 12), 12)

    assert (gpu.state, gpu.stale) == ("stale", {"utilisation_percent": 2})
    assert gpu.message


def test_a_lost_gpu_stays_lost_until_it_answers():
    place = answered(Place(), reading(utilisation_percent=50), Tier.CORE, 10)
    lost = unanswered(place, Tier.CORE, 11, "lost", "It has fallen off the bus.")
    lost = unanswered(lost, Tier.CORE, 12)
    assert (now(lost, 12).state, now(lost, 12).message) == ("lost", "It has fallen off the bus.")

    back = now(answered(lost, reading(utilisation_percent=1), Tier.CORE, 13), 13)

    assert (back.state, back.message, back.stale) == ("ok", "", {})


def test_slices_replace_their_card_with_all_that_was_known_of_it():
    use = Use("GPU-1", 7, 100)
    place = answered(Place(), reading(uses=(use,), utilisation_percent=50), ALL, 10)
    place = answered(place, reading(*SLICES, memory_used_mib=5), Tier.CORE, 11)

    gpus = gpus_of([place], [], {"GPU-1": 31}, 11)

    assert [gpu.id for gpu in gpus] == ["MIG-1", "MIG-2"]
    assert all(gpu.figures == {"memory_used_mib": 5, "xid": 31} for gpu in gpus)
    assert place.uses == ()


def test_processes_stay_until_they_are_listed_again():
    place = answered(Place(), reading(uses=(Use("GPU-1", 7, 100),)), ALL, 10)

    assert answered(place, reading(), Tier.CORE, 11).uses == place.uses
    assert answered(place, reading(uses=None), ALL, 12).uses == place.uses
    assert answered(place, reading(uses=()), ALL, 13).uses == ()


def test_a_gpu_gone_from_the_list_is_lost_and_one_that_has_moved_is_not():
    place = answered(Place(), reading(utilisation_percent=50), ALL, 10)

    (gone,) = gpus_of([], [place], {}, 15)
    (moved,) = gpus_of([place], [place], {}, 10)

    assert (gone.state, gone.stale) == ("lost", {"utilisation_percent": 5})
    assert moved.state == "ok"


def test_links_come_and_go_without_the_rest():
    place = answered(Place(), reading(utilisation_percent=50), ALL, 10)
    linked = with_links(place, reading(CARD, pcie_tx_kib_per_second=9), 11)

    assert now(linked, 11).figures["pcie_tx_kib_per_second"] == 9
    assert now(linked, 11).stale == {}
    assert now(without_links(linked), 11) == now(place, 11)


# --- what is new -----------------------------------------------------------------------------------


def snapshot(*gpus: GPU, driver: Driver = DRIVER, uses: tuple[Use, ...] = ()) -> Snapshot:
    return Snapshot(0, (driver,), gpus, uses)


def test_core_figures_and_ages_are_news_of_the_tick_alone():
    old = snapshot(replace(CARD, figures={"power_watts": 70}))
    new = snapshot(replace(CARD, figures={"power_watts": 80}, stale={"power_watts": 3}))

    assert changes(old, new) == Change.TICK


def test_each_kind_of_change_is_told():
    old = snapshot(CARD)
    for new in (
        snapshot(),
        snapshot(replace(CARD, state="lost")),
        snapshot(CARD, driver=replace(DRIVER, state="trouble")),
        snapshot(replace(CARD, figures={"throttle_reasons": ("power cap",)})),
        snapshot(replace(CARD, figures={"xid": 79})),
    ):
        assert changes(old, new) == Change.TICK | Change.GPUS
    links = snapshot(replace(CARD, figures={"pcie_rx_kib_per_second": 1}))
    assert changes(old, links) == Change.TICK | Change.LINKS
    assert changes(old, snapshot(CARD, uses=(Use("GPU-1", 7, 1),))) == Change.TICK | Change.PROCESSES


def told(*snapshots: Snapshot) -> list[str]:
    known: dict[str, str] = {}
    texts = []
    for one in snapshots:
        lines, known = news(known, one)
        texts += [line.text for line in lines]
    return texts


def test_a_change_of_state_is_one_line():
    lost = replace(CARD, state="lost", message="It has fallen off the bus.")

    lines = told(
        snapshot(CARD), snapshot(CARD), snapshot(lost), snapshot(lost), snapshot(CARD), snapshot(CARD)
    )

    assert lines == [
        "The NVIDIA driver 580 answers.",
        "GPU 0 (H100, GPU-1) is lost: It has fallen off the bus.",
        "GPU 0 (H100, GPU-1) answers again.",
    ]


def test_a_driver_in_trouble_is_one_line_and_not_one_for_each_gpu():
    trouble = Driver("nvidia", "trouble", message="It was updated.")
    stale = replace(CARD, state="stale")

    lines = told(
        snapshot(CARD), snapshot(stale, driver=trouble), snapshot(stale, driver=trouble), snapshot(CARD)
    )

    assert lines[1:] == ["It was updated.", "The NVIDIA driver 580 answers."]


def test_sleep_is_no_news():
    asleep = replace(DRIVER, state="asleep")

    assert (
        len(told(snapshot(driver=asleep), snapshot(CARD), snapshot(CARD, driver=asleep), snapshot(CARD))) == 1
    )
