"""The commands that speak with a running hub: gpus, queue, drain, undrain, end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpubox.commands import gpus, line
from simgpu import SimulatedDriver

GPUBOX = Path(sys.executable).parent / "gpubox"
MACHINES = [
    {"name": "h100", "title": "1x H100", "gpu": "H100", "price": 2.5, "time_limit": "2h"},
    {"name": "quarter", "title": "Quarter of an A100", "gpu": "A100", "sharing": "shared: 4"},
]


@pytest.fixture(scope="module")
def driver():
    with SimulatedDriver("2xH100+1xA100") as driver:
        yield driver


@pytest.fixture(scope="module")
def hub(make_process_hub, driver):
    return make_process_hub(engine="process", machines=MACHINES, environment=driver.environment()).start()


@pytest.fixture(autouse=True)
def as_it_was(request):
    yield
    if "hub" in request.fixturenames:
        hub = request.getfixturevalue("hub")
        hub.stop_all()
        for number in ("0", "1"):
            gpubox(hub, "undrain", number)


def gpubox(hub, *arguments):
    environment = {**os.environ, **hub.environment, "GPUBOX_DIR": str(hub.directory / "state")}
    return subprocess.run([GPUBOX, *arguments], env=environment, capture_output=True, text=True, timeout=120)


def told(hub, *arguments):
    done = gpubox(hub, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gpus_says_who_holds_each_and_since_when(hub, driver):
    hub.run("alice", "h100")
    hub.run("bob", "quarter", "small")
    table = told(hub, "gpus")
    head, *rows = table.splitlines()
    assert head.split() == ["GPU", "MODEL", "MEMORY", "STATE", "HELD", "BY", "SINCE", "UUID"]
    assert sorted(re.search(r"GiB  +(\S+)  +(\S+)", row).groups() for row in rows) == [
        ("leased", "alice"),
        ("leased", "bob/small"),
        ("ready", "-"),
    ]
    assert "bob/small (25%)" in table
    rows = json.loads(told(hub, "gpus", "--json"))
    assert [gpu["uuid"] for gpu in rows] == [gpu.uuid for gpu in driver.gpus]
    (quarter,) = rows[2]["holders"]
    assert (quarter["user"], quarter["server"], quarter["machine"], quarter["share"]) == (
        *("bob", "small", "quarter"),
        0.25,
    )


def test_queue_says_who_waits_in_which_place_and_how_long_yet(hub):
    assert told(hub, "queue") == "Nobody waits.\n"
    assert json.loads(told(hub, "queue", "--json")) == []
    for user in ("alice", "bob"):
        hub.run(user, "h100")
    hub.ask_for("carol", "h100")
    hub.until(lambda: told(hub, "queue") != "Nobody waits.\n", "carol waits")
    table = told(hub, "queue")
    assert re.search(r"^1 of 1 +carol +h100 +\d+ s +in about \d .*by time limits", table, re.MULTILINE), table
    (ticket,) = json.loads(told(hub, "queue", "--json"))
    assert (ticket["user"], ticket["machine"], ticket["position"]) == ("carol", "h100", 1)

    assert told(hub, "end", "carol") == "carol waits for 1x H100 no more.\n"
    assert told(hub, "queue") == "Nobody waits.\n"


def test_a_free_gpu_is_drained_at_once_and_nobody_gets_it(hub, driver):
    said = told(hub, "drain", "0", "--reason", "a fan rattles")
    assert f"{driver.gpus[0].uuid}) is drained: nobody gets it until gpubox undrain" in said
    assert "drained: a fan rattles" in told(hub, "gpus")
    hub.run("alice", "h100")
    assert hub.gpus_held()["alice"] == [driver.gpus[1].uuid]
    assert told(hub, "undrain", driver.gpus[0].uuid).endswith("serves again.\n")
    assert "rattles" not in told(hub, "gpus")


def test_who_holds_a_gpu_that_is_drained_is_named_and_keeps_it_until_ended(hub):
    hub.run("alice", "h100")
    (uuid,) = hub.gpus_held()["alice"]
    said = told(hub, "drain", uuid[:12])
    assert "is draining" in said
    assert re.search(r"alice, since .* \(stop it now: gpubox end alice/\)", said)
    assert hub.is_ready("alice")
    said = told(hub, "end", "alice/", "--reason", "maintenance")
    assert said == f"alice (1x H100) is stopped and has given back {uuid}.\n"
    assert hub.open_leases() == []
    assert re.search(rf"drained .*{uuid}", told(hub, "gpus"))


def test_a_gpu_that_serves_again_goes_to_who_waits_and_that_is_said(hub, driver):
    told(hub, "drain", "0")
    hub.run("alice", "h100")
    hub.ask_for("bob", "h100")
    hub.until(lambda: told(hub, "queue") != "Nobody waits.\n", "bob waits")
    assert "serves again, and bob has it" in told(hub, "undrain", "0")
    hub.until(lambda: hub.is_ready("bob"), "bob's server is ready")


def test_what_cannot_be_done_is_a_sentence(hub):
    for arguments, sentence in (
        (("drain", "17"), "There is no GPU '17'; there are:"),
        (("drain", "GPU-"), "'GPU-' is 3 GPUs; say which by its UUID:"),
        (("end", "carol"), "There is no carol: carol has no machine and waits for none."),
    ):
        done = gpubox(hub, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"gpubox: {sentence}"), done.stderr


# --- which is meant -----------------------------------------------------------------------------------


def gpu(index, uuid):
    return {"index": index, "uuid": uuid}


CARDS = [gpu(0, "GPU-0aaa"), gpu(1, "GPU-1bbb"), gpu(1, "MIG-1ccc"), gpu(2, "GPU-7ddd")]


@pytest.mark.parametrize(
    ("words", "uuid"),
    [("0", "GPU-0aaa"), ("2", "GPU-7ddd"), ("GPU-1", "GPU-1bbb"), ("1c", "MIG-1ccc"), ("7", "GPU-7ddd")],
)
def test_a_gpu_goes_by_its_number_or_the_beginning_of_its_uuid(words, uuid):
    assert gpus.find(words, CARDS)["uuid"] == uuid


def test_a_number_comes_before_the_beginning_of_a_uuid():
    cards = [gpu(0, "GPU-1aaa"), gpu(1, "GPU-0bbb")]
    assert gpus.find("1", cards)["uuid"] == "GPU-0bbb"


@pytest.mark.parametrize("words", ["", "1", "GPU", "GPU-1bbb0", "3"])
def test_what_is_no_gpu_or_several_is_refused_with_those_there_are(words):
    with pytest.raises(gpus.WhichGPU, match="GPU-1bbb"):
        gpus.find(words, CARDS)


def lease(user, server):
    return {"user": user, "server": server}


LEASES = [lease("ada", ""), lease("ada", "big"), lease("ben", "x")]


def test_a_server_goes_by_its_user_where_that_is_the_only_one():
    assert line.find("ben", LEASES) == lease("ben", "x")
    assert line.find("ada/", LEASES) == lease("ada", "")
    assert line.find("ada/big", LEASES) == lease("ada", "big")
    with pytest.raises(line.WhichServer, match="ada has 2; say which: ada/, ada/big"):
        line.find("ada", LEASES)
    with pytest.raises(line.WhichServer, match="There is no ben/y: ben has: ben/x"):
        line.find("ben/y", LEASES)
