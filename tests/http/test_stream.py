"""Connections: the bytes come as they are, and a chunk is only there until the next is asked for."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable

import pytest
from tornado.iostream import StreamClosedError

from s3proxy.handlers.stream import (
    BUFFERS_SIZE,
    DIRECT_SIZE,
    FAST_BUFFERS_SIZE,
    FAST_SIZE,
    HEAD_SIZE,
    IDLE_BUFFERS,
    LEAST_ROOM,
    Buffers,
    ClientStream,
)
from tests.http.wire import until


class Counted(Buffers):
    """Buffers that know how large they were."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []

    def take(self, *, fast: bool) -> memoryview:
        """See `Buffers.take`."""
        buffer = super().take(fast=fast)
        self.taken.append(len(buffer))
        return buffer


def over_a_connection(
    test: Callable[[ClientStream, socket.socket], Awaitable[None]], buffers: Buffers | None = None
) -> None:
    """Run `test` with a stream and the client's end of it."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = ClientStream(ours, buffers or Buffers())
        try:
            async with asyncio.timeout(10):
                await test(stream, theirs)
        finally:
            stream.close()
            theirs.close()

    asyncio.run(run())


@pytest.mark.parametrize("piece_size", [1_000, DIRECT_SIZE - 1, 3 * DIRECT_SIZE])
def test_the_bytes_arrive_whether_the_client_is_slow_or_fast(piece_size: int) -> None:
    data = random.Random(piece_size).randbytes(min(100 * piece_size, 10 * FAST_SIZE) + 77)

    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.setblocking(False)

        async def send() -> None:
            for start in range(0, len(data), piece_size):
                await asyncio.get_running_loop().sock_sendall(client, data[start : start + piece_size])
                await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        received = b""
        while len(received) < len(data):
            chunk = await stream.read_bytes(min(FAST_SIZE, len(data) - len(received)), partial=True)
            assert 0 < len(chunk) <= FAST_SIZE
            received += chunk
        await sending
        assert received == data

    over_a_connection(test)


def test_a_chunk_is_let_go_of_when_the_next_is_asked_for() -> None:
    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.sendall(b"first")
        first = await stream.read_bytes(FAST_SIZE, partial=True)
        assert bytes(first) == b"first"
        reading = asyncio.ensure_future(stream.read_bytes(FAST_SIZE, partial=True))
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


def test_who_waits_for_a_client_has_no_buffer() -> None:
    buffers = Counted()

    async def test(stream: ClientStream, client: socket.socket) -> None:
        for piece in (b"a", b"bc", b"d" * 50_000):
            reading = asyncio.ensure_future(stream.read_bytes(FAST_SIZE, partial=True))
            for _ in range(3):
                await asyncio.sleep(0)
            assert buffers.used == 0
            client.sendall(piece)
            assert bytes(await reading) == piece
            assert buffers.used == DIRECT_SIZE
        client.sendall(b"GET\r\n\r\n")
        await stream.read_until_regex(b"\r\n\r\n")
        assert buffers.used == 0

    over_a_connection(test, buffers)
    assert set(buffers.taken) == {DIRECT_SIZE}


def test_a_fast_client_is_read_in_larger_pieces_and_a_slow_one_again_in_smaller() -> None:
    buffers = Counted()

    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * FAST_SIZE)
        client.sendall(b"x" * (DIRECT_SIZE + 1))
        assert len(await stream.read_bytes(FAST_SIZE, partial=True)) == DIRECT_SIZE
        assert len(await stream.read_bytes(FAST_SIZE, partial=True)) == 1
        client.sendall(b"y")
        assert bytes(await stream.read_bytes(FAST_SIZE, partial=True)) == b"y"

    over_a_connection(test, buffers)
    first, second, *rest = buffers.taken
    assert (first, second) == (DIRECT_SIZE, FAST_SIZE)
    assert set(rest) == {DIRECT_SIZE}


@pytest.mark.parametrize(("fast", "size"), [(False, DIRECT_SIZE), (True, FAST_SIZE)])
def test_buffers_are_used_again_and_only_so_many_are_kept(fast: bool, size: int) -> None:
    buffers = Buffers()
    first = buffers.take(fast=fast)
    assert len(first) == size
    first[:3] = b"abc"
    buffers.recycle(first)
    assert bytes(buffers.take(fast=fast)[:3]) == b"abc"
    for buffer in [buffers.take(fast=fast) for _ in range(IDLE_BUFFERS[size] + 5)]:
        buffers.recycle(buffer)
    assert len(buffers._idle[size]) == IDLE_BUFFERS[size]


def test_the_more_is_in_use_the_smaller_are_the_pieces_that_clients_are_read_in() -> None:
    buffers = Buffers()
    large, middle = FAST_BUFFERS_SIZE // FAST_SIZE, (BUFFERS_SIZE - FAST_BUFFERS_SIZE) // DIRECT_SIZE
    taken = [buffers.take(fast=True) for _ in range(large + middle + 1_000)]
    assert [len(buffer) for buffer in taken] == [FAST_SIZE] * large + [DIRECT_SIZE] * middle + [HEAD_SIZE] * 1_000
    assert buffers.used == BUFFERS_SIZE + 1_000 * HEAD_SIZE
    for buffer in taken:
        buffers.recycle(buffer)
    assert buffers.used == 0
    assert [len(buffers.take(fast=fast)) for fast in (True, False)] == [FAST_SIZE, DIRECT_SIZE]


def test_a_client_that_leaves_in_the_middle_of_a_chunk_takes_nobodys_place() -> None:
    buffers = Buffers()

    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * FAST_SIZE)
        client.sendall(b"x" * (DIRECT_SIZE + 5))
        await stream.read_bytes(FAST_SIZE, partial=True)
        chunk = await stream.read_bytes(FAST_SIZE, partial=True)
        assert buffers.used > 0
        stream.close()
        assert bytes(chunk) == b"x" * 5
        with pytest.raises(StreamClosedError):
            await stream.read_bytes(FAST_SIZE, partial=True)
        assert buffers.used == 0

    over_a_connection(test, buffers)


def test_a_body_is_received_where_there_is_room_and_else_into_a_buffer() -> None:
    buffers, place = Counted(), memoryview(bytearray(FAST_SIZE))
    rooms = [place, None, place[: LEAST_ROOM - 1], place[:LEAST_ROOM]]

    async def test(stream: ClientStream, client: socket.socket) -> None:
        for room in rooms:
            stream.room = lambda room=room: room
            client.sendall(b"x" * LEAST_ROOM)
            chunk = memoryview(await stream.read_bytes(FAST_SIZE, partial=True))
            assert bytes(chunk) == b"x" * LEAST_ROOM
            assert (chunk.obj is place.obj) == (room is not None and len(room) >= LEAST_ROOM)
        client.sendall(b"y" * HEAD_SIZE)
        stream.room = lambda: place[:HEAD_SIZE]
        chunk = memoryview(await stream.read_bytes(HEAD_SIZE, partial=True))
        assert bytes(place[:HEAD_SIZE]) == b"y" * HEAD_SIZE
        assert chunk.obj is place.obj

    over_a_connection(test, buffers)
    assert len(buffers.taken) == 2


def test_the_next_request_has_no_room_but_its_own() -> None:
    def room() -> memoryview:
        raise AssertionError

    async def test(stream: ClientStream, client: socket.socket) -> None:
        stream.room = room
        client.sendall(b"PUT\r\n\r\n")
        await stream.read_until_regex(b"\r\n\r\n")
        client.sendall(b"x" * HEAD_SIZE)
        assert bytes(await stream.read_bytes(HEAD_SIZE, partial=True)) == b"x" * HEAD_SIZE

    over_a_connection(test)


def test_what_comes_before_a_read_is_awaited_is_not_lost() -> None:
    data = random.Random(2).randbytes(3 * HEAD_SIZE)

    async def test(stream: ClientStream, client: socket.socket) -> None:
        first = asyncio.ensure_future(stream.read_bytes(FAST_SIZE, partial=True))
        await asyncio.sleep(0)
        client.sendall(b"first")
        assert bytes(await first) == b"first"
        reading = stream.read_bytes(len(data), partial=True)
        client.sendall(data)
        await until(lambda: stream._read_buffer_size > 0)
        received = bytes(await reading)
        while len(received) < len(data):
            received += await stream.read_bytes(len(data) - len(received), partial=True)
        assert received == data

    over_a_connection(test)


def test_what_came_along_with_the_headers_comes_first() -> None:
    data = random.Random(1).randbytes(3 * HEAD_SIZE)

    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.sendall(b"PUT\r\n\r\n" + data)
        assert await stream.read_until_regex(b"\r\n\r\n") == b"PUT\r\n\r\n"
        received = b""
        while len(received) < len(data):
            received += await stream.read_bytes(len(data) - len(received), partial=True)
        assert received == data

    over_a_connection(test)


def test_no_more_is_read_than_was_asked_for() -> None:
    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.sendall(b"x" * HEAD_SIZE + b"NEXT\r\n")
        assert bytes(await stream.read_bytes(HEAD_SIZE, partial=True)) == b"x" * HEAD_SIZE
        assert await stream.read_until_regex(b"\r\n") == b"NEXT\r\n"

    over_a_connection(test)


@pytest.mark.parametrize("before", [b"", b"abc"])
def test_a_client_that_leaves_is_told_after_its_last_bytes(before: bytes) -> None:
    async def test(stream: ClientStream, client: socket.socket) -> None:
        client.sendall(before)
        client.close()
        if before:
            assert bytes(await stream.read_bytes(FAST_SIZE, partial=True)) == before
        for _ in range(2):
            with pytest.raises(StreamClosedError):
                await stream.read_bytes(FAST_SIZE, partial=True)

    over_a_connection(test)
