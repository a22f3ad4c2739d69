"""Notices by webhook and e-mail: in the background, again where it did not work, never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import ssl
import stat
import time
from collections.abc import Awaitable, Callable
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from pathlib import Path
from typing import Any

import aiohttp

from . import words
from .notices import Notices
from .settings import GPUService
from .store import Notice

log = logging.getLogger(__name__)

_TRY_SECONDS = 30.0
_AT_ONCE = 8
# A notice that could not be told by then is no news any more.
_NEWS_SECONDS = 6 * 3600.0
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_SUBJECTS = {
    "free": "Your machine is running",
    "end": "Your machine stops soon",
    "idle": "Your idle machine will be stopped",
    "budget": "Your budget",
    "lost": "A GPU of your machine is lost",
    "ask": "Somebody asks for your machine",
}


class CannotDeliver(Exception):
    """It will not work the next time either; the message says why."""


# --- webhook -------------------------------------------------------------------------------------------


def payload(notice: Notice) -> dict[str, Any]:
    """What is posted to the webhook: ``text`` is what chat programs show, the rest is for others."""
    whose = f"{notice.user}/{notice.server}" if notice.server else notice.user
    return {
        "text": plain(f"{whose}: {notice.sentence}"),
        "kind": notice.kind,
        "user": notice.user,
        "server": notice.server,
        "due_at": notice.due_at,
    }


def plain(text: str) -> str:
    """Words that say nothing else in Slack or Mattermost: no link, no "@channel"."""
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b")):
        text = text.replace(sign, shown)
    return text


async def post(url: str, notice: Notice) -> None:
    """Post it to the webhook. Raises OSError, `CannotDeliver`."""
    timeout = aiohttp.ClientTimeout(total=_TRY_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.post(url, json=payload(notice), allow_redirects=False) as response:
                status = response.status
    except aiohttp.InvalidURL as error:
        raise CannotDeliver("c.GPUService.webhook_url is no address.") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"the webhook does not answer ({type(error).__name__})") from error
    if status == 429 or status >= 500:
        raise OSError(f"the webhook answers {status}")
    if not 200 <= status < 300:
        raise CannotDeliver(f"the webhook refuses it ({status})")


# --- mail ----------------------------------------------------------------------------------------------


def address(template: str, user: str) -> Address:
    """A user's address. Raises `CannotDeliver` where their name makes none.

    A name is quoted, whatever is in it: it cannot choose another domain, nor write into the header.
    """
    local, _, domain = template.rpartition("@")
    if not domain or "{username}" in domain:
        local, _, domain = template.replace("{username}", user).rpartition("@")
    else:
        local = local.replace("{username}", user)
    try:
        if not local or not domain or not (local + domain).isprintable() or not domain.isascii():
            raise ValueError
        made = Address(username=local, domain=domain)
        if any(sign in domain for sign in " ,;<>()\"'\\@"):
            raise ValueError
    except (ValueError, IndexError) as error:
        raise CannotDeliver(f"{user!r} makes no mail address with c.GPUService.mail_to") from error
    return made


def mail(notice: Notice, options: GPUService, now: float) -> EmailMessage:
    """The mail of a notice. Raises `CannotDeliver`."""
    message = EmailMessage()
    message["From"] = options.mail_from
    message["To"] = address(options.mail_to, notice.user)
    message["Subject"] = _SUBJECTS.get(notice.kind, "Notice")
    message["Date"] = formatdate(now, localtime=True)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation answers this
    due = f"\n\nThat is at {words.clock(notice.due_at, now)}." if notice.due_at else ""
    message.set_content(f"{notice.sentence}{due}\n")
    return message


def send_mail(notice: Notice, options: GPUService) -> None:
    """Send it by the lab's mail server; blocks. Raises OSError, `CannotDeliver`."""
    message = mail(notice, options, time.time())
    security, port = options.smtp_security, options.smtp_port or _PORTS[options.smtp_security]
    context = ssl.create_default_context()
    server: smtplib.SMTP
    try:
        if security == "tls":
            server = smtplib.SMTP_SSL(options.smtp_host, port, timeout=_TRY_SECONDS, context=context)
        else:
            server = smtplib.SMTP(options.smtp_host, port, timeout=_TRY_SECONDS)
        with server:
            if security == "starttls":
                server.starttls(context=context)
            if options.smtp_user and security != "none":
                server.login(options.smtp_user, password(Path(options.smtp_password_file)))
            server.send_message(message, to_addrs=[message["To"].addresses[0].addr_spec])
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        if code >= 500:
            raise CannotDeliver(f"the mail server refuses the address of {notice.user!r} ({code})") from error
        raise
    except (smtplib.SMTPNotSupportedError, smtplib.SMTPAuthenticationError) as error:
        raise CannotDeliver(f"the mail server does not take it: {error}") from error


def password(file: Path) -> str:
    """The password in a file that its owner alone may read. Raises `CannotDeliver`, with a sentence."""
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise CannotDeliver(f"others may read {file}: chmod 600 {file}")
        return file.read_text().strip()
    except OSError as error:
        raise CannotDeliver(f"the mail server's password cannot be read: {error}") from error


# --- both ----------------------------------------------------------------------------------------------


class Delivery:
    """Sends notices from when `run` begins; those that an earlier process left are sent, too."""

    first_wait_seconds = 2.0

    def __init__(self, notices: Notices, options: GPUService) -> None:
        self._notices, self._options = notices, options
        self._queue: asyncio.Queue[Notice] = asyncio.Queue()
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        notices.on_told.append(self._queue.put_nowait)

    def ways(self) -> list[Callable[[Notice], Awaitable[None]]]:
        """How notices go out here."""
        options = self._options
        ways: list[Callable[[Notice], Awaitable[None]]] = []
        if options.webhook_url:
            ways.append(lambda notice: post(options.webhook_url, notice))
        if options.smtp_host and options.mail_from and options.mail_to:
            ways.append(lambda notice: asyncio.to_thread(send_mail, notice, options))
        elif options.smtp_host:
            log.warning("No mail is sent: set c.GPUService.mail_from and c.GPUService.mail_to, too.")
        if "@" in options.mail_from and not parseaddr(options.mail_from)[1]:
            log.warning("c.GPUService.mail_from is no mail address.")
        return ways

    async def run(self) -> None:
        """Send what is told from now on."""
        ways = self.ways()
        while not self._queue.empty():
            self._queue.get_nowait()  # they are among the open ones
        for notice in self._notices.open():
            if notice.sent_at is None:
                self._queue.put_nowait(notice)
        async with asyncio.TaskGroup() as sending:
            while True:
                notice = await self._queue.get()
                if ways and notice.kind in self._options.send_kinds:
                    sending.create_task(self._send(notice, ways))

    async def _send(self, notice: Notice, ways: list[Callable[[Notice], Awaitable[None]]]) -> None:
        done = await asyncio.gather(*(self._send_by(way, notice) for way in ways))
        if any(done):
            try:
                await self._notices.sent(notice.id, time.time())
            except Exception:
                log.exception("It could not be written down that a notice was sent.")

    async def _send_by(self, way: Callable[[Notice], Awaitable[None]], notice: Notice) -> bool:
        """Try one way until it works, or it is no news any more; True: it worked."""
        wait = self.first_wait_seconds
        while self._is_news(notice):
            try:
                async with self._at_once:
                    await way(notice)
                return True
            except CannotDeliver as error:
                log.error("A notice (%s) cannot be sent: %s.", notice.kind, error)
                return False
            except (OSError, smtplib.SMTPException) as error:
                log.warning("A notice (%s) was not sent: %s; trying again.", notice.kind, error)
            except Exception:
                log.exception("A notice (%s) could not be sent.", notice.kind)
                return False
            await asyncio.sleep(wait)
            wait = min(wait * 2, 600.0)
        return False

    def _is_news(self, notice: Notice) -> bool:
        is_due = notice.due_at is not None and notice.due_at < time.time()
        return (
            self._notices.find(notice.id) is not None
            and not is_due
            and time.time() - notice.told_at < _NEWS_SECONDS
        )
