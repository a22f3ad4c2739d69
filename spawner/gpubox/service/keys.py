"""The routes over one's own SSH keys, and what to type to get in. Nobody sees or changes another's keys.

A key that is added here opens all of its user's machines, and one that is deleted closes what it opened: the
gateway (``gpubox.ssh``) looks at the same table.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from ..ssh.settings import GPUSSH
from .handlers import APIHandler, Refusal, text

_LONGEST_NAME = 100


class _OwnKeysHandler(APIHandler):
    """A route of whoever asks, for their own keys."""

    @property
    def owner(self) -> str:
        """Whose keys. Raises `Refusal` (403) for a service, which has none."""
        if not self.viewer.name:
            raise Refusal(403, "Keys are people's: a service has none.")
        return self.viewer.name

    def check_person(self) -> None:
        """Raises `Refusal` (403) where a machine asks with its own token: whoever gets at one for an hour is
        not to stay in for ever."""
        if self.viewer.is_box:
            raise Refusal(403, "A machine may not change its user's keys: do that on the hub's page.")


class KeysHandler(_OwnKeysHandler):
    """GET and POST api/keys"""

    async def get(self) -> None:
        keys = await asyncio.to_thread(_keys(self).of, self.owner)
        self.answer({"keys": [_shown(key) for key in keys], "gateway": gateway(self.service.ssh)})

    async def post(self) -> None:
        from ..ssh.keys import KeyRefused

        self.check_person()
        fields = self.fields(key=str, name=str)
        name = text(fields["name"], _LONGEST_NAME, "The name")
        try:
            key = await asyncio.to_thread(_keys(self).add, self.owner, name, fields["key"] or "")
        except KeyRefused as error:
            raise Refusal(400, str(error)) from error
        self.answer(_shown(key), 201)


class KeyHandler(_OwnKeysHandler):
    """DELETE api/keys/{id}"""

    async def delete(self, number: str) -> None:
        self.check_person()
        if await asyncio.to_thread(_keys(self).delete, self.owner, int(number)) is None:
            raise Refusal(404, "You have no such key; it may be deleted already.")
        self.answer({})


def gateway(options: GPUSSH) -> dict[str, Any] | None:
    """What people need to know of the gateway; None where there is none. ``host`` may be empty: the page's
    own."""
    if not options.port:
        return None
    return {"host": options.host, "port": options.shown_port, "fingerprint": options.fingerprint}


def _keys(handler: APIHandler) -> Any:
    # Reading keys takes asyncssh, whose import takes most of a second: not every service needs it.
    from ..ssh.keys import Keys

    return Keys(handler.service.ledger)


def _shown(key: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(key).items() if name != "user"}


ROUTES: list[tuple[str, type[APIHandler]]] = [
    (r"api/keys", KeysHandler),
    (r"api/keys/(\d{1,15})", KeyHandler),
]
