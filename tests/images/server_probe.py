"""Runs inside a box: starts its server beside a hub that is only a few answers, and prints what it saw.

    python server_probe.py BOOTS COMMAND...      a JSON object on standard output

In the server itself this module is an extension: it tells, at /probe, which handlers the server has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HUB_PORT, PREFIX = 8081, "/user/ada/"
SERVER = f"http://127.0.0.1:8888{PREFIX}"
LOG = Path("/tmp/server.log")
ACCESS = "access:servers!server=ada/"
# Whom the hub knows by which token: only the first may use this server.
USERS = {
    "token-of-ada": {"kind": "user", "name": "ada", "scopes": [ACCESS]},
    "token-of-bob": {"kind": "user", "name": "bob", "scopes": ["access:servers!server=bob/"]},
}
OWNER = {"Authorization": "token token-of-ada"}
NEWS = "lab/api/settings/@jupyterlab/apputils-extension:notification"
QUESTIONS = {
    "api": ("api", {}),
    "contents without a token": ("api/contents", {}),
    "contents with a wrong token": ("api/contents", {"Authorization": "token wrong"}),
    "contents with another user's token": ("api/contents", {"Authorization": "token token-of-bob"}),
    "contents with the owner's token": ("api/contents", OWNER),
    "status without a token": ("api/status", {}),
    "kernels without a token": ("api/kernels", {}),
    "terminals without a token": ("api/terminals", {}),
    "lab without a token": ("lab", {}),
    "lab with the owner's token": ("lab", OWNER),
    "metrics without a token": ("metrics", {}),
}


# --- the hub ---------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """What a single-user server asks of its hub."""

    activity: list[dict[str, Any]] = []
    told = threading.Event()

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("token ")
        if self.path == "/hub/api/user":
            self._answer(200 if token in USERS else 403, USERS.get(token, {}))
        else:
            self._answer(200, {"version": "6.1.1"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = {"path": self.path, "authorization": self.headers.get("Authorization", "")}
        self.activity.append({**told, "servers": list(body["servers"])})
        self._answer(200, {})
        self.told.set()

    def _answer(self, status: int, model: dict[str, Any]) -> None:
        body = json.dumps(model).encode()
        self.send_response(status)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def environment() -> dict[str, str]:
    """What a spawner puts into a server's environment."""
    hub = f"http://127.0.0.1:{HUB_PORT}/hub/api"
    return {
        "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:8888{PREFIX}",
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_API_TOKEN": "token-of-the-server",
        "JUPYTERHUB_API_URL": hub,
        "JUPYTERHUB_ACTIVITY_URL": f"{hub}/users/ada/activity",
        "JUPYTERHUB_USER": "ada",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-ada",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{PREFIX}oauth_callback",
        "JUPYTERHUB_OAUTH_SCOPES": json.dumps([ACCESS]),
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([ACCESS]),
    }


# --- the probe -------------------------------------------------------------------------------------


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer, not a way."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(path: str, headers: dict[str, str]) -> tuple[int, str]:
    """The server's answer: status, and body or where it redirects to."""
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(urllib.request.Request(SERVER + path, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers.get("Location", "")


def boot(command: list[str]) -> tuple[subprocess.Popen[bytes], float]:
    """Start the server; the process, and the seconds until it answered."""
    began = time.perf_counter()
    with LOG.open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    while True:
        try:
            ask("api", {})
            return server, time.perf_counter() - began
        except OSError:
            if server.poll() is not None or time.perf_counter() - began > 60:
                sys.exit(f"the server did not come up:\n{LOG.read_text()}")
            time.sleep(0.005)


def main(boots: int, command: list[str]) -> None:
    """Boot the server so many times, question the last one, print everything."""
    hub = ThreadingHTTPServer(("127.0.0.1", HUB_PORT), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    os.environ.update(environment())
    seconds = []
    for _ in range(boots - 1):
        server, took = boot(command)
        seconds.append(took)
        server.kill()
        server.wait()
    Hub.told.clear()
    server, took = boot(command)
    assert Hub.told.wait(30), "the server told the hub of no activity"
    report = {
        "seconds": [*seconds, took],
        "answers": {question: ask(*asked)[0] for question, asked in QUESTIONS.items()},
        "login": ask("lab", {})[1],
        "news": json.loads(ask(NEWS, OWNER)[1])["schema"]["properties"],
        "server": json.loads(ask("probe", {})[1]),
        "activity": Hub.activity[-1],
        "arguments": Path(f"/proc/{server.pid}/cmdline").read_text().split("\0"),
    }
    server.terminate()
    report["stopped with"] = server.wait(30)
    report["log"] = LOG.read_text()
    json.dump(report, sys.stdout)


# --- the server extension --------------------------------------------------------------------------


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "server_probe"}]


def _load_jupyter_server_extension(server: Any) -> None:
    from jupyter_server.auth.decorator import allow_unauthenticated
    from tornado.web import RequestHandler

    class Probe(RequestHandler):
        @allow_unauthenticated
        def get(self) -> None:
            self.finish(
                {
                    "handlers": sorted(handlers(self.application.default_router.rules)),
                    "extensions": sorted(
                        name for name, found in server.extension_manager.extensions.items() if found.enabled
                    ),
                    "settings": sorted(self.application.settings),
                    "identity": type(server.identity_provider).__qualname__,
                    "authorizer": type(server.authorizer).__qualname__,
                    "modules": sorted(sys.modules),
                }
            )

    server.web_app.add_handlers(".*$", [(f"{PREFIX}probe", Probe)])


def handlers(rules: Iterable[Any]) -> Iterable[str]:
    """Every route below these rules, as "pattern class"."""
    for rule in rules:
        if hasattr(rule.target, "rules"):
            yield from handlers(rule.target.rules)
        else:
            pattern = getattr(getattr(rule.matcher, "regex", None), "pattern", "")
            yield f"{pattern} {rule.target.__module__}.{rule.target.__qualname__}"


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
