"""Connections: the bytes come as they are, and a chunk is only there until the next is asked for."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable

import pytest

from s3proxy.handlers.stream import DIRECT_SIZE, ClientStream

READ_SIZE = 2 * DIRECT_SIZE


def over_a_connection(test: Callable[[ClientStream, socket.socket], Awaitable[None]]) -> None:
    """Run `test` with a stream and the client's end of it."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = ClientStream(ours, read_chunk_size=READ_SIZE)
        try:
            async with asyncio.timeout(10):
                await test(stream, theirs)
        finally:
            stream.close()
            theirs.close()

    asyncio.run(run())


@pytest.mark.parametrize("piece_size", [1_000, DIRECT_SIZE - 1, 3 * DIRECT_SIZE])
def test_the_bytes_arrive_whether_the_client_is_slow_or_fast(piece_size: int) -> None:
    data = random.Random(piece_size).randbytes(min(100 * piece_size, 10 * READ_SIZE) + 77)

    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.setblocking(False)

        async def send() -> None:
            for start in range(0, len(data), piece_size):
                await asyncio.get_running_loop().sock_sendall(client, data[start : start + piece_size])
                await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        received = b""
        while len(received) < len(data):
            chunk = await stream.read_bytes(min(READ_SIZE, len(data) - len(received)), partial=True)
            assert 0 < len(chunk) <= READ_SIZE
            received += chunk
        await sending
        assert received == data

    over_a_connection(test)


def test_a_chunk_is_let_go_of_when_the_next_is_asked_for() -> None:
    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.sendall(b"first")
        first = await stream.read_bytes(READ_SIZE, partial=True)
        assert bytes(first) == b"first"
        reading = asyncio.ensure_future(stream.read_bytes(READ_SIZE, partial=True))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="released"):
            bytes(first)
        client.sendall(b"second")
        assert bytes(await reading) == b"second"

    over_a_connection(test)


def test_what_is_no_body_stays_as_tornado_gives_it() -> None:
    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.sendall(b"x" * 10 + b"HEAD\r\n")
        assert bytes(await stream.read_bytes(10)) == b"x" * 10
        assert await stream.read_until(b"\r\n") == b"HEAD\r\n"

    over_a_connection(test)
