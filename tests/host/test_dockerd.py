"""Docker's settings, and what a machine that was cut off leaves behind."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from gpubox.host import dockerd


@pytest.fixture
def settings(tmp_path):
    return tmp_path / "docker" / "daemon.json"


def write(settings, text):
    settings.parent.mkdir()
    settings.write_text(text)


def test_cdi_is_turned_on_where_there_are_no_settings(settings):
    dockerd.turn_cdi_on(settings)
    assert json.loads(settings.read_text()) == {"features": {"cdi": True}}


def test_all_other_settings_are_kept(settings):
    write(settings, '{"data-root": "/big", "features": {"containerd-snapshotter": true}}')
    dockerd.turn_cdi_on(settings)
    assert json.loads(settings.read_text()) == {
        "data-root": "/big",
        "features": {"containerd-snapshotter": True, "cdi": True},
    }


def test_settings_with_cdi_on_are_not_written_again(settings):
    text = '{ "features": {"cdi": true} }'
    write(settings, text)
    dockerd.turn_cdi_on(settings)
    assert settings.read_text() == text


def test_the_mode_of_the_settings_is_kept(settings):
    write(settings, "{}")
    settings.chmod(0o600)
    dockerd.turn_cdi_on(settings)
    assert settings.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["{not json", '["a list"]', '{"features": "all"}'])
def test_settings_that_cannot_be_understood_are_left_alone(settings, text):
    write(settings, text)
    with pytest.raises(ValueError, match=r"daemon\.json is not"):
        dockerd.turn_cdi_on(settings)
    assert settings.read_text() == text


@pytest.fixture
def pid_file(tmp_path, monkeypatch):
    file = tmp_path / "docker.pid"
    monkeypatch.setattr(dockerd, "_PID_FILES", {file: "sleep"})
    monkeypatch.setattr(dockerd, "_CONTAINERD_SOCKETS", ())
    return file


def test_a_pid_file_of_an_engine_that_is_gone_is_removed(pid_file):
    ended = subprocess.Popen(["true"])
    ended.wait()
    pid_file.write_text(str(ended.pid))
    dockerd.forget_the_dead()
    assert not pid_file.exists()


def test_a_pid_file_whose_number_another_program_has_now_is_removed(pid_file):
    pid_file.write_text(str(os.getpid()))
    dockerd.forget_the_dead()
    assert not pid_file.exists()


def test_a_pid_file_of_a_running_engine_is_kept(pid_file):
    running = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text(str(running.pid))
        deadline = time.monotonic() + 10
        while Path(f"/proc/{running.pid}/comm").read_text().strip() != "sleep":
            assert time.monotonic() < deadline
        dockerd.forget_the_dead()
        assert pid_file.exists()
    finally:
        running.kill()
        running.wait()


def test_a_containerd_socket_is_removed_only_where_nobody_serves_it(tmp_path, monkeypatch):
    served, dead = tmp_path / "served.sock", tmp_path / "dead.sock"
    monkeypatch.setattr(dockerd, "_PID_FILES", {})
    monkeypatch.setattr(dockerd, "_CONTAINERD_SOCKETS", (served, dead))
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(dead))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(served))
        listener.listen()
        dockerd.forget_the_dead()
    assert (served.exists(), dead.exists()) == (True, False)
