"""The control socket's server, in the hub's process: thin handlers over `Desk`."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler

from ..machine_templates import NotAllowed
from ..refusal import PoolRefusal
from . import short_path, templates

if TYPE_CHECKING:
    from .desk import Desk

log = logging.getLogger(__name__)
LONGEST_WAIT_SECONDS = 25.0


class BadQuestion(Exception):
    """What was asked is not understood; the message says what was expected."""


class _Handler(RequestHandler):
    def initialize(self, desk: Desk) -> None:
        self.desk = desk

    def answer(self, told: str | dict[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(told if isinstance(told, str) else json.dumps(told))


class StateHandler(_Handler):
    """GET /state[?run=R&after=V]"""

    async def get(self) -> None:
        run = self.get_query_argument("run", "")
        if not run:
            return self.answer(await self.desk.feed.newest())
        after = int(self.get_query_argument("after", "0"))
        self.answer(await self.desk.feed.newer(run, after, LONGEST_WAIT_SECONDS))


class SettingsHandler(_Handler):
    """GET /settings"""

    async def get(self) -> None:
        self.answer(await self.desk.settings())


class TimingsHandler(_Handler):
    """GET /timings"""

    async def get(self) -> None:
        self.answer(await self.desk.timings())


class DoHandler(_Handler):
    """POST /drain, /undrain, /move, /end and so on: each a method of the desk that takes the body's
    fields."""

    async def post(self, what: str) -> None:
        await self.do(self.desk, what, FIELDS[what])

    async def do(self, desk: object, what: str, fields: dict[str, type]) -> None:
        """Answer with what that method of the desk returns, or with its refusal."""
        try:
            asked = _fields(self.request.body, fields)
            done = await getattr(desk, what)(**asked)
        except BadQuestion as error:
            self.answer({"message": str(error)}, 400)
        except NotAllowed as error:
            self.answer({"message": str(error)}, 403)
        except KeyError as error:
            self.answer({"message": error.args[0] if error.args else "There is no such thing."}, 404)
        except PoolRefusal as error:
            self.answer({"message": str(error)}, 409)
        except Exception as error:
            log.exception("The hub could not %s.", what)
            self.answer({"message": f"The hub could not do that: {error}"}, 500)
        else:
            self.answer(done or {})


class TemplatesHandler(DoHandler):
    """POST /templates/save, /templates/share, ...: the same of the templates' desk."""

    async def post(self, what: str) -> None:
        await self.do(self.desk.templates, what, templates.FIELDS[what])


FIELDS: dict[str, dict[str, type]] = {
    "drain": {"gpu": str, "reason": str},
    "undrain": {"gpu": str},
    "move": {"lease": int, "to": str},
    "extend": {"lease": int, "seconds": float},
    "end": {"lease": int, "reason": str},
    "account": {"user": str},
    "reach": {"user": str, "server": str},
    "revoke": {"token_id": int},
    "kept": {},
    "remove_kept": {"user": str, "server": str},
}


def _fields(body: bytes, expected: dict[str, type]) -> dict[str, Any]:
    try:
        told = json.loads(body)
        return {name: kind(told[name]) for name, kind in expected.items()}
    except (ValueError, TypeError, KeyError) as error:
        names = ", ".join(expected)
        raise BadQuestion(f"Expected a JSON object with: {names}.") from error


def serve(desk: Desk) -> HTTPServer:
    """Begin to answer on the socket, in the running loop; a socket that a killed hub left is replaced.

    Raises OSError where the state directory does not take one.
    """
    routes = [
        (r"/state", StateHandler, {"desk": desk}),
        (r"/settings", SettingsHandler, {"desk": desk}),
        (r"/timings", TimingsHandler, {"desk": desk}),
        (rf"/({'|'.join(FIELDS)})", DoHandler, {"desk": desk}),
        (rf"/templates/({'|'.join(templates.FIELDS)})", TemplatesHandler, {"desk": desk}),
    ]
    server = HTTPServer(Application(routes, log_function=lambda handler: None))
    with short_path() as path:
        # Only who holds the ledger gets here: no other hub serves on it.
        before = os.umask(0o177)
        try:
            server.add_socket(bind_unix_socket(path, mode=0o600))
        finally:
            os.umask(before)
    return server
