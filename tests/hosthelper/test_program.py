"""Which process is whose box's, decided on /proc trees that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubox.hosthelper.program import MOST_PIDS, Helper, _asked

V1 = "9:name=systemd:/a\n8:pids:/b\n5:devices:{}\n1:cpu,cpuacct:/c\n0::/d\n"
V2 = "0::{}\n"
ALICE, BOB = "/docker/alice", "/docker/bob"


class Host:
    """The host's /proc, with the helper's own process in it."""

    def __init__(self, root: Path, cgroups: str, own: str) -> None:
        self.root, self.cgroups = root, cgroups
        self.add("self", own)

    def add(self, pid: int | str, group: str, *seen: int) -> None:
        directory = self.root / str(pid)
        directory.mkdir()
        (directory / "cgroup").write_text(self.cgroups.format(group))
        words = "\t".join(map(str, (pid, *seen)))
        (directory / "status").write_text(f"Name:\tpython3\nNSpid:\t{words}\nThreads:\t1\n")

    def ask(self, peer: int, *pids: int) -> dict[int, int] | None:
        helper = Helper(str(self.root))
        box = helper._box(peer)
        return None if box is None else helper.translate(list(pids), box, len(helper._pids(peer)))


@pytest.fixture(params=[V1, V2], ids=["cgroups v1", "cgroups v2"])
def host(request, tmp_path):
    host = Host(tmp_path, request.param, "/docker/helper")
    host.add(100, ALICE, 7)
    host.add(101, ALICE, 30)
    host.add(200, BOB, 7)
    host.add(201, BOB, 30)
    host.add(1, "/init.scope")
    return host


def test_a_box_is_told_its_own_and_of_another_nothing(host):
    assert host.ask(100, 100, 101, 200, 201, 1, 9999) == {100: 7, 101: 30}
    assert host.ask(200, 100, 101, 200, 201, 1, 9999) == {200: 7, 201: 30}


def test_a_box_whose_name_begins_with_anothers_is_another(host):
    host.add(300, "/docker/alice2", 5)
    assert host.ask(100, 300) == {}


def test_a_sandbox_within_the_box_is_seen_from_the_box(host):
    host.add(102, ALICE, 44, 2)
    host.add(103, f"{ALICE}/job", 45)
    assert host.ask(100, 102, 103) == {102: 44, 103: 45}


def test_from_within_a_sandbox_only_its_own_have_a_pid(host):
    host.add(102, ALICE, 44, 2)
    host.add(103, ALICE, 45, 3)
    assert host.ask(102, 101, 103) == {103: 3}


def test_a_process_that_ended_has_none(host):
    (host.root / "101" / "status").unlink()
    assert host.ask(100, 101) == {}


@pytest.mark.parametrize("group", ["/docker/helper", "/docker", "/"])
def test_where_groups_tell_no_box_from_another_nothing_is_told(host, group):
    """As with an engine that makes none: all containers, and the helper, are in its own."""
    host.add(400, group, 7)
    assert host.ask(400, 400, 100, 200) is None


def test_who_is_gone_is_told_nothing(host):
    assert host.ask(9999, 100) is None


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b"{}",
        b'{"pids": 7}',
        b'{"pids": {"1": 2}}',
        b'{"pids": ["../1"]}',
        b'{"pids": [1.5]}',
        b'{"pids": [true]}',
        b'{"pids": [0]}',
        b'{"pids": [-1]}',
        b'{"pids": [99999999999999999999]}',
        b'{"pids": %s}' % str([1] * (MOST_PIDS + 1)).encode(),
        b"\xff\xfe",
        b"[" * 9000,
    ],
)
def test_a_question_that_is_none_is_refused(question):
    with pytest.raises((ValueError, LookupError, TypeError, RecursionError)):
        _asked(question)
