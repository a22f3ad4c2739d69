"""In the place of a lab's mail server: takes SMTP on a port of its own, and keeps what it was sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Mail:
    sender: str
    to: list[str]
    text: str


@dataclass
class MailServerStandIn:
    """``refusals`` are answered to RCPT, one each time, before anybody is let in."""

    mails: list[Mail] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    async def __aenter__(self) -> MailServerStandIn:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        mail = Mail("", [], "")
        say("220 stand-in")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            command = line[:4].upper()
            if command == "MAIL":
                mail = Mail(line.partition(":")[2], [], "")
                say("250 ok")
            elif command == "RCPT" and self.refusals:
                say(self.refusals.pop(0))
            elif command == "RCPT":
                mail.to.append(line.partition(":")[2])
                say("250 ok")
            elif command == "DATA":
                say("354 go on")
                mail.text = (await reader.readuntil(b"\r\n.\r\n")).decode()
                self.mails.append(mail)
                say("250 taken")
            elif command == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
            await writer.drain()
        writer.close()
