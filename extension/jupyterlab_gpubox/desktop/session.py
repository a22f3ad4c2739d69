"""The desktop as it runs: started when it is first wanted, watched, told of in words, ended with the
server.

Each step of a start waits for what it needs to be so: the display tells its number, its socket answers, the
session says that its panel stands. What ends by itself is told with the reason, and can be started again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import renderer
from .folder import Folder, make_folder, write_private
from .process import Process
from .programs import (
    Places,
    Programs,
    cookie_file,
    display_command,
    find,
    session_command,
    session_environment,
)
from .renderer import Renderer

MISSING = (
    "This machine's image has no desktop. gpubox's image has one, unless it was built with DESKTOP=no:"
    " ask the administrator for a machine with it."
)
# A display that takes longer hangs; the processors may be shared with many.
_PATIENCE_SECONDS = 60.0
_GREETING_BYTES = 12


@dataclass(frozen=True)
class State:
    """How the desktop is: ``name`` is missing, off, starting, on or failed; the sentences are for people."""

    name: str
    message: str = ""
    phase: str = ""
    renderer: Renderer | None = None


class Ended(Exception):
    """The desktop cannot be had; the message says why."""


class Session:
    """The desktop of one server.

    ``changed`` is called after each change of `state`, ``said`` with each word of a program on the desktop.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        said: Callable[[str], None],
        log: logging.Logger,
        programs: Programs | None = None,
    ) -> None:
        self._programs = programs or find()
        self._changed, self._said, self._log = changed, said, log
        self._run: asyncio.Task[None] | None = None
        self._display_answers = asyncio.Event()
        self._stands = asyncio.Event()
        self._folder: Folder | None = None
        self._processes: list[Process] = []
        self._environment: Mapping[str, str] | None = None
        self.state = State("off") if self._programs else State("missing", MISSING)

    def start(self) -> None:
        """Start it, if it does not run: a start that is going on is everybody's."""
        if self._programs is None or (self._run is not None and not self._run.done()):
            return
        self._display_answers.clear()
        self._stands.clear()
        self._tell(State("starting", phase="Starting the display"))
        self._run = asyncio.create_task(self._live(self._programs))

    async def stop(self) -> None:
        """End it, with the programs on it."""
        if self._run is not None and not self._run.done():
            self._run.cancel()
            await asyncio.wait([self._run])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection to the display's VNC server; starts the desktop where it is off.

        Raises `Ended` with the reason where there is none to be had.
        """
        self.start()
        run = self._run
        if run is None:
            raise Ended(self.state.message)
        answers = asyncio.create_task(self._display_answers.wait())
        try:
            await asyncio.wait([run, answers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            answers.cancel()
        if run.done() or self._folder is None:
            raise Ended(self.state.message or "The desktop was ended.")
        try:
            return await asyncio.open_unix_connection(str(self._folder.places.vnc))
        except OSError as error:
            raise Ended(f"The desktop's display takes no viewer: {error.strerror}.") from error

    async def beside(self, name: str, command: Callable[[Places], list[str]]) -> tuple[Process, Places]:
        """Start another program on the desktop that runs; it ends with the desktop.

        Raises `Ended` where the desktop does not stand, or the program cannot be started.
        """
        if self._folder is None or self._environment is None:
            raise Ended(self.state.message or "The desktop does not run.")
        places = self._folder.places
        return await self._spawn(name, command(places), self._environment), places

    def kill(self) -> None:
        """End all of it at once, where no event loop runs any more."""
        for process in self._processes:
            process.kill()
        if self._folder is not None:
            self._folder.remove()

    def _tell(self, state: State) -> None:
        self.state = state
        self._changed()

    async def _live(self, programs: Programs) -> None:
        """From start to end. Whatever happens, nothing of it is left, and `state` says how it ended."""
        last = State("off", "The desktop was ended.")
        try:
            await self._start_and_watch(programs)
            last = State("off", "You logged out of the desktop. Start it again for a new one.")
        except (Ended, OSError) as error:
            self._log.warning("The desktop ended: %s", error)
            last = State("failed", str(error))
        except Exception:
            self._log.exception("The desktop ended")
            last = State("failed", "The desktop cannot be started: the server's log says why.")
        finally:
            for process in reversed(self._processes):
                await process.end()
            self._processes.clear()
            self._environment = None
            if self._folder is not None:
                self._folder.remove()
                self._folder = None
            self._tell(last)

    async def _start_and_watch(self, programs: Programs) -> None:
        self._folder = make_folder()
        write_private(self._folder.places.cookie, cookie_file(secrets.token_bytes(16)))
        loop = asyncio.get_running_loop()
        self._folder.listen(loop, self._heard)
        display, number = await self._start_display(programs)
        self._display_answers.set()
        graphics = await self._choose_graphics(number)
        self._tell(State("starting", phase="Starting the desktop"))
        environment = session_environment(os.environ, self._folder.places, number, graphics)
        session = await self._spawn("session", session_command(programs), environment)
        await _first(self._stands.wait(), display.wait(), session.wait())
        if self._stands.is_set():
            self._environment = environment
            self._tell(State("on", renderer=self.state.renderer))
            asked = asyncio.create_task(self._ask_renderer(environment))
            try:
                await _first(display.wait(), session.wait())
            finally:
                asked.cancel()
        if not display.is_running:
            raise Ended(display.obituary("The desktop's display, Xvnc,"))
        if session.returncode != 0 or not self._stands.is_set():
            raise Ended(session.obituary("The desktop's session, XFCE,"))

    async def _start_display(self, programs: Programs) -> tuple[Process, int]:
        """Xvnc, once its socket answers, and the number of its display."""
        assert self._folder is not None
        places = self._folder.places
        name = "The desktop's display, Xvnc,"
        ours, its = os.pipe()
        try:
            display = await self._spawn("display", display_command(programs, places, its), os.environ, its)
        except Ended:
            os.close(ours)
            raise
        finally:
            os.close(its)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                number = await _read_line(ours)  # empty once Xvnc has ended
                if not number:
                    await display.wait()
                    raise Ended(display.obituary(name))
                reader, writer = await asyncio.open_unix_connection(str(places.vnc))
                await reader.readexactly(_GREETING_BYTES)
                writer.close()
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise Ended(display.obituary(name)) from error
        return display, int(number)

    async def _choose_graphics(self, display: int) -> Mapping[str, str]:
        """The environment that lets OpenGL use the GPU, where that was seen to work here."""
        if not renderer.has_nvidia_vulkan():
            return renderer.CPU
        self._tell(State("starting", phase="Looking for the GPU's OpenGL"))
        assert self._folder is not None
        found = await self._glxinfo(
            session_environment(os.environ, self._folder.places, display, renderer.ZINK)
        )
        return renderer.ZINK if found is not None and found.is_hardware else renderer.CPU

    async def _ask_renderer(self, environment: Mapping[str, str]) -> None:
        found = await self._glxinfo(environment)
        if self.state.name == "on":
            self._tell(State("on", renderer=found))

    async def _glxinfo(self, environment: Mapping[str, str]) -> Renderer | None:
        try:
            asked = await asyncio.create_subprocess_exec(
                *("nice", *renderer.QUESTION),
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            return None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                told, _ = await asked.communicate()
        except TimeoutError:
            return None
        finally:
            with suppress(ProcessLookupError):
                asked.kill()
        return renderer.read(told.decode(errors="replace"))

    async def _spawn(
        self, name: str, command: list[str], environment: Mapping[str, str], *inherited: int
    ) -> Process:
        try:
            process = await Process.spawn(name, command, environment, inherited, self._log)
        except OSError as error:
            raise Ended(f"{command[0]} cannot be started: {error.strerror}.") from error
        self._processes.append(process)
        return process

    def _heard(self, word: str) -> None:
        if word == "up":
            self._stands.set()
        else:
            self._said(word)


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Until one of these is done; the others are given up."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _read_line(descriptor: int) -> str:
    """The first line of a pipe, which is closed; empty where it ended before."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        return (await reader.readline()).decode().strip()
    finally:
        transport.close()
