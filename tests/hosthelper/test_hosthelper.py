"""The host helper on the real engine, asked by boxes with simulated GPUs of an older driver."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.types import DeviceRequest

from fixtures.waiting import until
from gpubox import hosthelper
from gpubox.hosthelper import container as helper_container
from simgpu import SimulatedDriver, SimulatedGPU

EXTENSION = Path(__file__).parents[2] / "extension"

# The server of a box with two kernels that have the GPU open (as far as that goes with no driver behind it).
SERVER = """
import json, subprocess, sys, time
KERNEL = '''
import glob, os, time
for node in glob.glob("/dev/nvidia*"):
    os.open(node, os.O_PATH)
print(flush=True)
time.sleep(3600)
'''
kernels = [subprocess.Popen([sys.executable, "-c", KERNEL], stdout=subprocess.PIPE) for _ in range(2)]
for kernel in kernels:
    kernel.stdout.readline()
print(json.dumps([kernel.pid for kernel in kernels]), flush=True)
time.sleep(3600)
"""

WHO = """
import json, sys
sys.path.insert(0, "/extension")
import pynvml
from jupyterlab_gpubox.owners import Owners
from jupyterlab_gpubox.procfs import Procfs
from jupyterlab_gpubox.records import GPU, Owner, Use
known = {{pid: Owner("kernel", str(pid), f"{{pid}}.ipynb") for pid in {kernels}}}
pynvml.nvmlInit()
uses, gpus = [], []
for index in range(pynvml.nvmlDeviceGetCount()):
    card = pynvml.nvmlDeviceGetHandleByIndex(index)
    gpus.append(GPU(pynvml.nvmlDeviceGetUUID(card), index, "nvidia", ""))
    for one in pynvml.nvmlDeviceGetComputeRunningProcesses(card):
        uses.append(Use(gpus[-1].id, one.pid, one.usedGpuMemory >> 20))
told = Owners(lambda: known, proc=Procfs(own={server})).processes(uses, gpus)
print(json.dumps({{
    "told": [use.pid for use in uses],
    "ours": [[one.pid, one.owner.name, one.memory_mib, one.is_estimated] for one in told.processes],
    "others": [[one.count, one.memory_mib] for one in told.others],
}}))
"""

RAW = """
import socket, sys
helper = socket.socket(socket.AF_UNIX)
helper.settimeout(30)
helper.connect("/run/gpubox/host-helper.sock")
try:
    helper.sendall({question!r})
    {end}
except OSError:
    pass  # it has heard enough
answer = b""
try:
    while data := helper.recv(65536):
        answer += data
except ConnectionResetError:
    pass
sys.stdout.buffer.write(answer)
"""

# Connections that say nothing, held until told to end.
SILENT = """
import socket, time
held = []
for _ in range(90):
    one = socket.socket(socket.AF_UNIX)
    one.connect("/run/gpubox/host-helper.sock")
    held.append(one)
print("held", flush=True)
time.sleep(3600)
"""


class Box:
    """A container as the spawner makes one, with the helper's socket in it."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.kernels: list[int] = json.loads(next(container.logs(stream=True)))
        self.server = min(self._inside())

    def _inside(self) -> dict[int, int]:
        """Pids of this box's Python programs, with the host's."""
        found = {}
        for line in self.container.top()["Processes"]:
            if "python3" in line[-1] and "docker-init" not in line[-1]:
                seen = Path(f"/proc/{line[1]}/status").read_text().partition("NSpid:")[2].split("\n")[0]
                found[int(seen.split()[-1])] = int(line[1])
        return found

    def host_pid(self, pid: int) -> int:
        return self._inside()[pid]

    def use(self, gpu: SimulatedGPU, kernel: int, memory_mib: int) -> None:
        gpu.add_process(self.host_pid(self.kernels[kernel]), memory_mib=memory_mib)

    def python(self, script: str) -> bytes:
        code, output = self.container.exec_run(["python3", "-c", script])
        assert code == 0, output.decode()
        return output

    def who(self) -> Any:
        """What the panel's server side says in this box."""
        return json.loads(self.python(WHO.format(kernels=self.kernels, server=self.server)))

    def ask(self, question: bytes, end: str = "helper.shutdown(socket.SHUT_WR)") -> bytes:
        return self.python(RAW.format(question=question, end=end))

    def pids(self, *pids: int) -> Any:
        return json.loads(self.ask(json.dumps({"pids": pids}).encode() + b"\n"))["pids"]


@pytest.fixture
def call(docker_client: docker.DockerClient) -> Callable[..., Any]:
    async def call(method: str, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(docker_client.api, method), *args, **kwargs)

    return call


@pytest.fixture
def hub_id(docker_client: docker.DockerClient) -> Iterator[str]:
    hub_id = f"test-{secrets.token_hex(4)}"
    yield hub_id
    for made in docker_client.containers.list(all=True, filters={"label": f"gpubox.helper={hub_id}"}):
        made.remove(force=True)
    for volume in docker_client.volumes.list(filters={"label": f"gpubox.helper={hub_id}"}):
        volume.remove(force=True)


@pytest.fixture
async def ensure(call, image: str) -> Callable[..., Any]:
    async def ensure(hub_id: str) -> None:
        await hosthelper.ensure_volume(call, hub_id)
        await hosthelper.ensure_helper(call, hub_id, image)

    return ensure


@pytest.fixture
async def helper(ensure, hub_id, docker_client) -> Any:
    await ensure(hub_id)
    return docker_client.containers.get(helper_container.name(hub_id))


@pytest.fixture
def gpu() -> Iterator[SimulatedGPU]:
    """One GPU that boxes share, with a driver that tells everyone the host's pids."""
    with SimulatedDriver("1xH100") as driver:
        driver.set(host_pids=1)
        yield driver.gpus[0]


@pytest.fixture
def make_box(docker_client, image, gpu, hub_id, helper) -> Iterator[Callable[[], Box]]:
    made = []

    def make() -> Box:
        made.append(
            docker_client.containers.run(
                image,
                entrypoint=["python3", "-c", SERVER],
                detach=True,
                init=True,
                user="1000:100",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                network_mode="none",
                volumes=[hosthelper.mount(hub_id), f"{EXTENSION}:/extension:ro"],
                device_requests=[DeviceRequest(driver="cdi", device_ids=[f"nvidia.com/gpu={gpu.uuid}"])],
            )
        )
        return Box(made[-1])

    yield make
    for container in made:
        container.remove(force=True)


def answers(box: Box) -> None:
    """Wait until the helper has begun to listen."""
    script = "import socket; print(socket.socket(socket.AF_UNIX).connect_ex('/run/gpubox/host-helper.sock'))"
    until(lambda: box.python(script).strip() == b"0", "the helper answers")


# --- what it says ---------------------------------------------------------------------------------------


def test_each_box_learns_its_own_processes_and_of_the_others_a_sum(make_box, gpu):
    alice, bob = make_box(), make_box()
    answers(alice)
    alice.use(gpu, 0, 1000)
    alice.use(gpu, 1, 500)
    bob.use(gpu, 1, 20)

    told = alice.who()
    assert set(told["told"]).isdisjoint(alice.kernels)  # the driver's pids say nothing here
    first, second = alice.kernels
    assert told["ours"] == [
        [first, f"{first}.ipynb", 1000, False],
        [second, f"{second}.ipynb", 500, False],
    ]
    assert told["others"] == [[1, 20]]
    assert bob.who()["ours"] == [[bob.kernels[1], f"{bob.kernels[1]}.ipynb", 20, False]]
    assert bob.who()["others"] == [[2, 1500]]


def test_nothing_is_said_of_another_box_of_the_host_and_of_the_helper(make_box, helper):
    alice, bob = make_box(), make_box()
    answers(alice)
    theirs = [bob.host_pid(pid) for pid in (bob.server, *bob.kernels)]
    mine = alice.host_pid(alice.kernels[0])

    told = alice.pids(mine, *theirs, 1, 2, helper.attrs["State"]["Pid"])

    assert told == {str(mine): alice.kernels[0]}


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"pids": [1]}',  # and no end of line
        b'{"pids": ["1"]}\n',
        b"\0" * 5000 + b"\n",
        b"[" * 15000 + b"\n",
        b'{"pids": [' + b"1, " * 20000,
    ],
)
def test_garbage_is_refused_in_words_and_the_next_question_is_answered(make_box, garbage):
    box = make_box()
    answers(box)

    assert b"Expected one line of JSON" in box.ask(garbage)

    mine = box.host_pid(box.kernels[0])
    assert box.pids(mine) == {str(mine): box.kernels[0]}


def test_a_question_that_never_ends_is_ended(make_box):
    box = make_box()
    answers(box)
    assert box.ask(b'{"pids": [1', end="pass") == b""


def test_a_box_that_holds_many_connections_keeps_no_other_from_asking(make_box, docker_client):
    greedy, other = make_box(), make_box()
    answers(other)
    held = docker_client.api.exec_create(greedy.container.id, ["python3", "-c", SILENT])
    assert next(docker_client.api.exec_start(held, stream=True)).strip() == b"held"

    mine = other.host_pid(other.kernels[0])
    assert other.pids(mine) == {str(mine): other.kernels[0]}


def test_a_box_cannot_put_itself_in_the_helpers_place(make_box):
    box = make_box()
    answers(box)
    for attempt in ("touch", "rm -f", "ln -s /etc/passwd"):
        code, _ = box.container.exec_run(["sh", "-c", f"{attempt} /run/gpubox/host-helper.sock"])
        assert code != 0


def test_without_the_helper_owners_are_estimates_until_it_is_back(make_box, gpu, helper, ensure, hub_id):
    box = make_box()
    answers(box)
    box.use(gpu, 0, 1000)
    box.use(gpu, 1, 500)
    exact = box.who()["ours"]

    helper.remove(force=True)
    assert box.who()["ours"] == [[*one[:3], True] for one in exact]

    asyncio.run(ensure(hub_id))
    answers(box)
    assert box.who()["ours"] == exact


# --- what it may ------------------------------------------------------------------------------------------


async def test_it_has_no_right_but_to_see_the_hosts_processes(helper):
    config, host = helper.attrs["Config"], helper.attrs["HostConfig"]
    assert (host["PidMode"], host["Privileged"], host["CapAdd"]) == ("host", False, None)
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"]
    # The second is Docker's own: SELinux cannot label what shares the host's processes.
    assert set(host["SecurityOpt"]) <= {"no-new-privileges", "label=disable"}
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (64 * 2**20, 64 * 2**20, 8)
    assert not host["DeviceRequests"] and not host["Devices"]
    assert [mount["Destination"] for mount in helper.attrs["Mounts"]] == ["/run/gpubox"]

    # The kernel's word on the process itself.
    status = Path(f"/proc/{helper.attrs['State']['Pid']}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert [int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
    assert fields["NoNewPrivs"] == "1"
    assert set(fields["Uid"].split()) == set(fields["Gid"].split()) == {"65533"}
    assert config["User"] == "65533:65533"


# --- that it is there ---------------------------------------------------------------------------------------


async def test_calls_at_once_and_later_ones_find_the_same_helper(ensure, hub_id, docker_client):
    def helpers() -> list[str]:
        filters = {"label": f"gpubox.helper={hub_id}"}
        return [one.id for one in docker_client.containers.list(all=True, filters=filters)]

    await asyncio.gather(ensure(hub_id), ensure(hub_id), ensure(hub_id))
    first = helpers()
    await ensure(hub_id)

    assert len(first) == 1 and helpers() == first


async def test_a_helper_of_another_program_is_replaced_and_another_hubs_left_alone(
    ensure, helper, hub_id, docker_client, monkeypatch
):
    other = f"{hub_id}-other"
    try:
        await ensure(other)
        others = docker_client.containers.get(helper_container.name(other))
        monkeypatch.setattr(helper_container, "_IDLE_SECONDS", 1800)

        await ensure(hub_id)

        assert docker_client.containers.get(helper_container.name(hub_id)).id != helper.id
        others.reload()
        assert others.status == "running"
    finally:
        docker_client.containers.get(helper_container.name(other)).remove(force=True)
        docker_client.volumes.get(helper_container.name(other)).remove()


async def test_a_helper_that_the_engine_is_removing_already_is_waited_for(
    call, helper, hub_id, docker_client, image, monkeypatch
):
    monkeypatch.setattr(helper_container, "_IDLE_SECONDS", 1800)  # it is another program's
    removal: list[asyncio.Task[Any]] = []

    async def busy(method: str, *args: Any, **kwargs: Any) -> Any:
        """An engine that removes the helper, as one does that has ended, when it is asked to, too."""
        if method == "remove_container":
            response = requests.Response()
            response.status_code = 409
            raise docker.errors.APIError("removal is already in progress", response=response)
        if method == "wait":
            removal.append(asyncio.create_task(call("remove_container", helper.id, force=True)))
        return await call(method, *args, **kwargs)

    await hosthelper.ensure_helper(busy, hub_id, image)
    await removal[0]
    now = docker_client.containers.get(helper_container.name(hub_id))
    assert now.id != helper.id and now.status == "running"


async def test_a_helper_that_nobody_asks_ends_and_leaves_no_container(
    ensure, hub_id, docker_client, monkeypatch
):
    monkeypatch.setattr(helper_container, "_IDLE_SECONDS", 0.5)
    await ensure(hub_id)
    filters = {"label": f"gpubox.helper={hub_id}"}
    until(lambda: not docker_client.containers.list(all=True, filters=filters), "it has ended")


async def test_an_image_without_python_is_an_error_and_leaves_no_container(
    call, hub_id, docker_client, image
):
    await hosthelper.ensure_volume(call, hub_id)
    with pytest.raises(docker.errors.APIError, match="python3"):
        await hosthelper.ensure_helper(call, hub_id, "gpubox/base:trixie")
    filters = {"label": f"gpubox.helper={hub_id}"}
    until(lambda: not docker_client.containers.list(all=True, filters=filters), "it is removed")
