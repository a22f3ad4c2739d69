"""`python -m gpubox.ssh.gateway`: the port, and everybody at it.

Standard input is held open by who started this process (`__main__`). Once that has ended, nobody new is taken
in: the port is free for the next gateway, and this one goes with the last of those who are in.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import asyncssh

from ..control.client import HubClient, NoHub
from ..db import connect
from .keys import Keys
from .limits import Door, Failures
from .machine import Machines
from .relay import CIPHERS, UserSide
from .settings import GPUSSH
from .visitor import Visitor

log = logging.getLogger(__name__)

# How soon a key that was deleted closes the connections that it opened.
_LOOK_SECONDS = 1.0
# A token is the hub's to know: it is asked less often.
_ASK_SECONDS = 10.0
# The gateway before this one may have the port for a moment still.
_PORT_SECONDS = 10.0


class Gateway:
    """What all visitors share."""

    def __init__(
        self, options: GPUSSH, keys: Keys, machines: Machines, session: aiohttp.ClientSession
    ) -> None:
        self.options, self.keys, self.machines, self.session = options, keys, machines, session
        self.failed_from = Failures(options.max_failures, options.failure_seconds)
        self.failed_as = Failures(options.max_failures, options.failure_seconds)
        self.door = Door(options.max_unknown)
        self.visitors: set[Visitor] = set()
        # By which machines know this process; nobody else ever sees it.
        self.own_key = asyncssh.generate_private_key("ssh-ed25519")
        self.own_public_key = self.own_key.export_public_key("openssh").decode().strip()
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something aside, to its end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def listen(self) -> asyncio.Server:
        """Begin to take people in. Raises OSError where the port cannot be had."""
        loop = asyncio.get_running_loop()
        options = await asyncssh.SSHServerConnectionOptions.construct(
            server_factory=lambda: Visitor(self),
            server_host_keys=[host_key(Path(self.options.host_key_file))],
            server_version="gpubox",
            encryption_algs=CIPHERS,
            config=[],
            login_timeout=0,  # a wait for a machine has no end; who they are has one (Visitor)
            gss_host=None,
            agent_forwarding=False,
        )
        deadline = loop.time() + _PORT_SECONDS
        while True:
            try:
                return await loop.create_server(
                    lambda: UserSide(loop, options), self.options.ip or None, self.options.port, backlog=200
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE or loop.time() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def cut_off(self) -> None:
        """Hang up on those whose key was deleted, as long as there is somebody."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            by_key = {one.login.key: one for one in self.visitors if one.login and one.login.key}
            if not by_key:
                continue
            try:
                there = await asyncio.to_thread(self.keys.remaining, set(by_key))
            except Exception:
                log.exception("SSH: the keys could not be looked at.")
                continue
            for visitor in list(self.visitors):
                if visitor.login and visitor.login.key and visitor.login.key not in there:
                    log.warning("SSH: %s from %s is cut off.", visitor.login.user, visitor.address)
                    visitor.end("The key with which you logged in was deleted.")

    async def cut_off_tokens(self) -> None:
        """Hang up on those whose token was revoked or has expired; a hub that is silent says neither."""
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            for token in {one.login.token for one in self.visitors if one.login and one.login.token}:
                try:
                    is_valid = await self.machines.owner(token) is not None
                except NoHub:
                    break
                for visitor in [] if is_valid else list(self.visitors):
                    if visitor.login and visitor.login.token == token:
                        log.warning("SSH: %s from %s is cut off.", visitor.login.user, visitor.address)
                        visitor.end("The token with which you logged in is valid no more.")

    async def wind_up(self) -> None:
        """Send away who is not in yet; return when the last one has gone."""
        for visitor in list(self.visitors):
            if not visitor.is_in:
                visitor.end("The hub is being restarted. Connect again; a place in line is kept.")
        while self.visitors:  # noqa: ASYNC110  nothing else tells
            await asyncio.sleep(0.2)


def host_key(file: Path) -> asyncssh.SSHKey:
    """The key by which clients know the gateway; made where it is missing. Raises OSError, asyncssh.Error."""
    if not file.exists():
        made = asyncssh.generate_private_key("ssh-ed25519", comment="gpubox")
        unfinished = file.with_name(f"{file.name}.new")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
            new.write(made.export_private_key("openssh"))
        unfinished.rename(file)
    if file.stat().st_mode & 0o077:
        raise PermissionError(f"{file} may be read by others. Close it to them: chmod 600 {file}")
    key = asyncssh.read_private_key(file)
    # For the pages: they show it, and have no business with the key.
    Path(f"{file}.fingerprint").write_text(f"{key.get_fingerprint()}\n")
    return key


async def serve(environment: Mapping[str, str] = os.environ) -> None:
    """Serve until whoever started this process has ended, and then until the last visitor has gone."""
    ended = asyncio.Event()
    await _watch(ended)
    async with HubClient() as hub, aiohttp.ClientSession() as session:
        settings = await hub.settings()
        options = GPUSSH(**settings["ssh"])
        if not options.port:
            log.info("SSH is switched off (c.GPUSSH.port = 0).")
            await ended.wait()
            return
        machines = Machines(
            hub, session, environment["JUPYTERHUB_API_URL"], environment["JUPYTERHUB_API_TOKEN"]
        )
        gateway = Gateway(options, Keys(connect(settings["database_url"])), machines, session)
        server = await gateway.listen()
        log.info("SSH at port %d of %s.", options.port, options.ip or "all addresses")
        cutting_off = [asyncio.create_task(work) for work in (gateway.cut_off(), gateway.cut_off_tokens())]
        await ended.wait()
        server.close()
        await gateway.wind_up()
        for task in cutting_off:
            task.cancel()


async def _watch(ended: asyncio.Event) -> None:
    """Set the event when standard input ends."""

    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set()

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)


def main() -> int:
    """Serve; status 1 with a sentence where that cannot be."""
    logging.basicConfig(format="[%(levelname)1.1s %(asctime)s gpubox ssh] %(message)s", level=logging.INFO)
    # Its own log has a line for each connection and channel, and tells user names before they are proved.
    asyncssh.set_log_level(logging.ERROR)
    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        return 0
    except (NoHub, OSError, asyncssh.Error, ValueError) as error:
        print(f"gpubox ssh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
