"""`gpubox template save` as somebody in a terminal has it; the hub's service is a stand-in."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from extension.service_stand_in import TOKEN, StandInService
from extension.test_save_dialog import BEGUN, DONE, NONE_YET
from fixtures.jupyter import TREE
from fixtures.waiting import until

COMMAND = "import sys; from jupyterlab_gpubox import template; sys.exit(template.main())"
BOX = {"machine": "cpu", "title": "CPU", "started": 1.0, "ends": None, "server": "big-run"}


@pytest.fixture
def service():
    service = StandInService().start()
    service.answers |= {"templates": (200, NONE_YET), "templates/save": (200, BEGUN)}
    yield service
    service.stop()


@pytest.fixture
def begin(service):
    """Starts the command, with these words, in a machine of the stand-in's hub."""
    begun = []

    def begin(*words, stdout=subprocess.PIPE, **changes):
        box = json.dumps({**BOX, "service": service.url})
        environment = {"GPUBOX_BOX": box, "JUPYTERHUB_API_TOKEN": TOKEN, "PYTHONPATH": f"{TREE}/extension"}
        begun.append(
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, *words],
                env={**os.environ, **environment, "http_proxy": "http://127.0.0.1:1", **changes},
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def ended(process):
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout or "", stderr


def asked(service):
    return until(lambda: service.of("templates/save"), "the hub is asked to save")


def test_it_saves_tells_how_far_and_names_what_looks_like_a_secret(service, begin):
    process = begin("save", "--name", "torch-lab", "--note", "what for")
    assert asked(service) == [{"server": "big-run", "name": "torch-lab", "note": "what for"}]
    until(lambda: service.streams, "the command listens")
    service.save(BEGUN | {"words": "Keeping what was changed", "size_bytes": 1_400_000_000})
    service.save(DONE | {"secrets": ["/opt/\x1b[2J.netrc"]})
    code, told, _ = ended(process)
    assert code == 0
    assert "Keeping what was changed (1.40 GB) ...\n" in told
    assert "Saved as version 1 of torch-lab. It takes 1.40 GB." in told
    assert "/opt/\\x1b[2J.netrc" in told and "\x1b" not in told


def test_in_a_terminal_the_line_changes_in_its_place(service, begin):
    ours, theirs = pty.openpty()
    process = begin("save", "--name", "torch-lab", stdout=theirs)
    os.close(theirs)
    until(lambda: service.streams, "the command listens")
    service.save(BEGUN)
    service.save(BEGUN | {"words": "Keeping what was changed"})
    service.save(DONE)
    assert process.wait(60) == 0
    told = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\rKeeping" in told.replace("\x1b[K", "") and told.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"GPUBOX_BOX": ""}, "This is no machine of a gpubox hub, or of one without its service."),
        ({"JUPYTERHUB_API_TOKEN": "stale"}, "no"),
        ({}, "This machine is being saved already."),
    ],
)
def test_a_refusal_is_a_sentence_and_exit_status_1(service, begin, changes, sentence):
    service.answers["templates/save"] = (409, {"message": "This machine is being saved already."})
    code, told, said = ended(begin("save", "--name", "torch-lab", **changes))
    assert (code, told, said) == (1, "", f"gpubox: {sentence}\n")


def test_a_save_that_fails_says_why(service, begin):
    process = begin("save", "--name", "torch-lab")
    asked(service)
    service.save(BEGUN | {"state": "failed", "words": "The disk is full.", "ended_at": time.time()})
    assert ended(process)[::2] == (1, "gpubox: The disk is full.\n")


def test_a_hub_that_began_anew_has_kept_nothing(service, begin):
    process = begin("save", "--name", "torch-lab")
    asked(service)
    until(lambda: service.streams, "the command listens")
    service.save(BEGUN)
    service.save()
    code, _, said = ended(process)
    assert code == 1 and "The hub began anew meanwhile" in said


def test_ctrl_c_ends_the_save_and_keeps_nothing(service, begin):
    process = begin("save", "--name", "torch-lab")
    until(lambda: service.streams, "the command listens")
    service.save(BEGUN)
    assert process.stdout.readline() == "Looking at what was changed ...\n"
    cancelled = BEGUN | {"state": "cancelled", "words": "Cancelled. Nothing was kept.", "ended_at": 1.0}
    service.answers["templates"] = (200, NONE_YET | {"saves": [cancelled]})
    os.killpg(process.pid, signal.SIGINT)
    code, _, said = ended(process)
    assert (code, said) == (130, "gpubox: Cancelled. Nothing was kept.\n")
    assert service.of("templates/cancel") == [{"save": "a1b2"}]


def test_no_hub_and_no_name(begin):
    assert ended(begin("save"))[0] == 2
    gone = json.dumps({**BOX, "service": "http://127.0.0.1:1/"})
    code, _, said = ended(begin("save", "--name", "x", GPUBOX_BOX=gone))
    assert (code, said) == (1, "gpubox: The hub does not answer now. Try again in a minute.\n")
