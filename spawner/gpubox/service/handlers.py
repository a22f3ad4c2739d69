"""What every route of the service has in common: who asks, refusals as sentences, no caching."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from jupyterhub.services.auth import HubOAuthenticated, UserNotAllowed
from tornado.web import HTTPError, RequestHandler

from ..control.client import HubRefused, NoHub
from .viewer import Viewer

if TYPE_CHECKING:
    from .app import Service

log = logging.getLogger(__name__)


class Refusal(HTTPError):
    """No, with a sentence for the person who asked."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence.replace("%", "%%"))
        self.sentence = sentence


class Handler(HubOAuthenticated, RequestHandler):
    """A route for those who are logged in and may use this service."""

    viewer: Viewer

    def initialize(self, service: Service) -> None:
        self.service = service

    async def prepare(self) -> None:
        """Find out who asks, without blocking: JupyterHub's own way asks the hub in a thread and waits."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "frame-ancestors 'none'")
        self._hub_auth_user_cache = None
        model = await self.hub_auth.get_user(self, sync=False)
        if model is None:
            return self.refuse_unknown()
        try:
            self.check_hub_user(model)
        except UserNotAllowed as error:
            raise Refusal(403, "You may not use this hub's pages; ask its admin.") from error
        self._hub_auth_user_cache = model
        self.viewer = Viewer.from_model(model)

    def refuse_unknown(self) -> None:
        """Nobody is logged in, or the token is none of this hub's."""
        raise Refusal(401, "Log in, or send a token of this hub that may use its pages.")


class APIHandler(Handler):
    """A route that speaks JSON. ``arguments`` are those of its query, where it takes any: another one is a
    slip that should not go unnoticed."""

    arguments: tuple[str, ...] = ()

    async def prepare(self) -> None:
        await super().prepare()
        unknown = self.request.query_arguments.keys() - {*self.arguments, "_xsrf"}
        if self.arguments and unknown:
            raise Refusal(400, f"The query may have, at most: {', '.join(self.arguments)}.")

    def answer(self, told: Any, status: int = 200) -> None:
        """Send JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(told if isinstance(told, str) else json.dumps(told))

    def fields(self, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
        """The body's fields of these kinds; a field that is not there is None.

        Raises `Refusal` (400) for anything else.
        """
        try:
            told = json.loads(self.request.body or b"{}")
        except ValueError as error:
            raise Refusal(400, "The body is no JSON.") from error
        if not isinstance(told, dict) or not told.keys() <= kinds.keys():
            raise Refusal(400, f"Expected a JSON object with, at most: {', '.join(kinds)}.")
        for name, value in told.items():
            kind = kinds[name]
            is_odd_flag = isinstance(value, bool) and kind is not bool  # to Python it is a number, too
            if value is not None and (is_odd_flag or not isinstance(value, kind)):
                raise Refusal(400, f"{name}: not of the kind that was expected.")
        return {name: told.get(name) for name in kinds}

    async def ask_hub(self, what: str, **fields: Any) -> dict[str, Any]:
        """Have the hub do something; its refusal is passed on."""
        try:
            return await self.service.live.hub.do(what, **fields)
        except HubRefused as error:
            raise Refusal(error.status, str(error)) from error
        except NoHub as error:
            raise Refusal(503, "The hub does not answer now. Try again in a minute.") from error

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A sentence as JSON; never a traceback."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, Refusal):
            sentence = error.sentence
        elif status_code == 404:
            sentence = "There is nothing here."
        elif status_code == 405:
            sentence = "That cannot be done here: see openapi.json."
        elif status_code < 500:
            sentence = "That is not understood: see openapi.json."
        else:
            sentence = "Something went wrong here; the hub's log has the details."
        self.answer({"message": sentence}, status_code)


def text(value: str | None, longest: int, what: str) -> str:
    """A person's words, trimmed. Raises `Refusal` where they are too long or no plain text."""
    words = (value or "").strip()
    if len(words) > longest:
        raise Refusal(400, f"{what}: {longest} characters at most.")
    if not words.isprintable():
        raise Refusal(400, f"{what}: one line of plain text, please.")
    return words
