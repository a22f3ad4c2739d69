"""Machine types: what an admin writes, what is made of it, and what is wrong with it."""

import pytest

from gpubox.inventory import GPU
from gpubox.machines import MachineType, MachineTypeError, default_machine_types, parse_machine_types


def parse(**entry):
    (machine,) = parse_machine_types([entry])
    return machine


def refused(*entries):
    with pytest.raises(MachineTypeError) as error:
        parse_machine_types(entries)
    return str(error.value)


def defaults(*gpus, cpus=64, memory_mib=512 * 1024):
    return default_machine_types(gpus, host_cpus=cpus, host_memory_mib=memory_mib)


def test_every_field_is_read_in_its_unit():
    assert parse(
        name="big",
        title="2x H100, with a note",
        description="For training.",
        gpu="H100",
        count=2,
        cpus=7.5,
        memory="64G",
        shm="512M",
        pids=1000,
        disk="500 GB NVMe",
        image="lab/image:2",
        price=3,
        time_limit="1.5h",
        groups=["lab", "guests"],
    ) == MachineType(
        name="big",
        title="2x H100, with a note",
        description="For training.",
        gpu="H100",
        count=2,
        cpus=7.5,
        memory_mib=65536,
        shm_mib=512,
        pids=1000,
        disk="500 GB NVMe",
        image="lab/image:2",
        price_per_hour=3.0,
        time_limit_seconds=5400,
        groups=frozenset({"lab", "guests"}),
    )


def test_one_name_is_enough_and_a_title_makes_one():
    assert parse(name="cpu") == MachineType(name="cpu", title="cpu")
    assert parse(title="1x Quadro P5000", gpu="Quadro P5000").name == "1x-quadro-p5000"


@pytest.mark.parametrize(
    ("entry", "count", "slots", "profile", "share"),
    [
        ({"gpu": "H100"}, 1, 1, None, 1.0),
        ({"gpu": "H100", "count": 4}, 4, 1, None, 4.0),
        ({"gpu": "H100", "sharing": "exclusive"}, 1, 1, None, 1.0),
        ({"gpu": "H100", "sharing": "shared: 4"}, 1, 4, None, 0.25),
        ({"sharing": "shared:2"}, 1, 2, None, 0.5),
        ({"gpu": "A100", "sharing": "mig: 1g.10gb"}, 1, 1, "1g.10gb", 1.0),
        ({"sharing": "mig: 1g.10gb+me"}, 1, 1, "1g.10gb+me", 1.0),
        ({"count": 1}, 1, 1, None, 1.0),
        ({}, 0, 1, None, 0.0),
    ],
)
def test_kinds_of_sharing(entry, count, slots, profile, share):
    machine = parse(name="m", **entry)
    assert (machine.count, machine.slots_per_gpu, machine.mig_profile) == (count, slots, profile)
    assert machine.gpu_share == share


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "Big Machine", "lower-case letters"),
        ("name", "", "short name"),
        ("title", 7, "words users see"),
        ("gpu", "", "model name"),
        ("count", -1, "whole number"),
        ("count", 1.5, "whole number"),
        ("count", True, "whole number"),
        ("count", float("nan"), "whole number"),
        ("sharing", "shared: 1", "'shared: N'"),
        ("sharing", "shared: many", "'shared: N'"),
        ("sharing", "mig: small", "mig: 1g.10gb"),
        ("sharing", "split", "'exclusive'"),
        ("cpus", "four", "number of CPUs"),
        ("cpus", 0, "number of CPUs"),
        ("memory", "lots", "'64G'"),
        ("memory", "0G", "'64G'"),
        ("shm", "8X", "'8G'"),
        ("pids", 10, "64 or more"),
        ("disk", None, "note on the disk"),
        ("image", "", "container image"),
        ("price", -2, "0 or more"),
        ("price", float("inf"), "0 or more"),
        ("time_limit", "soon", "'8h'"),
        ("time_limit", 5, "minute or more"),
        ("groups", "lab", "list of group names"),
        ("groups", [""], "list of group names"),
    ],
)
def test_a_wrong_field_is_named_with_its_entry_and_what_was_expected(field, value, expected):
    message = refused({"name": "fine"}, {"title": "Mine", field: value})
    assert message.startswith("c.GPUSpawner.machines[1]")
    assert f"field {field!r}: expected" in message and expected in message
    assert message.endswith(f"got {value!r}.")


def test_an_unknown_field_is_named_with_those_that_are_known():
    message = refused({"title": "Mine", "colour": "red"})
    assert "field 'colour'" in message and "price" in message


def test_an_entry_that_is_no_dict_is_named():
    assert "machines[0]: expected a dict" in refused("cpu")


def test_an_entry_needs_a_name_or_a_title():
    assert "field 'title'" in refused({"gpu": "H100"})


def test_two_entries_of_one_name_are_refused():
    assert "a name that no other entry has" in refused({"name": "cpu"}, {"name": "cpu"})


def test_a_gpu_with_a_count_of_none_is_a_contradiction():
    assert "field 'count'" in refused({"name": "m", "gpu": "H100", "count": 0})


def test_a_shared_machine_has_one_gpu():
    assert "for a GPU that is shared" in refused({"name": "m", "sharing": "shared: 2", "count": 2})


@pytest.mark.parametrize(
    ("wanted", "model", "matches"),
    [
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("h100", "NVIDIA H100 80GB HBM3", True),
        ("A100", "NVIDIA A100-SXM4-80GB", True),
        ("A100 80GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100 40GB", "NVIDIA A100-SXM4-80GB", False),
        ("A100", "NVIDIA RTX A1000", False),
        ("A10", "NVIDIA A100-SXM4-80GB", False),
        ("Quadro P5000", "Quadro P5000", True),
        ("P5000", "Quadro P5000", True),
        ("Quadro P5000", "Quadro P4000", False),
        ("GH200", "NVIDIA H200", False),
        (None, "NVIDIA H200", True),
    ],
)
def test_a_model_is_matched_by_its_words(wanted, model, matches):
    assert MachineType("m", "m", gpu=wanted, count=1).matches(GPU("GPU-0", model)) is matches


def test_whole_cards_and_slices_are_never_taken_for_each_other():
    whole, piece = GPU("GPU-0", "NVIDIA A100"), GPU("MIG-0", "NVIDIA A100", mig_profile="1g.10gb")
    alone = MachineType("m", "m", gpu="A100", count=1)
    sliced = MachineType("m", "m", gpu="A100", count=1, mig_profile="1g.10gb")
    assert [alone.matches(whole), alone.matches(piece)] == [True, False]
    assert [sliced.matches(whole), sliced.matches(piece)] == [False, True]
    assert not MachineType("cpu", "CPU").matches(whole)


def test_a_type_with_groups_is_for_their_members():
    machine = MachineType("m", "m", groups=frozenset({"lab"}))
    assert machine.allows(["guests", "lab"]) and not machine.allows(["guests"])
    assert MachineType("m", "m").allows([])


def test_a_machine_without_gpus_offers_a_cpu():
    (cpu,) = defaults(cpus=2, memory_mib=4096)
    assert (cpu.name, cpu.count, cpu.cpus, cpu.memory_mib) == ("cpu", 0, 2.0, 1024)


def test_what_is_found_is_offered_in_ones_twos_fours_and_eights():
    gpus = [GPU(f"GPU-{number}", "NVIDIA H100 80GB HBM3") for number in range(5)]
    assert [machine.title for machine in defaults(*gpus)] == ["CPU", "1x H100", "2x H100", "4x H100"]


def test_the_host_is_divided_evenly_over_its_gpus():
    gpus = [GPU(f"GPU-{number}", "NVIDIA H100") for number in range(4)]
    one, two = (m for m in defaults(*gpus, cpus=64, memory_mib=400_000) if m.count in (1, 2))
    assert (one.cpus, one.memory_mib) == (16.0, 90_000)
    assert (two.cpus, two.memory_mib) == (32.0, 180_000)


def test_each_model_and_each_kind_of_slice_is_offered():
    found = defaults(
        GPU("GPU-0", "NVIDIA H100 PCIe"),
        GPU("GPU-1", "Quadro P5000"),
        GPU("MIG-0", "NVIDIA A100-SXM4-80GB", mig_profile="1g.10gb", parent="GPU-2"),
        GPU("MIG-1", "NVIDIA A100-SXM4-80GB", mig_profile="1g.10gb", parent="GPU-2"),
    )
    assert [m.title for m in found] == ["CPU", "1x H100", "1x Quadro P5000", "1/7 of an A100 (10 GB)"]
    assert [m.name for m in found] == ["cpu", "1x-h100", "1x-quadro-p5000", "1g.10gb-a100"]


def test_every_offer_runs_on_what_was_found():
    gpus = (GPU("GPU-0", "NVIDIA GeForce RTX 4090"), GPU("MIG-0", "NVIDIA A100", mig_profile="2g.20gb"))
    for machine in defaults(*gpus)[1:]:
        assert any(machine.matches(gpu) for gpu in gpus), machine


# --- virtual machines ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sharing", "slots", "division", "words"),
    [
        ("vgpu: 8 x GRID T4-2Q", 8, "vgpu: GRID T4-2Q", "GRID T4-2Q (vGPU) of T4"),
        ("vgpu:4x nvidia-63", 4, "vgpu: nvidia-63", "nvidia-63 (vGPU) of T4"),
        ("sriov: 2", 2, "sriov", "1/2 of T4"),
    ],
)
def test_a_virtual_machine_may_have_a_part_of_a_gpu(sharing, slots, division, words):
    machine = parse(title="VM", engine="libvirt", gpu="T4", sharing=sharing)
    assert (machine.count, machine.slots_per_gpu, machine.division) == (1, slots, division)
    assert (machine.gpu_words, machine.gpu_share) == (words, 1 / slots)


def test_a_type_names_the_engine_that_runs_it():
    assert parse(title="VM", engine="libvirt", gpu="H100", disk="100G").engine == "libvirt"
    assert parse(title="CPU").engine == ""


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"engine": "xen"}, "'libvirt' for a virtual machine"),
        ({"engine": "libvirt", "gpu": "A100", "sharing": "shared: 2"}, "for a virtual machine"),
        ({"engine": "libvirt", "sharing": "mig: 1g.10gb"}, "for a virtual machine"),
        ({"engine": "libvirt", "sharing": "vgpu: GRID T4-2Q"}, "'vgpu: N x TYPE'"),
        ({"engine": "libvirt", "sharing": "vgpu: 65 x nvidia-63"}, "'vgpu: N x TYPE'"),
        ({"engine": "libvirt", "sharing": "vgpu: 4 x nvidia-63", "count": 2}, "for a GPU that is shared"),
        ({"sharing": "vgpu: 4 x nvidia-63"}, "that only a virtual machine can have"),
        ({"sharing": "sriov: 4"}, "that only a virtual machine can have"),
        ({"engine": "libvirt", "disk": "fast NVMe"}, "size of disk"),
    ],
)
def test_what_a_virtual_machine_cannot_be_is_refused(fields, expected):
    assert expected in refused({"title": "VM", **fields})
