"""The doctor's judgement: facts in, one line a check out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gpubox.host.doctor import Check, Facts, can_work, examine, render
from gpubox.host.engine import EngineFacts
from gpubox.host.image import ImageFacts
from gpubox.inventory import GPU, Inventory

NOW = datetime(2026, 6, 30, tzinfo=UTC)
H100 = GPU(uuid="GPU-aaaa", model="NVIDIA H100 80GB HBM3", memory_mib=81559)
SLICE = GPU(uuid="MIG-bbbb", model="NVIDIA A100", memory_mib=9728, mig_profile="1g.10gb", parent="GPU-cccc")

HEALTHY = Facts(
    engine_kind="docker",
    now=NOW,
    inventory=Inventory(gpus=(H100,), driver_version="580.95.05", cuda_version=(13, 0)),
    engine=EngineFacts("26.1.5+dfsg1", "/var/lib/docker", cdi_dirs=("/etc/cdi",), runtimes=("runc",)),
    may_use_socket=True,
    cdi_specs='{"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-aaaa"}]}',
    image_name="gpubox/cpu:latest",
    image=ImageFacts("gpubox/cpu:latest", NOW - timedelta(days=3), 1_400_000_000),
    free_gib=400.0,
    ports={8000: ("web", "free"), 8001: ("proxy's API", "free")},
    proxy_program="/usr/bin/configurable-http-proxy",
    server_program="/usr/bin/jupyter-lab",
)


def check(name, **changes):
    (found,) = [check for check in examine(replace(HEALTHY, **changes)) if check.name == name]
    return found


def with_driver(**changes):
    return replace(HEALTHY.inventory, **changes)


def test_a_healthy_machine_has_nothing_to_remedy():
    checks = examine(HEALTHY)
    assert {check.mark for check in checks} == {"ok"}
    assert can_work(checks)
    assert not any(check.remedy for check in checks)


def test_a_machine_without_gpus_can_work():
    checks = examine(replace(HEALTHY, inventory=Inventory(), cdi_specs=""))
    assert can_work(checks)
    assert "CPU machines work" in render(checks, colour=False)


@pytest.mark.parametrize(
    ("name", "changes", "words", "remedy"),
    [
        ("engine", {"engine": None, "engine_problem": "No Docker engine answers."}, "No Docker", "make run"),
        ("rights", {"may_use_socket": False}, "may not use", "usermod -aG docker"),
        (
            "engine",
            {"engine": EngineFacts("20.10.24", "/", runtimes=("runc",))},
            "20.10.24 attaches no GPU",
            "Docker 25 or newer",
        ),
        (
            "cdi",
            {"engine": EngineFacts("26.1.5", "/", runtimes=("runc",))},
            "off",
            '{"features": {"cdi": true}}',
        ),
        ("cdi", {"cdi_specs": ""}, "no CDI spec", "nvidia-ctk cdi generate"),
        ("cdi", {"cdi_specs": "nvidia.com/gpu GPU-other"}, "1 of 1 GPUs", "nvidia-ctk cdi generate"),
        (
            "driver",
            {"inventory": Inventory(problem="Driver/library version mismatch.", answered=False)},
            "mismatch",
            "reboot",
        ),
        (
            "driver",
            {
                "inventory": Inventory((H100,), "535.1", (12, 2)),
                "image": ImageFacts("x", NOW, 1, cuda=(13, 0)),
            },
            "made with CUDA 13.0",
            "CUDA 13.0 or newer",
        ),
        ("gpus", {"inventory": Inventory((replace(H100, problem="It is lost."),), "580")}, "lost", "reset"),
        ("image", {"image": None}, "not built", "make image"),
        ("disk", {"free_gib": 0.4}, "0 GiB free", "docker system prune"),
        ("ports", {"ports": {8000: ("web", "other")}}, "8000 (web)", "ss -ltnp"),
        ("proxy", {"proxy_program": ""}, "not installed", "npm install"),
        ("server", {"engine_kind": "process", "server_program": ""}, "JupyterLab", "gpubox[process]"),
        ("server", {"engine_kind": "process", "closed": "/root"}, "/root is closed", "/opt/gpubox"),
    ],
)
def test_what_stops_the_main_job_fails_with_a_remedy(name, changes, words, remedy):
    found = check(name, **changes)
    assert found.mark == "fail"
    assert words in found.words
    assert remedy in found.remedy
    assert not can_work([found])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("image", {"image": ImageFacts("x", NOW - timedelta(days=90), 1)}),
        ("disk", {"image": None, "free_gib": 5.0}),
        (
            "driver",
            {
                "inventory": Inventory((H100,), "570.1", (12, 8)),
                "image": ImageFacts("x", NOW, 1, cuda=(12, 9)),
            },
        ),
        (
            "gpus",
            {
                "inventory": Inventory(
                    (H100, replace(H100, uuid="GPU-x", index=1, problem="It is lost.")), "580"
                )
            },
        ),
        ("gpus", {"inventory": Inventory(silent=("GPU 0 of the driver's list does not answer.",))}),
        ("engine", {"engine": EngineFacts("20.10.24", "/"), "inventory": Inventory()}),
        ("cdi", {"engine": EngineFacts("26.1.5", "/"), "inventory": Inventory()}),
        ("kept", {"may_write_cdi": False}),
    ],
)
def test_what_stops_a_part_of_it_warns_with_a_remedy(name, changes):
    found = check(name, **changes)
    assert found.mark == "warn"
    assert found.remedy


def test_nvidias_runtime_does_where_cdi_is_off():
    assert check("cdi", engine=EngineFacts("26.1.5", "/", runtimes=("nvidia", "runc"))).mark == "ok"


def test_an_image_without_cuda_asks_nothing_of_the_driver():
    assert check("driver", inventory=with_driver(cuda_version=(11, 4))).mark == "ok"


def test_gpus_are_counted_by_model_and_slice():
    found = check("gpus", inventory=with_driver(gpus=(H100, SLICE, replace(SLICE, uuid="MIG-d"))))
    assert found.words == "1x NVIDIA H100 80GB HBM3, 2x NVIDIA A100 (MIG 1g.10gb)"


def test_a_hub_that_runs_is_not_in_its_own_way():
    assert check("ports", ports={8000: ("web", "hub"), 8001: ("proxy's API", "hub")}).mark == "ok"


def test_processes_need_no_engine():
    checks = examine(replace(HEALTHY, engine_kind="process", engine=None, image=None, may_use_socket=None))
    assert can_work(checks)
    assert {check.name for check in checks}.isdisjoint({"rights", "cdi", "image"})


def test_one_line_a_check_aligned_with_its_remedy():
    text = render([Check("cdi", "ok", "on"), Check("engine", "fail", "off.", "turn it on")], colour=False)
    assert text.splitlines() == ["ok    cdi      on", "fail  engine   off. Remedy: turn it on"]


def test_colour_changes_the_mark_alone():
    (line,) = render([Check("cdi", "warn", "off.")], colour=True).splitlines()
    assert line == "\x1b[33mwarn\x1b[0m  cdi      off."
