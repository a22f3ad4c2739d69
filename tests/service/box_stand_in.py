"""In the place of a box's own server: reports and listens with the token that the server really has."""

from __future__ import annotations

import json
import queue
import threading
import time
from typing import Any

import psutil
import requests

from fixtures.hub import Hub


class BoxStandIn:
    """The box of a user's running server, which is a process on this machine."""

    def __init__(self, hub: Hub, user: str, server: str = "") -> None:
        self.hub, self.user, self.server = hub, user, server
        self.url = f"{hub.url}/services/gpubox/"
        self._headers = {"Authorization": f"token {_token(hub, user, server)}"}
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []

    def ask(self, method: str, path: str, **details: Any) -> requests.Response:
        """Send a request with the server's token."""
        return requests.request(method, self.url + path, headers=self._headers, timeout=60, **details)

    def report(self, **at: float | None) -> requests.Response:
        """Report once."""
        return self.ask("POST", "api/box/activity", json={"server": self.server, **at})

    def keep_reporting(self, *busy: str) -> None:
        """Report twice a second from now on, with these kinds of life going on."""

        def go_on() -> None:
            while not self._end.wait(0.5):
                try:
                    self.report(**{f"{kind}_at": time.time() for kind in busy})
                except requests.RequestException:
                    pass  # the service was killed: its box goes on

        self._start(go_on)

    def listen(self) -> queue.Queue[tuple[str, Any]]:
        """The events of the box's stream from now on, for as long as the service lives."""
        events: queue.Queue[tuple[str, Any]] = queue.Queue()
        stream = self.ask("GET", "api/box/events", params={"server": self.server}, stream=True)
        assert stream.status_code == 200, stream.text

        def go_on() -> None:
            name = ""
            try:
                for line in stream.iter_lines(decode_unicode=True, chunk_size=1):
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        events.put((name, json.loads(line.removeprefix("data: "))))
            except (requests.RequestException, AttributeError):
                pass  # closed

        self._start(go_on)
        return events

    def notices(self, kind: str) -> list[dict[str, Any]]:
        """The user's open notices of that kind."""
        answer = self.ask("GET", "api/notices")
        assert answer.status_code == 200, answer.text
        return [notice for notice in answer.json()["notices"] if notice["kind"] == kind]

    def stop(self) -> None:
        """End what it does in the background."""
        self._end.set()

    def _start(self, go_on: Any) -> None:
        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        self._threads.append(thread)


def _token(hub: Hub, user: str, server: str) -> str:
    prefix = f"/user/{user}/{server}/" if server else f"/user/{user}/"
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if environment.get("JUPYTERHUB_SERVICE_PREFIX") == prefix and str(hub.hub_port) in environment.get(
            "JUPYTERHUB_API_URL", ""
        ):
            return environment["JUPYTERHUB_API_TOKEN"]
    raise AssertionError(f"no process of {user}'s server is to be seen")


def service_process(hub: Hub) -> psutil.Process | None:
    """The process of the hub's service, if it runs."""
    assert hub.process is not None
    for process in psutil.Process(hub.process.pid).children():
        try:
            if "gpubox.service" in process.cmdline():
                return process
        except psutil.Error:
            continue
    return None


def kill_service(hub: Hub) -> None:
    """kill -9 of the service alone, and wait until the hub has begun it anew and it serves."""
    killed = service_process(hub)
    assert killed is not None
    killed.kill()
    hub.until(
        lambda: (now := service_process(hub)) is not None and now.pid != killed.pid,
        "the hub has started its service anew",
        90,
    )
    hub.until(lambda: _serves(hub), "the service serves again", 60)


def _serves(hub: Hub) -> bool:
    try:
        return requests.get(f"{hub.url}/services/gpubox/health", timeout=5).ok
    except requests.RequestException:
        return False
