"""The desktop of a box: a real one, in a container without any capability, looked at by VNC viewers."""

from __future__ import annotations

import json
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from websocket import WebSocket, WebSocketConnectionClosedException, create_connection

from fixtures.jupyter import until
from fixtures.vnc import Viewer

API = "gpubox/api/desktop"
SECOND = 8889


class Box:
    """A box that runs a Jupyter server, as an engine with nothing to spare would start it."""

    def __init__(self, image: str) -> None:
        options = ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--env=JUPYTER_TOKEN=secret")
        ports = ("--publish=127.0.0.1::8888", f"--publish=127.0.0.1::{SECOND}")
        self.name = self._docker("run", "--detach", *options, *ports, image)

    def url(self, scheme: str = "http", port: int = 8888) -> str:
        address = self._docker("port", self.name, str(port)).splitlines()[0]
        return f"{scheme}://{address}/"

    def ask(self, path: str = API, method: str = "GET", port: int = 8888) -> Any:
        answer = requests.request(
            method, self.url(port=port) + path, headers={"Authorization": "token secret"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def answers(self, port: int = 8888) -> bool:
        with suppress(requests.ConnectionError):
            return bool(self.ask("api", port=port))
        return False

    def start_desktop(self, port: int = 8888) -> Any:
        """On, and its renderer known."""
        self.ask(API + "/start", "POST", port=port)
        return until(lambda: self._stands(port), "the desktop stands", lambda: str(self.ask(port=port)))

    def _stands(self, port: int) -> Any:
        told = self.ask(port=port)
        assert told["state"] in {"starting", "on"}, told
        return told if told["renderer"] else None

    def view(self, viewer: str = "first-viewer", options: str = "", port: int = 8888) -> Viewer:
        return Viewer(f"{self.url('ws', port)}{API}/vnc?viewer={viewer}{options}", token="secret")

    def control(self, viewer: str = "first-viewer") -> WebSocket:
        return create_connection(
            f"{self.url('ws')}{API}/control?viewer={viewer}",
            header=["Authorization: token secret"],
            timeout=60,
        )

    def run(self, *command: str) -> str:
        """What a command in the box prints."""
        return self._docker("exec", self.name, *command)

    def processes(self, program: str) -> list[int]:
        """The ids of the processes of that name."""
        with suppress(subprocess.CalledProcessError):
            return [int(pid) for pid in self.run("pgrep", "-x", program).split()]
        return []

    def has(self, file: str) -> bool:
        with suppress(subprocess.CalledProcessError):
            self.run("test", "-e", file)
            return True
        return False

    def remove(self) -> None:
        self._docker("rm", "--force", "--volumes", self.name)

    @staticmethod
    def _docker(*words: str) -> str:
        ran = subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=120)
        return ran.stdout.strip()


@pytest.fixture(scope="module")
def box(image: str) -> Iterator[Box]:
    box = Box(image)
    until(box.answers, "the server answers")
    yield box
    box.remove()


@pytest.fixture
def viewer(box: Box) -> Iterator[Viewer]:
    """A viewer of the desktop that stands."""
    box.start_desktop()
    viewer = box.view()
    yield viewer
    viewer.close()
    # No window of a test that failed lies over what the next one clicks.
    for pid in box.processes("xfce4-terminal"):
        with suppress(subprocess.CalledProcessError):
            box.run("kill", str(pid))


def shows(viewer: Viewer, condition: Callable[[], bool], what: str) -> None:
    """Look until the desktop shows it."""

    def look() -> bool:
        viewer.update()
        return condition()

    until(look, what)


def brightness(viewer: Viewer, x: int, y: int) -> int:
    return sum(viewer.pixel(x, y))


def heard(control: WebSocket, **wanted: Any) -> dict[str, Any]:
    """The next frame that says so."""
    while True:
        told: dict[str, Any] = json.loads(control.recv())
        if wanted.items() <= told.items():
            return told


def ended(viewer: Viewer) -> bool:
    """Whether its connection was closed by the other side."""
    try:
        viewer.update()
    except (AssertionError, OSError, WebSocketConnectionClosedException):
        return True
    return False


def has_focus(viewer: Viewer) -> bool:
    """Whether a window has the keys: its button in the panel is blue, and the panel grey where none is."""
    row = (viewer.pixel(x, viewer.height - 18) for x in range(250, 1000))
    return any(blue > red + 40 for red, _, blue in row)


def type_in_terminal(box: Box, viewer: Viewer, line: str) -> None:
    """Open a terminal from the panel, and type a line once its shell is there and has the keys."""
    before = set(box.processes("bash"))
    viewer.click(117, viewer.height - 18)
    until(lambda: set(box.processes("bash")) - before, "a terminal with a shell")
    shows(viewer, lambda: has_focus(viewer), "the terminal's window")
    viewer.type(line + "\n")


def test_until_somebody_opens_it_nothing_of_it_runs(box: Box) -> None:
    assert box.ask() == {
        "state": "off",
        "message": "",
        "phase": "",
        "renderer": None,
        "viewers": 0,
        "fast_lane": False,
    }
    assert not box.processes("Xvnc")


def test_two_who_open_it_at_once_get_one_desktop_and_see_it_drawn(box: Box) -> None:
    opened: list[Viewer] = []
    threads = [
        threading.Thread(target=lambda name=name: opened.append(box.view(name)))
        for name in ("first-viewer", "second-viewer")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    box.start_desktop()

    assert len(box.processes("Xvnc")) == len(box.processes("xfce4-session")) == 1
    assert len(opened) == 2
    for viewer in opened:
        # The panel is dark, the sky of the wallpaper bright.
        shows(viewer, lambda v=viewer: brightness(v, 700, v.height - 5) < 120, "the panel")
        shows(viewer, lambda v=viewer: brightness(v, 1000, 40) > 500, "the wallpaper")
        assert viewer.colours() > 100
        viewer.close()


def test_it_has_no_rights_and_listens_to_no_network(box: Box) -> None:
    box.start_desktop()
    for program in ("Xvnc", "xfce4-session", "xfdesktop"):
        status = box.run("cat", f"/proc/{box.processes(program)[0]}/status")
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
        assert facts["Uid"].split()[0] == "1000"
    rows = [line.split() for line in box.run("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()]
    listening = {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == "0A"}
    assert listening == {8888}
    modes = box.run("sh", "-c", "stat -c '%a %n' /tmp/gpubox-desktop-* /tmp/gpubox-desktop-*/*").splitlines()
    assert modes
    assert all(mode.split()[0].endswith("00") for mode in modes)


def test_opengl_is_drawn_by_the_processor_where_there_is_no_gpu(box: Box) -> None:
    renderer = box.start_desktop()["renderer"]
    assert renderer["name"].startswith("llvmpipe")
    assert renderer["is_hardware"] is False


def test_what_is_typed_into_its_terminal_happens_in_the_home(box: Box, viewer: Viewer) -> None:
    type_in_terminal(box, viewer, "command -v python >found.txt; exit")
    until(lambda: box.has("found.txt"), "the file")
    assert box.run("cat", "found.txt") == "/opt/ml/bin/python"


def test_matplotlib_opens_its_window_on_it(box: Box, viewer: Viewer) -> None:
    show = (
        "import matplotlib.pyplot as p; p.plot([1, 2]); p.show(block=False); p.pause(0.5);"
        " print(p.get_backend(), p.gcf().canvas.manager.window.winfo_viewable())"
    )
    type_in_terminal(box, viewer, f"python -c '{show}' >figure.tmp; mv figure.tmp figure.txt; exit")
    until(lambda: box.has("figure.txt"), "the program ends")
    assert box.run("cat", "figure.txt") == "tkagg 1"


def test_keys_count_as_activity_and_an_open_desktop_does_not(box: Box, viewer: Viewer) -> None:
    def last_activity() -> str:
        return str(box.ask("api/status")["last_activity"])

    before = last_activity()
    # Pictures and the clipboard are no work.
    viewer.send(struct.pack(">BxxxI", 6, 4) + b"text")
    for _ in range(3):
        viewer.update()
    assert last_activity() == before

    viewer.key(0xFFE1)
    until(lambda: last_activity() != before, "a key counts")


def test_who_watches_types_nothing(box: Box, viewer: Viewer) -> None:
    watching = box.view("who-watches", "&view=1")
    type_in_terminal(box, viewer, "echo ready >ready.txt")
    until(lambda: box.has("ready.txt"), "the terminal listens")
    watching.type("echo forbidden >forbidden.txt\n")
    watching.click(10, 10)
    watching.update()  # what it sent before was read
    viewer.type("echo allowed >allowed.txt; exit\n")

    until(lambda: box.has("allowed.txt"), "the one who may types")
    assert not box.has("forbidden.txt")
    watching.close()


def set_size(viewer: Viewer, width: int, height: int) -> None:
    viewer.send(
        struct.pack(">BxHHBx", 251, width, height, 1) + struct.pack(">IHHHHI", 0, 0, 0, width, height, 0)
    )


def test_the_desktop_has_the_size_of_the_one_who_controls(box: Box, viewer: Viewer) -> None:
    second = box.view("second-viewer")
    control = box.control("second-viewer")
    for each in (viewer, second):
        each.update()
    set_size(second, 800, 600)
    second.update()
    set_size(viewer, 1000, 700)
    shows(second, lambda: (second.width, second.height) == (1000, 700), "the size of the first")

    control.send(json.dumps({"type": "take-control"}))
    assert heard(control, controls=True)["viewers"] == 2
    set_size(second, 1280, 800)
    shows(viewer, lambda: (viewer.width, viewer.height) == (1280, 800), "the size of the second")
    second.close()
    control.close()


def test_jupyterlabs_icon_asks_the_page_that_controls_to_open_it(box: Box, viewer: Viewer) -> None:
    control = box.control()
    viewer.click(60, 252, times=2)
    assert heard(control, type="open") == {"type": "open", "what": "lab"}
    control.close()


def test_a_dark_look_stays_for_the_next_desktop(box: Box, viewer: Viewer) -> None:
    type_in_terminal(box, viewer, "gpubox-desktop dark; exit")
    shows(viewer, lambda: brightness(viewer, 1000, 40) < 200, "a dark wallpaper")

    box.ask(API + "/stop", "POST")
    box.start_desktop()
    again = box.view()
    shows(again, lambda: brightness(again, 1000, 40) < 200, "a dark wallpaper again")
    type_in_terminal(box, again, "gpubox-desktop light; exit")
    shows(again, lambda: brightness(again, 1000, 40) > 500, "a light wallpaper")
    again.close()


def test_a_display_that_is_killed_is_told_and_comes_back(box: Box, viewer: Viewer) -> None:
    control = box.control()
    box.run("kill", "-KILL", str(box.processes("Xvnc")[0]))
    told = heard(control, state="failed")
    assert told["message"].startswith("The desktop's display, Xvnc, was killed by SIGKILL.")
    until(lambda: ended(viewer), "its viewer is let go")
    assert not box.processes("xfce4-session")

    again = box.view("after-the-end")
    box.start_desktop()
    shows(again, lambda: brightness(again, 1000, 40) > 500, "the desktop is back")
    again.close()
    control.close()


def test_logging_out_ends_it_and_is_no_failure(box: Box, viewer: Viewer) -> None:
    type_in_terminal(box, viewer, "xfce4-session-logout --logout")
    told = until(lambda: (state := box.ask())["state"] == "off" and state, "it is off")
    assert told["message"].startswith("You logged out of the desktop.")
    assert not box.processes("Xvnc")


def test_servers_of_one_home_have_a_desktop_each_and_a_killed_one_leaves_none(box: Box) -> None:
    box.start_desktop()
    command = f"exec jupyter lab --ip=0.0.0.0 --port={SECOND} --no-browser >/tmp/second.log 2>&1"
    box.run("sh", "-c", f"({command}) & echo $! >/tmp/second.pid")
    until(lambda: box.answers(SECOND), "the second server answers")
    box.start_desktop(SECOND)
    assert len(box.processes("Xvnc")) == 2
    both = box.run("sh", "-c", "ls -d /tmp/gpubox-desktop-*").split()
    assert len(both) == 2

    box.run("sh", "-c", "kill -KILL $(cat /tmp/second.pid)")
    until(lambda: len(box.processes("Xvnc")) == len(box.processes("xfce4-session")) == 1, "one is left")
    box.ask(API + "/stop", "POST")
    box.start_desktop()
    left = box.run("sh", "-c", "ls -d /tmp/gpubox-desktop-*").split()
    assert len(left) == 1


def test_a_login_that_brings_no_environment_gets_the_images(image: str) -> None:
    ran = subprocess.run(
        ["docker", "run", "--rm", image, "env", "-i", "HOME=/home/jovyan", "bash", "-lc", "env; python -V"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = ran.stdout.splitlines()
    images = {"LANG=C.UTF-8", "OMP_WAIT_POLICY=passive", "TF_CPP_MIN_LOG_LEVEL=1", "JAX_PLATFORMS=cpu"}
    assert images <= set(told)
    path = next(line for line in told if line.startswith("PATH=")).removeprefix("PATH=").split(":")
    assert path[:2] == ["/opt/ml/bin", "/home/jovyan/.local/bin"]
    assert "/usr/sbin" in path


def test_no_host_key_is_in_the_image(image: str) -> None:
    find = "ls /etc/ssh/ssh_host_* 2>/dev/null; command -v sshd; ls /usr/lib/openssh/sftp-server"
    ran = subprocess.run(["docker", "run", "--rm", image, "sh", "-c", find], capture_output=True, text=True)
    assert ran.stdout.split() == ["/usr/sbin/sshd", "/usr/lib/openssh/sftp-server"]
