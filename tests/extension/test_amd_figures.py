"""What the panel's sampler reads of AMD GPUs from a tree as the amdgpu driver shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jupyterlab_gpubox.records import COLUMNS, HEALTH, LINKS
from jupyterlab_gpubox.sampler import Intervals, Sampler
from jupyterlab_gpubox.vendors import GPULost, NoDriver, Tier
from jupyterlab_gpubox.vendors.amd import AMD

MI210 = {
    "vendor": "0x1002",
    "device": "0x740f",
    "product_name": "AMD Instinct MI210",
    "unique_id": "1a2b3c4d5e6f7081",
    "gpu_busy_percent": "87",
    "mem_busy_percent": "31",
    "mem_info_vram_total": str(65520 * 2**20),
    "mem_info_vram_used": str(1234 * 2**20),
    "hwmon/hwmon3/power1_average": "203000000",
    "hwmon/hwmon3/power1_cap": "300000000",
    "hwmon/hwmon3/temp1_input": "61500",
    "hwmon/hwmon3/freq1_input": "1700000000",
    "hwmon/hwmon3/freq2_input": "1600000000",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add(tmp_path, 0, MI210)
    return tmp_path


def add(root: Path, number: int, files: dict[str, str]) -> Path:
    """A GPU in the tree: its device at a PCI place, its render node, and the node's device file."""
    device = root / f"sys/devices/pci0000:00/0000:{number + 3:02x}:00.0"
    for name, text in files.items():
        (device / name).parent.mkdir(parents=True, exist_ok=True)
        (device / name).write_text(f"{text}\n")
    node = root / f"sys/class/drm/renderD{128 + number}"
    node.mkdir(parents=True)
    (node / "device").symlink_to(device)
    (root / "dev/dri").mkdir(parents=True, exist_ok=True)
    (root / f"dev/dri/renderD{128 + number}").touch()
    return device


def test_a_gpu_is_read_with_units_of_its_own_made_those_of_the_records(root):
    amd = AMD(root)
    assert amd.open().state == "ok"
    (card,) = amd.cards()
    reading = card.read(Tier.CORE | Tier.HEALTH | Tier.PROCESSES)

    (gpu,) = reading.gpus
    assert (gpu.id, gpu.vendor, gpu.name) == ("amd-1a2b3c4d5e6f7081", "amd", "AMD Instinct MI210")
    assert (gpu.memory_total_mib, gpu.parent, reading.uses) == (65520, None, ())
    figures = reading.figures[gpu.id]
    assert {name: figures[name] for name in COLUMNS} == {
        "utilisation_percent": 87,
        "memory_used_mib": 1234,
        "memory_utilisation_percent": 31,
        "power_watts": 203,
        "temperature_celsius": 62,
        "clock_sm_mhz": 1700,
    }
    assert (figures["power_limit_watts"], figures["clock_memory_mhz"]) == (300, 1600)
    assert figures.keys() == {*COLUMNS, *HEALTH}
    assert figures["ecc_corrected"] is None


def test_a_chip_without_a_file_has_no_such_figure_and_momentary_power_will_do(tmp_path):
    files = {name: text for name, text in MI210.items() if name not in ("mem_busy_percent", "product_name")}
    del files["hwmon/hwmon3/power1_average"], files["unique_id"]
    add(tmp_path, 0, files | {"hwmon/hwmon3/power1_input": "18000000"})
    amd = AMD(tmp_path)
    amd.open()

    reading = amd.cards()[0].read(Tier.CORE | Tier.LINKS)

    figures = reading.figures["amd-0000:03:00.0"]
    assert (figures["power_watts"], figures["memory_utilisation_percent"]) == (18, None)
    assert reading.gpus[0].name == "AMD GPU 1002:740f"
    assert {figures[name] for name in LINKS} == {None}


def test_a_file_that_cannot_be_read_now_leaves_its_figure_out(root):
    amd = AMD(root)
    amd.open()
    (card,) = amd.cards()
    (root / "sys/class/drm/renderD128/device/gpu_busy_percent").write_text("busy\n")

    figures = card.read(Tier.CORE).figures["amd-1a2b3c4d5e6f7081"]

    assert "utilisation_percent" not in figures
    assert figures["memory_used_mib"] == 1234


def test_other_vendors_and_gpus_of_other_containers_do_not_count(root):
    add(root, 1, MI210 | {"vendor": "0x8086"})
    add(root, 2, MI210)
    (root / "dev/dri/renderD130").unlink()
    amd = AMD(root)
    amd.open()

    assert [card.gpus[0].id for card in amd.cards()] == ["amd-0000:03:00.0"]


def test_a_machine_without_amd_gpus_has_no_driver(tmp_path):
    with pytest.raises(NoDriver):
        AMD(tmp_path).open()


def test_a_gpu_that_goes_is_lost_and_one_that_comes_is_found(root):
    amd = AMD(root)
    amd.open()
    (card,) = amd.cards()
    shutil.rmtree(root / "sys/devices/pci0000:00/0000:03:00.0")
    with pytest.raises(GPULost, match="dmesg"):
        card.read(Tier.CORE)

    add(root, 1, MI210)

    assert len(amd.cards()) == 1


def test_the_sampler_reads_it_like_any_other(root):
    sampler = Sampler(Intervals(core_seconds=0.02, idle_seconds=0.1), [AMD(root)])
    try:
        snapshot = sampler.ask(60)
    finally:
        sampler.stop()

    (gpu,) = snapshot.gpus
    assert (snapshot.drivers[0].state, gpu.state, gpu.figures["utilisation_percent"]) == ("ok", "ok", 87)
    assert gpu.figures["xid"] is None
