"""The faults themselves. Each function makes a `Fault` for a rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.faults.proxy import Exchange, Fault

S3_TEXT = "words-of-the-store-that-no-client-may-read"
"""In every error the proxy makes up; no answer of the service may hold it."""


def _xml(code: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{S3_TEXT}</Message>'
        f"<RequestId>1</RequestId><HostId>{S3_TEXT}</HostId></Error>"
    ).encode()


def error(status: int, code: str) -> Fault:
    """S3 refuses, and nothing takes effect."""

    async def act(exchange: Exchange) -> None:
        await exchange.answer(status, _xml(code))

    return Fault(f"{status} {code}", act)


def reset() -> Fault:
    """The connection is reset before the call takes effect."""

    async def act(exchange: Exchange) -> None:
        exchange.reset()

    return Fault("reset", act)


def lost_answer() -> Fault:
    """The call takes effect, and then the connection is reset."""

    async def act(exchange: Exchange) -> None:
        reply = await exchange.forward()
        await reply.body()
        reply.writer.close()
        exchange.reset()

    return Fault("answer lost", act)


def hang() -> Fault:
    """No answer, ever, and no effect."""
    return Fault("hang", Exchange.until_client_leaves)


def delay(seconds: float) -> Fault:
    """The call takes effect at once; its answer comes late."""

    async def act(exchange: Exchange) -> None:
        reply = await exchange.forward()
        await asyncio.sleep(seconds)
        await exchange.deliver(reply)
        reply.writer.close()

    return Fault(f"{seconds:g} s late", act)


def trickle(size: int, pause: float) -> Fault:
    """The body of the answer comes `size` bytes at a time."""

    async def act(exchange: Exchange) -> None:
        reply = await exchange.forward()
        try:
            await exchange.send_head(reply.status, reply.headers)
            while data := await reply.reader.read(size):
                await exchange.send(data)
                await asyncio.sleep(pause)
        finally:
            reply.writer.close()

    return Fault(f"{size} B each {pause:g} s", act)


def cut(at: int, *, rst: bool = False) -> Fault:
    """The answer ends after `at` bytes of its body, by FIN or by RST."""

    async def act(exchange: Exchange) -> None:
        await _send_first(exchange, at)
        if rst:
            # What was sent must leave before the reset overtakes it.
            await asyncio.sleep(0.05)
            exchange.reset()
        else:
            exchange.close()

    return Fault(f"{'reset' if rst else 'cut'} at byte {at}", act)


def stall(at: int) -> Fault:
    """The answer stops after `at` bytes of its body, and the connection stays open."""

    async def act(exchange: Exchange) -> None:
        await _send_first(exchange, at)
        await exchange.until_client_leaves()

    return Fault(f"stall at byte {at}", act)


def false_success(code: str, *, after: bool = False) -> Fault:
    """200 with an `<Error>` in the body; with `after`, the call takes effect nevertheless."""

    async def act(exchange: Exchange) -> None:
        if after:
            reply = await exchange.forward()
            await reply.body()
            reply.writer.close()
        await exchange.answer(200, _xml(code))

    return Fault(f"200 + <Error>{', though done' if after else ''}", act)


def whitespace(seconds: float) -> Fault:
    """200 at once and white space until the answer comes, as S3 does during a slow Complete."""

    async def act(exchange: Exchange) -> None:
        reply = await exchange.forward()
        body = await reply.body()
        reply.writer.close()
        await exchange.send_head(200, {"content-type": "application/xml", "transfer-encoding": "chunked"})
        for _ in range(int(seconds / 0.2)):
            await exchange.send(b"1\r\n \r\n")
            await asyncio.sleep(0.2)
        await exchange.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    return Fault(f"white space for {seconds:g} s", act)


def page(status: int = 200) -> Fault:
    """A page for people, as a gateway or a captive portal sends it."""

    async def act(exchange: Exchange) -> None:
        text = f"<html><body><h1>Welcome</h1>{S3_TEXT}</body>".encode()
        await exchange.answer(status, text, "text/html")

    return Fault(f"{status} HTML page", act)


def wrong_checksum() -> Fault:
    """The store says it holds other bytes than it was sent."""

    async def act(exchange: Exchange) -> None:
        reply = await exchange.forward()
        reply.headers["x-amz-checksum-crc64nvme"] = "AAAAAAAAAAA="
        await exchange.deliver(reply)
        reply.writer.close()

    return Fault("wrong checksum in the answer", act)


def refuse_checksums() -> Fault:
    """A store from before S3's newer checksums."""

    async def act(exchange: Exchange) -> None:
        named = [name for name in exchange.call.headers if name.startswith(("x-amz-checksum-", "x-amz-trailer"))]
        if named:
            await exchange.answer(501, _xml("NotImplemented"))
        else:
            await exchange.relay()

    return Fault("knows no checksums", act)


def first(act_first: Callable[[], None], name: str, then: Fault | None = None) -> Fault:
    """Do something behind the service's back, then pass the call on, or let it meet `then`."""

    async def act(exchange: Exchange) -> None:
        await asyncio.to_thread(act_first)
        await (then.act(exchange) if then is not None else exchange.relay())

    return Fault(name, act)


async def _send_first(exchange: Exchange, size: int) -> None:
    """The head of the answer and `size` bytes of its body."""
    reply = await exchange.forward()
    try:
        await exchange.send_head(reply.status, reply.headers)
        while size > 0 and (data := await reply.reader.read(min(size, 65536))):
            await exchange.send(data)
            size -= len(data)
    finally:
        reply.writer.close()
