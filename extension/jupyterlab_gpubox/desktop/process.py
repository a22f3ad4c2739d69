"""A program of the desktop: a process group of its own, its last lines remembered, its end put in words."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

_LAST_LINES = 40
_TOLD_LINES = 3
_SECONDS_TO_END = 5.0
_LONGEST_LINE = 400


class Process:
    """A running program; made by `spawn`."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, log: logging.Logger) -> None:
        self._process, self._name, self._log = process, name, log
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def spawn(
        cls,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        inherited: Sequence[int],
        log: logging.Logger,
    ) -> Process:
        """Start a program with the file descriptors that it is to inherit; OSError where that fails."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited,
        )
        return cls(process, name, log)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    @property
    def returncode(self) -> int | None:
        """Its exit status; negative: the signal that killed it."""
        return self._process.returncode

    async def wait(self) -> None:
        """Until it has ended."""
        await self._process.wait()

    async def end(self) -> None:
        """End it and what it started, politely first."""
        if self.is_running:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_TO_END):
                    await self.wait()
        self.kill()
        await self.wait()
        self._listening.cancel()

    def kill(self) -> None:
        """End what is left of it at once."""
        self._signal(signal.SIGKILL)

    def obituary(self, who: str) -> str:
        """How it ended, or that it hangs, as a sentence with its last lines."""
        code = self.returncode
        if code is None:
            how = "does not answer"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with status {code}"
        last = " / ".join(list(self._lines)[-_TOLD_LINES:])
        return f"{who} {how}." + (f" Its last words: {last}" if last else "")

    def _signal(self, number: int) -> None:
        # The group outlives its first process, and its number is nobody else's as long as it does.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(65536):
            for line in chunk.decode(errors="replace").splitlines():
                if line.strip():
                    self._lines.append(line.strip()[:_LONGEST_LINE])
                    self._log.debug("desktop %s: %s", self._name, line)
