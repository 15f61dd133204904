"""A network that misbehaves: a proxy between client and server that delays, cuts and swallows (promise N01)."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

Pipe = Callable[[asyncio.StreamReader, random.Random], AsyncIterator[bytes]]


class Cut(Exception):
    """The connection is to be reset."""


async def _latency(reader: asyncio.StreamReader, draw: random.Random) -> AsyncIterator[bytes]:
    while data := await reader.read(65_536):
        await asyncio.sleep(draw.uniform(0.1, 0.5))
        yield data


async def _slicer(reader: asyncio.StreamReader, draw: random.Random) -> AsyncIterator[bytes]:
    while data := await reader.read(1):
        yield data


async def _narrow(reader: asyncio.StreamReader, draw: random.Random) -> AsyncIterator[bytes]:
    while data := await reader.read(800):
        await asyncio.sleep(len(data) / 8_000)
        yield data


async def _reset(reader: asyncio.StreamReader, draw: random.Random) -> AsyncIterator[bytes]:
    left = draw.randrange(4_000)
    while data := await reader.read(65_536):
        yield data[:left]
        left -= len(data)
        if left <= 0:
            raise Cut


async def _black_hole(reader: asyncio.StreamReader, draw: random.Random) -> AsyncIterator[bytes]:
    left = draw.randrange(300)
    while data := await reader.read(65_536):
        if left > 0:
            yield data[:left]
        left -= len(data)


async def _half_close(reader: asyncio.StreamReader, draw: random.Random) -> AsyncIterator[bytes]:
    yield (await reader.read(65_536))[: draw.randrange(1, 4_000)]


TOXICS: Mapping[str, Pipe] = {
    "latency": _latency, "one byte at a time": _slicer, "8 KB/s": _narrow, "reset": _reset, "black hole": _black_hole,
    "half close": _half_close,
}  # fmt: skip


class ToxicProxy:
    """Listens on a free port and passes on what the toxic lets through, both ways; in a thread of its own."""

    def __init__(self, port: int, toxic: str) -> None:
        self._target, self._toxic = port, TOXICS[toxic]
        # Once a client has closed its side, asyncio itself holds no more than weak references to who serves it.
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="toxic", daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))
        except (Cut, OSError):
            writer.transport.abort()
            back.transport.abort()
        finally:
            # Both first: at the proxy's end this task may be cancelled while it waits for one.
            writer.close()
            back.close()
            for end in (writer, back):
                with suppress(OSError):
                    await end.wait_closed()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for data in self._toxic(reader, random.Random()):
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
