"""Whose a process on a GPU is: on /proc trees that are made up, and on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_gpubox.owners import AMBIGUOUS, SERVER, Owners
from jupyterlab_gpubox.procfs import Procfs
from jupyterlab_gpubox.records import GPU, Others, Owner, Process, Use

HOST = "pid:[4026531836]"
BOX = "pid:[4026532181]"

TRAIN = Owner("kernel", "k-train", "train.ipynb", "lab/train.ipynb")
PLOT = Owner("kernel", "k-plot", "plot.ipynb", "plot.ipynb")
SHELL = Owner("terminal", "1", "Terminal 1")

CARDS = (GPU("GPU-a", 0, "nvidia", "H100"), GPU("GPU-b", 1, "nvidia", "H100"))
CUDA = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0")

# A box as it comes: docker-init, the server, a terminal's shell, two kernels.
INIT, OWN, BASH, TRAINER, PLOTTER = 1, 7, 20, 30, 40
KNOWN = {BASH: SHELL, TRAINER: TRAIN, PLOTTER: PLOT}


class Tree:
    """A /proc of processes that are made up."""

    def __init__(self, root: Path, namespace: str = BOX) -> None:
        self.root = root
        self.add(INIT, 0)
        self.add(OWN, INIT)
        (root / str(OWN) / "ns").mkdir()
        (root / str(OWN) / "ns" / "pid").symlink_to(namespace)
        for pid in KNOWN:
            self.add(pid, OWN)

    def add(self, pid: int, parent: int, *opens: str, name: str = "/opt/ml/bin/python3", started: int = 0):
        directory = self.root / str(pid)
        directory.mkdir()
        middle = " ".join(["0"] * 17)
        (directory / "stat").write_text(f"{pid} (a ) b) S {parent} {middle} {started or pid} 0 0")
        (directory / "cmdline").write_bytes(name.encode() + b"\0train.py\0" if name else b"")
        (directory / "comm").write_text("pt_main_thread\n")
        (directory / "fd").mkdir()
        self.open(pid, "/dev/null", "socket:[12]", *opens)

    def open(self, pid: int, *files: str) -> None:
        directory = self.root / str(pid) / "fd"
        for file in files:
            (directory / str(len(list(directory.iterdir())))).symlink_to(file)

    def close_to_us(self, pid: int) -> None:
        """Its open files are another user's."""
        (self.root / str(pid) / "fd").rename(self.root / str(pid) / "closed")

    def owners(self, answer: Mapping[int, int] | None = None, **options: Any) -> Owners:
        proc = Procfs(self.root, OWN)
        options.setdefault("dev", self.root / "dev")
        return Owners(lambda: KNOWN, proc=proc, ask=lambda pids: answer, **options)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    (tmp_path / "dev").mkdir()
    for node in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / "dev" / node).touch()
    return tree


@pytest.fixture
def host(tmp_path: Path) -> Tree:
    return Tree(tmp_path, HOST)


def owned(processes: Iterable[Process]) -> list[tuple[int, Owner]]:
    return [(one.pid, one.owner) for one in processes]


# --- pids that mean something here ------------------------------------------------------------------


def test_a_kernels_process_is_its_notebooks_with_its_memory(tree):
    tree.open(TRAINER, *CUDA)

    told = tree.owners().processes([Use("GPU-a", TRAINER, 12595)], CARDS)

    assert told.processes == [Process("GPU-a", TRAINER, "python3", 12595, TRAIN)]
    assert (told.others, told.message) == ([], "")


def test_a_child_of_a_child_of_a_kernel_is_the_notebooks(tree):
    tree.add(31, TRAINER)
    tree.add(32, 31, *CUDA)

    told = tree.owners().processes([Use("GPU-a", 32, 500)], CARDS)

    assert owned(told.processes) == [(32, TRAIN)]


def test_what_a_terminal_started_is_the_terminals(tree):
    tree.add(21, BASH, *CUDA)

    assert owned(tree.owners().processes([Use("GPU-a", 21, 1)], CARDS).processes) == [(21, SHELL)]


def test_what_else_the_server_started_is_the_servers_and_so_is_the_server(tree):
    tree.add(50, OWN, *CUDA)
    tree.open(OWN, *CUDA)

    told = tree.owners().processes([Use("GPU-a", 50, 1), Use("GPU-a", OWN, 1)], CARDS)

    assert owned(told.processes) == [(50, SERVER), (OWN, SERVER)]


def test_what_a_closed_terminal_left_running_in_the_box_is_the_servers(tree):
    tree.add(60, INIT, *CUDA)
    tree.add(61, 0, *CUDA)  # by `docker exec`

    told = tree.owners().processes([Use("GPU-a", 60, 1), Use("GPU-a", 61, 1)], CARDS)

    assert owned(told.processes) == [(60, SERVER), (61, SERVER)]


def test_beside_other_peoples_servers_what_does_not_come_from_us_is_a_sum_without_names(host):
    host.add(4000, INIT)
    host.add(4001, 4000, *CUDA, name="/home/bob/secret-project")
    host.add(4002, INIT, *CUDA)

    uses = [Use("GPU-a", 4001, 3000), Use("GPU-a", 4002, 1000), Use("GPU-b", 4002, None)]
    told = host.owners().processes(uses, CARDS)

    assert told.processes == []
    assert told.others == [Others("GPU-a", 2, 4000), Others("GPU-b", 1, None)]


def test_on_the_host_itself_a_pid_needs_no_proof(host):
    host.add(31, TRAINER)
    host.close_to_us(31)

    told = host.owners({31: TRAINER}).processes([Use("GPU-a", 31, 1)], CARDS)

    assert told.processes == [Process("GPU-a", 31, "python3", 1, TRAIN)]


def test_in_a_container_of_several_servers_orphans_are_not_ours(tree):
    # The hub runs as process 2 of this container, and this server is its child.
    tree.add(2, INIT)
    (tree.root / str(OWN) / "stat").write_text(f"{OWN} (x) S 2 {' '.join(['0'] * 17)} 5")
    tree.add(60, INIT, *CUDA)

    told = tree.owners().processes([Use("GPU-a", 60, 10)], CARDS)

    assert (told.processes, told.others) == ([], [Others("GPU-a", 1, 10)])


def test_a_process_without_a_command_line_has_its_short_name(tree):
    tree.add(31, TRAINER, *CUDA, name="")
    tree.add(32, TRAINER, *CUDA, name="ray::IDLE /x")

    told = tree.owners().processes([Use("GPU-a", 31, 1), Use("GPU-a", 32, 1)], CARDS)

    assert [one.name for one in told.processes] == ["pt_main_thread", "ray::IDLE /x"]


def test_nobody_on_a_gpu_is_nothing_to_tell(tree):
    told = tree.owners().processes([], CARDS)
    assert (told.processes, told.others, told.message) == ((), (), "")


# --- the host's pids, with the hub's helper -----------------------------------------------------------


def test_a_host_pid_is_translated_by_the_helper(tree):
    tree.add(31, TRAINER, *CUDA)

    told = tree.owners({90031: 31}).processes([Use("GPU-a", 90031, 800), Use("GPU-a", 90099, 50)], CARDS)

    assert told.processes == [Process("GPU-a", 31, "python3", 800, TRAIN)]
    assert told.others == [Others("GPU-a", 1, 50)]


def test_a_host_pid_that_is_some_process_here_too_is_not_that_process(tree):
    """Another box's process has the host pid 40; here, 40 is a kernel that uses no GPU."""
    tree.open(TRAINER, *CUDA)

    told = tree.owners({9000: TRAINER}).processes([Use("GPU-a", PLOTTER, 70), Use("GPU-a", 9000, 5)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN)]
    assert told.others == [Others("GPU-a", 1, 70)]


def test_a_host_pid_that_is_a_gpu_process_here_too_is_left_to_the_helper(tree):
    tree.open(TRAINER, *CUDA)
    tree.open(PLOTTER, *CUDA)

    told = tree.owners({9000: TRAINER}).processes([Use("GPU-a", PLOTTER, 70), Use("GPU-a", 9000, 5)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN)]
    assert told.others == [Others("GPU-a", 1, 70)]


def test_a_driver_that_tells_our_own_pids_is_believed_though_one_has_just_ended(tree):
    """The pid of the one that ended is, on the host, some process of ours that uses no GPU."""
    tree.open(TRAINER, *CUDA)

    told = tree.owners({77: BASH}).processes([Use("GPU-a", TRAINER, 5), Use("GPU-a", 77, 6)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN)]
    assert told.others == [Others("GPU-a", 1, 6)]


def test_where_the_helper_knows_none_of_them_they_are_others(tree):
    told = tree.owners({}).processes([Use("GPU-a", 9000, 5)], CARDS)
    assert (told.processes, told.others) == ([], [Others("GPU-a", 1, 5)])


def test_a_helper_that_names_a_process_that_has_ended_does_no_harm(tree):
    told = tree.owners({9000: 555}).processes([Use("GPU-a", 9000, 5)], CARDS)
    assert told.others == [Others("GPU-a", 1, 5)]


def test_the_helper_is_not_asked_about_pids_that_are_our_own(tree):
    tree.open(TRAINER, *CUDA)
    asked = []
    owners = tree.owners()
    owners._ask = asked.append

    owners.processes([Use("GPU-a", TRAINER, 5)], CARDS)

    assert asked == []


# --- the host's pids, and nobody to ask ---------------------------------------------------------------


def test_the_only_one_that_has_the_gpu_open_is_it_as_an_estimate(tree):
    tree.open(TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", 90031, 800)], CARDS)

    assert told.processes == [Process("GPU-a", TRAINER, "python3", 800, TRAIN, is_estimated=True)]
    assert told.message == ""


def test_the_server_that_reads_the_figures_and_a_monitor_are_no_candidates(tree):
    tree.open(OWN, "/dev/nvidiactl", "/dev/nvidia0")
    tree.add(21, BASH, "/dev/nvidiactl", "/dev/nvidia0", name="nvitop")
    tree.open(TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", 90031, 800)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN)]


def test_the_server_is_no_candidate_beside_a_program_that_draws_either(tree):
    tree.open(OWN, "/dev/nvidiactl", "/dev/nvidia0")
    tree.open(TRAINER, "/dev/nvidiactl", "/dev/nvidia0")

    told = tree.owners(None).processes([Use("GPU-a", 90031, 800)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN)]


def test_workers_that_inherited_the_gpu_from_their_kernel_are_no_candidates(tree):
    tree.open(TRAINER, *CUDA)
    tree.open(PLOTTER, *CUDA)
    for worker in (31, 32, 33):
        tree.add(worker, TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", 9001, 800), Use("GPU-a", 9040, 5)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN), (PLOTTER, PLOT)]


def test_a_child_that_uses_the_gpu_itself_is_a_candidate_beside_its_parent(tree):
    tree.open(TRAINER, *CUDA)
    tree.open(PLOTTER, *CUDA)
    tree.add(31, TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", pid, 1) for pid in (9001, 9002, 9003)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN), (31, TRAIN), (PLOTTER, PLOT)]


def test_as_many_as_have_the_gpu_open_are_paired_in_the_order_of_their_start(tree):
    tree.open(PLOTTER, *CUDA)
    tree.open(TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", 9009, 2), Use("GPU-a", 9001, 1)], CARDS)

    assert [(one.owner, one.memory_mib, one.is_estimated) for one in told.processes] == [
        (PLOT, 2, True),
        (TRAIN, 1, True),
    ]


def test_several_programs_of_one_notebook_are_told_as_their_sum(tree):
    for program in (31, 32, 33):
        tree.add(program, TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", 9001, 100), Use("GPU-a", 9002, 20)], CARDS)

    assert told.processes == [Process("GPU-a", 31, "python3", 120, TRAIN, is_estimated=True)]


def test_where_several_owners_may_be_meant_the_owner_is_unknown_and_the_message_says_so(tree):
    tree.open(TRAINER, *CUDA)
    tree.open(PLOTTER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", 9001, 100)], CARDS)

    assert told.processes == [Process("GPU-a", 9001, "", 100, Owner("unknown"), is_estimated=True)]
    assert told.message == AMBIGUOUS


def test_more_uses_than_we_can_have_are_others_too_and_nobodys_memory_is_claimed(tree):
    tree.open(TRAINER, *CUDA)
    uses = [Use("GPU-a", pid, 1000) for pid in (9001, 9002, 9003)]

    told = tree.owners(None).processes(uses, CARDS)

    assert told.processes == [Process("GPU-a", TRAINER, "python3", None, TRAIN, is_estimated=True)]
    assert told.others == [Others("GPU-a", 2, None)]


def test_a_gpu_that_nobody_of_ours_has_open_is_used_by_others(tree):
    tree.open(TRAINER, *CUDA)  # the first card

    told = tree.owners(None).processes([Use("GPU-b", 9001, 100)], CARDS)

    assert (told.processes, told.others) == ([], [Others("GPU-b", 1, 100)])


def test_the_drivers_own_word_on_which_device_a_card_has_comes_first(tree):
    for directory, uuid, minor in (("0000:01:00.0", "GPU-a", 5), ("0000:02:00.0", "GPU-b", 0)):
        information = tree.root / "driver/nvidia/gpus" / directory / "information"
        information.parent.mkdir(parents=True)
        information.write_text(f"Model: \t\t H100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n")
    tree.open(TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-b", 9001, 100)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN)]


def test_slices_of_a_card_share_its_device(tree):
    slices = [GPU(f"MIG-{n}", n, "nvidia", "H100 MIG", parent="GPU-a") for n in (0, 1)]
    tree.open(TRAINER, *CUDA)
    tree.open(PLOTTER, *CUDA)

    uses = [Use("MIG-0", 9001, 1), Use("MIG-1", 9002, 2)]
    told = tree.owners(None).processes(uses, [*slices, CARDS[1]])

    assert [(one.gpu, one.owner) for one in told.processes] == [("MIG-0", TRAIN), ("MIG-1", PLOT)]


def test_a_colliding_pid_is_not_believed_without_a_helper_either(tree):
    """The host's 40 is ours by its device, not the kernel that has the number 40 here."""
    tree.open(TRAINER, *CUDA)

    told = tree.owners(None).processes([Use("GPU-a", PLOTTER, 70)], CARDS)

    assert owned(told.processes) == [(TRAINER, TRAIN)]


# --- /proc as it may be -----------------------------------------------------------------------------------


def test_a_proc_that_hides_everything_makes_all_of_them_others(tmp_path):
    told = Owners(lambda: KNOWN, proc=Procfs(tmp_path / "nothing", OWN), ask=lambda pids: None).processes(
        [Use("GPU-a", 30, 5)], CARDS
    )
    assert (told.processes, told.others, told.message) == ([], [Others("GPU-a", 1, 5)], "")


@pytest.mark.parametrize("stat", ["", "30", "30 (x) S", "30 (x) S one 0"])
def test_a_process_that_ends_while_it_is_read_is_no_error(tree, stat):
    (tree.root / "31").mkdir()
    (tree.root / "31" / "stat").write_text(stat)

    assert tree.owners({}).processes([Use("GPU-a", 31, 5)], CARDS).others == [Others("GPU-a", 1, 5)]
    assert tree.owners(None).processes([Use("GPU-a", 31, 5)], CARDS).others == [Others("GPU-a", 1, 5)]


def test_parents_that_go_round_in_a_circle_end(host):
    # What a parent's pid shows when it was given anew between two reads.
    host.add(80, 81, *CUDA)
    host.add(81, 80)

    assert host.owners().processes([Use("GPU-a", 80, 5)], CARDS).others == [Others("GPU-a", 1, 5)]


def test_a_process_that_was_seen_with_a_gpu_needs_no_second_look_until_its_pid_is_another(tree):
    tree.open(TRAINER, *CUDA)
    owners = tree.owners({})
    uses = [Use("GPU-a", TRAINER, 5)]
    assert owned(owners.processes(uses, CARDS).processes) == [(TRAINER, TRAIN)]

    tree.close_to_us(TRAINER)
    assert owned(owners.processes(uses, CARDS).processes) == [(TRAINER, TRAIN)]

    (tree.root / str(TRAINER) / "stat").write_text(f"{TRAINER} (x) S {OWN} {' '.join(['0'] * 17)} 999")
    assert owners.processes(uses, CARDS).processes == []


def test_only_the_processes_in_question_are_looked_into_where_pids_are_our_own(tree, monkeypatch):
    tree.open(TRAINER, *CUDA)
    monkeypatch.setattr(Procfs, "pids", lambda self: pytest.fail("all of /proc was read"))

    assert tree.owners().processes([Use("GPU-a", TRAINER, 5)], CARDS).processes


# --- real processes -----------------------------------------------------------------------------------------


class OnTheHost(Procfs):
    """Pids are as they seem, wherever the tests run."""

    def is_of_the_host(self) -> bool:
        return True


@pytest.fixture
def run() -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Starts a program that starts another one; gives the first, and the pid of the second."""
    started = []

    def start(first: str, second: str = "sleep 600") -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [first, "-c", f"{second} & echo $!; wait"], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        pids.append(int(process.stdout.readline()))
        return process, pids[-1]

    pids: list[int] = []
    yield start
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
    for process in started:
        process.wait()


def test_a_real_child_of_a_child(run):
    process, grandchild = run("sh", f"{sys.executable} -c 'import time; time.sleep(600)'")
    known = {process.pid: TRAIN}

    told = Owners(lambda: known, proc=OnTheHost()).processes([Use("GPU-a", grandchild, 7)], CARDS)

    assert owned(told.processes) == [(grandchild, TRAIN)]
    assert told.processes[0].memory_mib == 7


def test_a_real_child_that_is_no_kernels_is_the_servers(run):
    _, grandchild = run("sh")
    told = Owners(dict, proc=OnTheHost()).processes([Use("GPU-a", grandchild, 7)], CARDS)
    assert owned(told.processes) == [(grandchild, SERVER)]


def test_a_real_process_that_has_ended_and_one_that_is_not_ours(run):
    process, grandchild = run("sh")
    os.kill(grandchild, 9)
    process.wait()

    told = Owners(dict, proc=OnTheHost()).processes(
        [Use("GPU-a", grandchild, 7), Use("GPU-a", os.getppid(), 3)], CARDS
    )

    assert told.processes == []
    assert told.others == [Others("GPU-a", 2, 10)]
