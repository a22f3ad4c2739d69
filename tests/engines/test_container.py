"""What a container is given for its machine type and lease: no engine needed."""

from dataclasses import replace

import pytest

from gpubox.engines import container
from gpubox.engines.container import BoxSpec

H100 = "GPU-11111111-1111-1111-1111-111111111111"

SPEC = BoxSpec(
    hub_id="hub1",
    user="o'brien",
    server="my-server",
    lease_id=7,
    machine="1x-h100",
    gpus=(H100,),
    cpus=2.5,
    memory_mib=1024,
    shm_mib=512,
    pids=300,
)


def host_config(stock=None, spec=SPEC, attachment="cdi"):
    arguments = {"host_config": stock or {}}
    arguments = container.create_arguments(arguments, spec, attachment, "jovyan", "1000:100")
    return arguments["host_config"]


def test_libraries_are_told_how_many_cpus_there_are_for_them():
    assert container.thread_hints(SPEC) == {"OMP_NUM_THREADS": "2"}
    assert container.thread_hints(replace(SPEC, cpus=0.5)) == {"OMP_NUM_THREADS": "1"}
    assert container.thread_hints(replace(SPEC, cpus=None)) == {}


def test_limits_come_from_the_machine_type():
    config = host_config({"Memory": 1, "ShmSize": 1})
    assert config["Memory"] == 1024 * 2**20
    assert config["MemorySwap"] == config["Memory"]
    assert config["CpuQuota"] / config["CpuPeriod"] == 2.5
    assert config["ShmSize"] == 512 * 2**20
    assert config["PidsLimit"] == 300


def test_a_machine_type_without_limits_leaves_the_spawners_own():
    spec = replace(SPEC, cpus=None, memory_mib=None, shm_mib=None)
    config = host_config({"Memory": 5, "CpuQuota": 6, "CpuPeriod": 7}, spec)
    assert (config["Memory"], config["CpuQuota"], config["CpuPeriod"]) == (5, 6, 7)
    assert "ShmSize" not in config


def test_gpus_are_asked_for_by_cdi_name_beside_the_admins_own_devices():
    own = {"Driver": "cdi", "DeviceIDs": ["example.com/fpga=0"]}
    requests = host_config({"DeviceRequests": [own]})["DeviceRequests"]
    assert requests == [own, {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={H100}"]}]


def test_gpuboxs_own_mounts_come_beside_the_admins():
    spec = replace(SPEC, binds=("helper:/run/gpubox:ro",))
    assert host_config({"Binds": ["home:/home/jovyan"]}, spec)["Binds"] == [
        "home:/home/jovyan",
        "helper:/run/gpubox:ro",
    ]
    assert "Binds" not in host_config()


def test_gpus_are_asked_for_by_uuid_where_the_engine_has_no_cdi():
    (request,) = host_config(attachment="nvidia-runtime")["DeviceRequests"]
    assert request["DeviceIDs"] == [H100]
    assert request["Capabilities"] == [["gpu"]]


def test_a_cpu_machine_asks_for_no_device():
    assert "DeviceRequests" not in host_config(spec=replace(SPEC, gpus=()))


def test_the_image_cannot_bring_in_all_gpus_through_nvidias_runtime():
    assert container.environment(SPEC)["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_containers_are_locked_down_unless_the_admin_says_otherwise():
    config = host_config()
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert config["CapDrop"] == ["ALL"]
    assert config["Init"] is True
    loosened = host_config(
        {"SecurityOpt": ["no-new-privileges:false"], "CapAdd": ["SYS_PTRACE"], "Init": False}
    )
    assert loosened["SecurityOpt"] == ["no-new-privileges:false"]
    assert "CapDrop" not in loosened
    assert loosened["Init"] is False


@pytest.mark.parametrize("image_user", ["", "root", "0", "0:0", "root:root"])
def test_an_image_that_would_run_as_root_does_not(image_user):
    arguments = container.create_arguments({}, SPEC, "cdi", image_user, "1000:100")
    assert arguments["user"] == "1000:100"


def test_the_user_of_image_or_admin_is_kept():
    assert "user" not in container.create_arguments({}, SPEC, "cdi", "jovyan", "1000:100")
    kept = container.create_arguments({"user": "root"}, SPEC, "cdi", "", "1000:100")
    assert kept["user"] == "root"


def test_labels_join_the_admins_own_and_lead_back_to_the_box():
    arguments = container.create_arguments({"labels": {"team": "vision"}}, SPEC, "cdi", "jovyan", "")
    assert arguments["labels"]["team"] == "vision"
    box = container.box_from_listing(
        {"Id": "abc", "Names": ["/jupyter-o"], "State": "running", "Labels": arguments["labels"]}
    )
    assert (box.user, box.server, box.gpus) == ("o'brien", "my-server", (H100,))
    assert box.running and not box.unstarted


@pytest.mark.parametrize(
    ("state", "running", "unstarted"),
    [
        ("created", False, True),
        ("exited", False, False),
        ("dead", False, False),
        ("paused", True, False),
        ("restarting", True, False),
        ("removing", True, False),
    ],
)
def test_only_a_container_that_has_ended_is_taken_for_stopped(state, running, unstarted):
    entry = {"Id": "a", "Names": ["/a"], "State": state, "Labels": container.labels(SPEC)}
    box = container.box_from_listing(entry)
    assert (box.running, box.unstarted) == (running, unstarted)


def test_a_kept_container_serves_only_the_same_gpus_and_machine():
    kept = {"Config": {"Labels": container.labels(SPEC)}}
    assert container.is_same_machine(kept, replace(SPEC, lease_id=8))
    assert not container.is_same_machine(kept, replace(SPEC, gpus=("GPU-other",)))
    assert not container.is_same_machine(kept, replace(SPEC, machine="2x-h100"))
    assert not container.is_same_machine({"Config": {"Labels": None}}, SPEC)


def test_a_templates_user_is_a_number_or_the_one_that_boxes_run_as():
    def user(named, *, is_template):
        image = {"Config": {"User": named}}
        return container.user_of(image, is_template=is_template)

    assert user("jovyan", is_template=False) == "jovyan"
    assert user("jovyan", is_template=True) == ""  # whoever made it may have written that this is uid 0
    assert user("1000:100", is_template=True) == "1000:100"
    assert container.create_arguments({}, SPEC, "cdi", "", "1000:100")["user"] == "1000:100"
