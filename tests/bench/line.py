"""A slow line: a relay in front of a port of this machine, with a bandwidth and a way there and back.

The kernel's own (tc, netem) is in few containers. As on a line with one queue, what is sent goes out at the
bandwidth and arrives later by the delay; while the queue is full, nothing more is taken from the sender.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import NamedTuple

_CHUNK_BYTES = 4096
_QUEUED_CHUNKS = 32


class Line(NamedTuple):
    """``bits_per_second`` each way; ``seconds`` there and back together."""

    bits_per_second: float
    seconds: float


class Relay:
    """Listens on ``port`` of 127.0.0.1 while it is entered; ``received`` is the bytes that came back."""

    port: int

    def __init__(self, line: Line, to: str) -> None:
        self._line, self._to = line, to.rpartition(":")[::2]
        self._loop = asyncio.new_event_loop()
        # The connections of a browser share the line.
        self._free_at = {True: 0.0, False: 0.0}
        self.received = 0

    def __enter__(self) -> Relay:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        listening = asyncio.start_server(self._join, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._to
        box_reader, box_writer = await asyncio.open_connection(host, int(port), limit=_CHUNK_BYTES)
        await asyncio.gather(
            self._carry(reader, box_writer, is_back=False), self._carry(box_reader, writer, is_back=True)
        )

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_back: bool
    ) -> None:
        underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_CHUNKS)
        arriving = asyncio.create_task(self._arrive(underway, writer))
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                now = self._loop.time()
                sent = max(now, self._free_at[is_back]) + 8 * len(chunk) / self._line.bits_per_second
                self._free_at[is_back] = sent
                await asyncio.sleep(sent - now)
                self.received += len(chunk) if is_back else 0
                await underway.put((sent + self._line.seconds / 2, chunk))
        except ConnectionError:
            pass
        await underway.put((0.0, b""))
        await arriving

    async def _arrive(
        self, underway: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while (arrival := await underway.get())[1]:
            await asyncio.sleep(arrival[0] - self._loop.time())
            writer.write(arrival[1])
        writer.close()
