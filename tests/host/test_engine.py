"""Whether an engine answers, whose it is to start, and what is said where it is not ours."""

import os
import socket
import subprocess
import sys

import pytest

from gpubox.host import engine
from gpubox.host.engine import EngineFacts, EngineProblem


def test_an_engine_that_answers_is_used_and_nothing_is_said(docker_client):
    said = []
    assert engine.ensure_engine(said.append).ping()
    assert said == []


def test_the_engine_tells_its_version_and_cdi(docker_client):
    found = engine.facts(docker_client)
    assert found.version == docker_client.version()["Version"]
    assert found.major >= 25
    assert found.has_cdi


def test_an_engine_that_docker_host_names_is_never_replaced_by_our_own(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(EngineProblem, match=r"tcp://127.0.0.1:9.*unset DOCKER_HOST"):
        engine.ensure_engine(print)


def test_without_root_a_missing_engine_is_one_sentence_with_two_ways_out(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(engine, "SOCKET", tmp_path / "none.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EngineProblem, match=r"sudo make run.*ENGINE=process"):
        engine.ensure_engine(print)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_outside_the_engines_group_is_told_the_group(tmp_path):
    closed = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(closed))
        closed.chmod(0o600)
        for folder in (tmp_path, *list(tmp_path.parents)[:2]):
            folder.chmod(0o755)
        words = subprocess.run(
            [sys.executable, "-c", _CONNECT_AS_NOBODY],
            env={**os.environ, "DOCKER_HOST": f"unix://{closed}"},
            capture_output=True,
            text=True,
        )
    assert "usermod -aG docker" in words.stdout, words.stderr


_CONNECT_AS_NOBODY = """
import os
from gpubox.host import engine
import docker.api.client, requests
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    engine.connect()
except engine.EngineProblem as problem:
    print(problem)
"""


@pytest.mark.parametrize(
    ("version", "major"), [("26.1.5+dfsg1", 26), ("5:28.0.1", 28), ("20.10.24", 20), ("", 0)]
)
def test_the_major_version_is_read_from_debians_and_dockers_spelling(version, major):
    assert EngineFacts(version=version, root_dir="/").major == major
