"""Somebody at the gateway: who they are, and the way to their machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncssh

from ..control.client import NoHub
from .machine import Login, Reach, Refused, Tell
from .relay import MachineSide, UserSide, log_in
from .tunnel import Unreachable, open_tunnel

if TYPE_CHECKING:
    from .gateway import Gateway

log = logging.getLogger(__name__)

# An agent offers all its keys, one after the other. sshd's MaxAuthTries is 6, and a nuisance.
_MOST_KEYS_OFFERED = 30
_MOST_TOKENS_TRIED = 3
_TURN_AWAY_SECONDS = 10.0

_NO_HUB = "The hub does not answer at the moment. Try again in a minute."


class Visitor(asyncssh.SSHServer):
    """One connection, from its first byte to its last."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._is_at_door = False
        self._keys_offered: set[str] = set()
        self._tokens_tried = 0
        self._named = ""
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None
        self._machine: MachineSide | None = None
        self.address = ""
        self.login: Login | None = None
        self.is_in = False

    # --- coming and going ------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """asyncssh's word for a connection that has begun."""
        assert isinstance(conn, UserSide)
        self._conn = conn
        conn.admit = self._admit
        peer = conn.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        if self._gateway.failed_from.are_too_many(self.address):
            return self._turn_away("Too many failed logins from your address. Try again in some minutes.")
        if not self._gateway.door.enter(self.address):
            return self._turn_away("Too many connections at once. Try again in a moment.")
        self._is_at_door = True
        self._gateway.visitors.add(self)
        self._timer = asyncio.get_running_loop().call_later(
            self._gateway.options.login_seconds, self.end, "That took too long. Connect again."
        )

    def _turn_away(self, sentence: str) -> None:
        log.info("SSH: %s is turned away: %s", self.address, sentence)
        # Once keys are exchanged: before that a client shows no reason.
        asyncio.get_running_loop().call_later(_TURN_AWAY_SECONDS, self._conn.abort)
        self._reason = sentence

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        self._leave_door()
        self._gateway.visitors.discard(self)
        if self._machine is not None:
            self._machine.abort()
        if self.is_in:
            assert self.login is not None
            log.info("SSH: %s from %s has gone.", self.login.user, self.address)
        elif self._keys_offered or self._tokens_tried:
            self._count_failure()

    def _leave_door(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_at_door:
            self._is_at_door = False
            self._gateway.door.leave(self.address)

    def _count_failure(self) -> None:
        if self.login is None:
            self._gateway.failed_from.add(self.address)
            reason = self._reason or f"none of {len(self._keys_offered)} keys is theirs"
            log.warning("SSH: no login as %r from %s: %s.", self._named, self.address, reason)

    def end(self, sentence: str) -> None:
        """Hang up, with a reason that the user's client shows."""
        self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, sentence)

    # --- who it is -------------------------------------------------------------------------------

    def begin_auth(self, username: str) -> bool:
        """Somebody says a name; that it is theirs they have yet to prove."""
        self._named = username
        if not self._is_at_door:
            self.end(self._reason)
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are taken."""
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the key is that user's. It may be merely offered: nothing follows from it yet."""
        self.login = None
        fingerprint = key.get_fingerprint()
        self._keys_offered.add(fingerprint)
        if len(self._keys_offered) > _MOST_KEYS_OFFERED:
            self._reason = f"more than {_MOST_KEYS_OFFERED} keys were offered"
            self.end("Too many keys: name the one that is yours (IdentityFile, with IdentitiesOnly yes).")
            return False
        found = await asyncio.to_thread(self._gateway.keys.find, fingerprint)
        if found is None:
            return False
        try:
            account = await self._gateway.machines.account(found.user)
        except NoHub:
            return self._tell_no_hub()
        # A name may be given to another person, and is not the old one's any more.
        if account is None or found.created_at < account.created_at:
            self._reason = f"{fingerprint} is of an account that is gone"
            return False
        self.login = self._login(username, found.user, key=found.id)
        if self.login is None:
            self._reason = f"{fingerprint} is a key of {found.user!r}"
        return self.login is not None

    def password_auth_supported(self) -> bool:
        """Tokens of the hub are taken for passwords."""
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        """Whether that is a token of the user's that opens their machine."""
        self.login = None
        self._tokens_tried += 1
        if self._tokens_tried > 2 * _MOST_TOKENS_TRIED:
            self.end("Too many wrong tokens.")
            return False
        if self._gateway.failed_as.are_too_many(username):
            self._reason = "too many wrong tokens for this user"
            self._tell(
                "There were too many wrong tokens for this user. Try again in some minutes, or use a key."
            )
            return False
        try:
            owner = await self._gateway.machines.owner(password)
        except NoHub:
            return self._tell_no_hub()
        if owner is not None:
            self.login = self._login(username, str(owner["name"]), token=password)
        if self.login is not None and not _opens(set(owner["scopes"] if owner else ()), self.login):
            self._tell("This token may not use that machine: make one on the hub's page Token.")
            self.login = None
        if self.login is None:
            self._reason = "that is no token of theirs for this machine"
            self._gateway.failed_as.add(username)
        return self.login is not None

    def kbdint_auth_supported(self) -> bool:
        """The same, where the client asks its user what we ask."""
        return True

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        """What to ask for."""
        return "", "", "", [("Token of the hub: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        """What was answered."""
        return len(responses) == 1 and await self.validate_password(username, responses[0])

    def _login(self, named: str, user: str, key: int = 0, token: str = "") -> Login | None:
        """The user and the server that a name means: ``ana``, ``ana+training``. None where it is
        another's."""
        if named == user:
            return Login(user, "", key, token)
        if named.startswith(f"{user}+"):
            return Login(user, named.removeprefix(f"{user}+"), key, token)
        return None

    def _tell_no_hub(self) -> bool:
        self._reason = "the hub does not answer"
        self._tell(_NO_HUB)
        return False

    def _tell(self, sentence: str) -> None:
        """A line on the user's standard error, whatever their client runs; before they are let in alone."""
        words = "".join(character if character.isprintable() else " " for character in sentence)
        self._conn.send_auth_banner(f"gpubox: {words}\r\n")

    # --- the way in ------------------------------------------------------------------------------

    async def _admit(self) -> bool:
        """They have proved who they are: get their machine. False where they were sent away."""
        login = self.login
        assert login is not None
        self._leave_door()
        log.info("SSH: %s from %s, with %s.", login.user, self.address, "a key" if login.key else "a token")
        if login.key:
            await asyncio.to_thread(self._gateway.keys.used, login.key)
        try:
            await self._connect(login)
        except Refused as error:
            log.info("SSH: no session for %s: %s", login.user, error)
            self.end(str(error))
            return False
        self.is_in = True
        return True

    async def _connect(self, login: Login) -> None:
        machines, tell = self._gateway.machines, _once(self._tell)
        reach = await machines.reach(login)
        for is_last in (False, True):
            if reach is None:
                tell(f"Starting your {login.machine}")
                await machines.start(login, tell)
                reach = await machines.reach(login)
            if reach is None:
                raise Refused("Your machine ended as soon as it had started.")
            try:
                return await self._enter(reach)
            except Unreachable as error:
                # The hub has not noticed yet that it ended: asking for it makes it look.
                if is_last:
                    raise Refused(str(error)) from error
                reach = None

    async def _enter(self, reach: Reach) -> None:
        gateway = self._gateway
        try:
            tunnel = await open_tunnel(gateway.session, reach, gateway.own_public_key)
        finally:
            await gateway.machines.done(reach)
        try:
            self._machine = await log_in(tunnel, gateway.own_key, lambda: _MachineLost(self))
        except (asyncssh.Error, OSError) as error:
            log.warning("SSH: the sshd of %s refused the gateway: %s", self.login, error)
            raise Refused("Your machine's SSH server refused the connection; its log may say why.") from error
        self._machine.peer, self._conn.peer = self._conn, self._machine
        self._conn.tunnel = tunnel
        if self._conn.transport is not None:
            tunnel.feed_from(self._conn.transport)

    async def machine_lost(self) -> None:
        """The machine's side has ended: say why."""
        if not self.is_in or self.login is None:
            return
        try:
            runs = await self._gateway.machines.reach(self.login)
        except Refused:
            return self.end("The connection to your machine was lost.")
        if runs is None:
            return self.end("Your machine has been stopped.")
        await self._gateway.machines.done(runs)
        self.end("The connection to your machine was lost; it runs.")


class _MachineLost(asyncssh.SSHClient):
    """Tells the visitor when the machine's side ends."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncssh's word for the end of a connection."""
        self._visitor._gateway.follow(self._visitor.machine_lost())


def _opens(scopes: set[str], login: Login) -> bool:
    """Whether a token's scopes let it into that server."""
    access, whose = "access:servers", f"{login.user}/{login.server}"
    return not scopes.isdisjoint({access, f"{access}!user={login.user}", f"{access}!server={whose}"})


def _once(tell: Tell) -> Tell:
    """What was told last is not told again."""
    last = ""

    def told(sentence: str) -> None:
        nonlocal last
        if sentence and sentence != last:
            last = sentence
            tell(sentence)

    return told
