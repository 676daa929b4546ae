"""C1 to C7 and C14 to C16: clients that leave, stall, lie about the length, or never read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tests.faults import client, kinds
from tests.faults.acts import LARGE
from tests.faults.client import Answer, pieces_of
from tests.faults.program import memory_of, until
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import Row
from tests.faults.stage import BUCKET, CLIENT_TIMEOUT, LIMIT_MIB, MIB, Scene

PART = 5 * MIB

SOON = CLIENT_TIMEOUT + 5
"""Seconds in which a silent client is noticed, on a busy machine."""


def leaves(sent: int, *, rst: bool, size: int = 40 * MIB) -> Callable[[Scene], None]:
    """A client announces `size` bytes and leaves after `sent`."""

    def act(scene: Scene) -> None:
        connection = scene.begin_put(size, sent)
        if rst:
            connection.reset()
        else:
            connection.socket.close()

    return act


def leaves_form(scene: Scene) -> None:
    """A client leaves in the middle of a form's file."""
    connection = scene.open()
    connection.ask("POST", "/files", scene.headers(Content_Type=client.FORM_TYPE, Content_Length=str(40 * MIB)))
    fields = client.field("bucket_name", BUCKET) + client.field("object_name", scene.key)
    connection.send(fields + client.file(scene.body(LARGE))[:-2])
    connection.socket.close()


def holds_back(scene: Scene) -> Answer:
    """A client sends 1 MiB and then nothing."""
    return scene.begin_put(40 * MIB, MIB).answer()


def trickles(scene: Scene) -> Answer:
    """A client is never silent for long, and never gets anywhere."""
    connection = scene.begin_put(40 * MIB, MIB)
    answered = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            while not answered.wait(0.1):
                connection.socket.sendall(b"x")

    sender = threading.Thread(target=trickle)
    sender.start()
    try:
        return connection.answer()
    finally:
        answered.set()
        sender.join()


def plods(scene: Scene) -> Answer:
    """A client is slow, and gets there."""
    connection = scene.begin_put(MIB + 60_000, MIB)
    for piece in pieces_of(scene.new[MIB:], 2_000):
        connection.send(piece)
        time.sleep(0.1)
    return connection.answer()


def half_a_head(scene: Scene) -> None:
    """A client never ends its headers; it is hung up on without a word."""
    connection = scene.open()
    connection.send(b"PUT /files/faults/x HTTP/1.1\r\nHost: te")
    assert connection.rest() == b"", "an answer to half a request"


def idles(scene: Scene) -> None:
    """A client keeps its connection and asks nothing more."""
    connection = scene.open()
    connection.ask("GET", "/healthz", scene.headers())
    assert connection.answer().status == 200
    assert connection.rest() == b"", "an answer to no request"


def chunked_ends_early(scene: Scene) -> None:
    """A chunked body stops within a chunk, and the client says it is done."""
    connection = scene.open()
    connection.ask("PUT", scene.path, scene.headers(Transfer_Encoding="chunked"))
    connection.send_chunked(pieces_of(scene.body(7 * MIB)), end=False)
    connection.send(b"5\r\nabc")
    connection.finish()
    assert connection.rest() == b"", "an answer to half a body"


def shorter_than_announced(scene: Scene) -> None:
    """A body ends before its length; the client says it is done."""
    connection = scene.begin_put(12 * MIB, 11 * MIB)
    connection.finish()
    assert connection.rest() == b"", "an answer to half a body"


def announces_too_much(*, ask_first: bool) -> Callable[[Scene], Answer]:
    """A client announces 1 TB."""

    def act(scene: Scene) -> Answer:
        expect = {"Expect": "100-continue"} if ask_first else {}
        connection = scene.open()
        connection.ask("PUT", scene.path, scene.headers(Content_Length=str(10**12), **expect))
        if ask_first:
            seen = connection.rest()
            assert seen.startswith(b"HTTP/1.1 413 "), f"{seen[:40]!r}"
            return Answer(413, {"x-error-code": "too_large", "x-request-id": "-"}, seen.partition(b"\r\n\r\n")[2], True)
        connection.send(bytes(4 * MIB))
        return connection.answer()

    return act


def grows_past_limit(scene: Scene) -> Answer:
    """A chunked body goes on past the limit; its client reads the answer although it only ever sends."""
    connection = scene.open()
    connection.ask("PUT", scene.path, scene.headers(Transfer_Encoding="chunked"))
    connection.send_chunked(pieces_of(bytes(LIMIT_MIB * MIB + 8 * MIB), MIB))
    scene.new = b""
    return connection.answer()


def never_reads(scene: Scene) -> None:
    """A client asks for a large object and reads none of it."""
    scene.truth.put(scene.key, scene.body(40 * MIB))
    pid = scene.server.program.workers[0]
    before = memory_of(pid)
    connection = scene.open(receive_buffer=4096)
    connection.ask("GET", scene.path, scene.headers())
    assert until(lambda: scene.proxy.record.calls["get"], 5), "the store is read"
    # At least one other connection than those the client itself keeps open must go: the one to the store.
    assert until(lambda: _logged(scene), SOON), "the download is given up"
    grown = (memory_of(pid) - before) / MIB
    assert grown < 24, f"{grown:.0f} MiB held for a client that does not read"


def _logged(scene: Scene) -> bool:
    records = scene.server.program.records()
    return any(row.get("request_id") == scene.ids[-1] and row["message"] == "request" for row in records)


def leaves_a_download(scene: Scene) -> None:
    """A client leaves in the middle of a download that the store sends slowly."""
    scene.truth.put(scene.key, scene.body(LARGE))
    connection = scene.open(receive_buffer=65536)
    connection.ask("GET", scene.path, scene.headers())
    connection.socket.recv(65536)
    connection.reset()
    assert until(lambda: scene.proxy.in_flight == 0, 3), "the store still sends"


def leaves_during_complete(scene: Scene) -> None:
    """A client sends all and leaves while S3 joins the parts."""
    connection = scene.begin_put(LARGE, LARGE)
    assert until(lambda: scene.proxy.record.calls["complete"], 10), "the upload is completed"
    connection.reset()
    assert until(lambda: scene.truth.get(scene.key) == scene.new, 10), "the object appears"
    assert until(lambda: ("end", "complete") in scene.proxy.record.journal, 10), "the complete ends"
    assert scene.proxy.record.calls["abort"] == 0, "aborted while a Complete was on its way"


ROWS: tuple[Row, ...] = (
    *(
        Row(
            number="C1",
            sentence=f"a client that leaves by {'RST' if rst else 'FIN'} after {sent} bytes stores nothing",
            act=leaves(sent, rst=rst),
            fault=f"client {'RST' if rst else 'FIN'} at byte {sent}",
            after=("old",),
            fast=sent in (0, 12 * MIB),
        )
        for sent in (0, PART - 1, PART, PART + 1, 12 * MIB)
        for rst in (False, True)
    ),
    Row(
        number="C1",
        sentence="a client that leaves a form stores nothing",
        act=leaves_form,
        fault="client FIN within a form's file",
        after=("old",),
        fast=True,
    ),
    Row(
        number="C1",
        sentence="a client that leaves before the create is answered leaves nothing",
        act=leaves(0, rst=True),
        rules=(Rule("create", kinds.delay(1)),),
        after=("old",),
    ),
    Row(
        number="C2",
        sentence="a client that falls silent is told 408",
        act=holds_back,
        fault="client sends no more",
        statuses=(408,),
        after=("old",),
        seconds=SOON,
        fast=True,
    ),
    Row(
        number="C3",
        sentence="a trickle of 10 bytes per second is told 408",
        act=trickles,
        fault="client sends 10 B/s",
        statuses=(408,),
        after=("old",),
        seconds=2 * SOON,
    ),
    Row(number="C3", sentence="a slow client that goes on is served", act=plods, fault="client sends 20 KB/s"),
    Row(
        number="C4",
        sentence="half a head is hung up on",
        act=half_a_head,
        fault="headers never end",
        after=("old",),
        silent=True,
        seconds=8,
    ),
    Row(
        number="C4",
        sentence="an idle connection is hung up on",
        act=idles,
        fault="idle keep-alive",
        after=("old",),
        silent=True,
        seconds=8,
    ),
    Row(
        number="C5",
        sentence="a chunked body that ends early is never completed",
        act=chunked_ends_early,
        fault="chunked body ends early",
        after=("old",),
        calls={"complete": 0, "put": 0},
        fast=True,
    ),
    Row(
        number="C5",
        sentence="a body shorter than announced is never completed",
        act=shorter_than_announced,
        fault="body shorter than its length",
        after=("old",),
        calls={"complete": 0, "put": 0},
        fast=True,
    ),
    *(
        Row(
            number="C6",
            sentence=f"too much announced {'with Expect ' if ask_first else ''}is 413 before any store call",
            act=announces_too_much(ask_first=ask_first),
            fault="Content-Length over the limit",
            statuses=(413,),
            after=("old",),
            silent=True,
            fast=True,
        )
        for ask_first in (False, True)
    ),
    Row(
        number="C7",
        sentence="a chunked body that grows past the limit is 413 and undone",
        act=grows_past_limit,
        fault="chunked body over the limit",
        statuses=(413,),
        after=("old",),
        fast=True,
    ),
    Row(
        number="C14",
        sentence="a client that never reads is given up and costs little memory",
        act=never_reads,
        fault="client reads nothing",
        seconds=SOON + 5,
    ),
    Row(
        number="C15",
        sentence="a client that leaves a download ends the reading from the store",
        act=leaves_a_download,
        rules=(Rule("get", kinds.trickle(65536, 0.05), ALWAYS),),
        fast=True,
    ),
    Row(
        number="C16",
        sentence="a client that leaves during the complete leaves a whole object",
        act=leaves_during_complete,
        rules=(Rule("complete", kinds.delay(1.5)),),
        fast=True,
    ),
)
