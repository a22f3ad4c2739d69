"""The command `gpubox`, run as people run it."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from gpubox import __version__, db
from simgpu import SimulatedLibrary

GPUBOX = Path(sys.executable).parent / "gpubox"


def gpubox(*arguments, **environment):
    return subprocess.run(
        [GPUBOX, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


def test_the_version_is_the_distributions():
    assert gpubox("--version").stdout.strip() == f"gpubox {__version__}"


def test_every_command_says_what_it_is_for():
    words = gpubox("--help").stdout
    for command in (
        "run",
        "doctor",
        "gpus",
        "top",
        "queue",
        "drain",
        "undrain",
        "end",
        "leases",
        "usage",
        "image",
    ):
        assert command in words
        assert gpubox(command, "--help").returncode == 0


def test_gpus_lists_each_gpu_with_its_model_and_uuid(tmp_path):
    with SimulatedLibrary("2xH100") as driver:
        environment = {**driver.environment(), "GPUBOX_DIR": str(tmp_path)}
        done = gpubox("gpus", **environment)
        told = json.loads(gpubox("gpus", "--json", **environment).stdout)
    assert done.returncode == 0, done.stderr
    for gpu in driver.gpus:
        assert gpu.uuid in done.stdout
    assert done.stdout.count("H100") == 2
    assert "HELD BY" not in done.stdout
    assert [(gpu["uuid"], gpu["state"]) for gpu in told] == [(gpu.uuid, None) for gpu in driver.gpus]


@pytest.mark.parametrize(
    "arguments", [("queue",), ("drain", "0"), ("undrain", "0"), ("end", "ada")], ids=lambda words: words[0]
)
def test_with_no_hub_a_sentence_says_so_and_what_works_without(arguments, tmp_path):
    done = gpubox(*arguments, GPUBOX_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"gpubox: No hub runs here (its state would be in {tmp_path})")
    assert "gpubox gpus, leases, usage" in done.stderr


@pytest.fixture
def books(tmp_path):
    """A state directory with two leases of November 2026: one that has ended, one that goes on."""
    engine = db.open_database(f"sqlite:///{tmp_path / 'gpubox.sqlite'}")
    noon = datetime(2026, 11, 10, 12).timestamp()
    usual = {"machine": "h100", "title": "1x H100", "count": 1, "slots_per_gpu": 1, "price_per_hour": 2.5}
    usual |= {"groups": [], "requested_at": noon, "granted_at": noon}
    with engine.begin() as connection:
        ended = {**usual, "user": "o'brien", "server": "", "released_at": noon + 4 * 3600}
        held = {**usual, "user": "ada", "server": "big-run", "count": 0, "released_at": None}
        connection.execute(db.lease.insert(), [ended, held])
        use = {"gpu_uuid": "GPU-0", "lease_id": 1, "measured_seconds": 900.0, "utilised_seconds": 0.0}
        quarters = [int(noon) + 900 * n for n in range(4)]
        connection.execute(
            db.gpu_use.insert(), [{**use, "begin": begin, "idle_seconds": 900.0} for begin in quarters]
        )
    return {"GPUBOX_DIR": str(tmp_path)}


def test_leases_lists_what_is_held(books):
    done = gpubox("leases", **books)
    assert done.returncode == 0, done.stderr
    assert "ada" in done.stdout and "big-run" in done.stdout
    assert "o'brien" not in done.stdout
    (told,) = json.loads(gpubox("leases", "--json", **books).stdout)
    assert (told["user"], told["server"], told["gpus"]) == ("ada", "big-run", [])


def test_usage_sums_a_month_up(books):
    done = gpubox("usage", "--month", "2026-11", **books)
    assert done.returncode == 0, done.stderr
    assert re.search(r"o'brien +1 +4\.0 +4\.0 +1\.0 +10\.00 +2\.50", done.stdout)
    assert re.search(r"^all +2 ", done.stdout, re.MULTILINE)
    assert "Idle is known for the 25% of the GPU-hours" in done.stdout
    told = json.loads(gpubox("usage", "--month", "2026-11", "--by", "machine", "--json", **books).stdout)
    assert [(row["name"], row["leases"]) for row in told["rows"]] == [("h100", 2)]
    assert told["total"]["idle_gpu_hours"] == 1
    assert gpubox("usage", "--month", "2026-10", **books).stdout == "Nothing was used in 2026-10.\n"


def test_usage_of_some_days_by_each_key_for_some_people(books):
    usage = ("usage", "--from", "2026-11-10", "--to", "2026-11-11", "--json")
    told = json.loads(gpubox(*usage, "--by", "day", **books).stdout)
    assert [row["name"] for row in told["rows"]] == ["2026-11-10", "2026-11-11"]
    told = json.loads(gpubox(*usage, "--by", "group", "--user", "o'brien", **books).stdout)
    assert [(row["name"], row["leases"]) for row in told["rows"]] == [("(no group)", 1)]
    assert json.loads(gpubox(*usage, "--group", "students", **books).stdout)["rows"] == []
    done = gpubox("usage", "--from", "2026-11-12", "--to", "2026-11-11", **books)
    assert done.stderr.startswith("gpubox: From 2026-11-12 to 2026-11-11 is no time")


def test_usage_for_spreadsheets(books):
    done = gpubox("usage", "--month", "2026-11", "--user", "o'brien", "--csv", **books)
    assert done.stdout.splitlines() == [
        "user,leases,hours,gpu_hours,idle_gpu_hours,measured_gpu_hours,cost,idle_cost",
        "o'brien,1,4.0000,4.0000,1.0000,1.0000,10.00,2.50",
    ]


def test_wrong_months_and_missing_books_are_sentences(books, tmp_path):
    done = gpubox("usage", "--month", "last", **books)
    assert (done.returncode, done.stderr) == (1, "gpubox: 'last' is no month: write it as 2026-11.\n")
    done = gpubox("leases", GPUBOX_DIR=str(tmp_path / "new"))
    assert done.returncode == 1
    assert done.stderr.startswith("gpubox: There are no leases yet")
    done = gpubox("leases", "--database", "nonsense")
    assert done.returncode == 1
    assert "cannot be read" in done.stderr and "Traceback" not in done.stderr


def test_doctor_fails_where_no_engine_answers_and_says_so():
    done = gpubox("doctor", DOCKER_HOST="tcp://127.0.0.1:9")
    assert done.returncode == 1
    assert "fail  engine   No Docker engine answers at tcp://127.0.0.1:9" in done.stdout


def test_doctor_is_content_with_processes_where_no_engine_answers():
    done = gpubox("doctor", "--engine", "process", "--port", "58000", DOCKER_HOST="tcp://127.0.0.1:9")
    assert "engine   local processes" in done.stdout
    assert "cdi" not in done.stdout


def test_doctor_sees_the_engine_and_the_image(docker_client, image):
    lines = gpubox("doctor").stdout.splitlines()
    assert any(line.startswith("ok    engine") for line in lines)
    assert any(line.startswith("ok    image") and image in line for line in lines)


def test_an_image_that_there_is_none_of_is_answered_with_those_there_are():
    for words in (("image", "windows"), ("image", "build", "cpu", "cuda")):
        done = gpubox(*words)
        assert done.returncode == 2
        assert "there are: cpu, cuda, cuda12" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--engine", "docker"),
        ("run", "--engine", "process", "--config", "/no/such/config.py"),
        ("image",),
        ("image", "build", "cuda"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_status_1(arguments, tmp_path):
    done = gpubox(*arguments, DOCKER_HOST="tcp://127.0.0.1:9", GPUBOX_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("gpubox: ")
    assert "Traceback" not in done.stderr


def test_a_state_directory_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    done = gpubox("run", "--engine", "process", GPUBOX_DIR=str(tmp_path / "file" / "state"))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert str(tmp_path / "file") in done.stderr


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_refused(port):
    done = gpubox("run", "--port", port)
    assert done.returncode == 2
    assert "is no port" in done.stderr
