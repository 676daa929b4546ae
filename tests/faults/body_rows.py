"""C8 to C12 and C17: forms, sizes, and two clients at one key."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping

from tests.faults import client
from tests.faults.acts import LARGE, SMALL, put
from tests.faults.client import NOTHING, Answer, Client, exchange
from tests.faults.row import Row
from tests.faults.stage import BUCKET, MIB, Scene

PART = 5 * MIB


def posts(body: Callable[[Scene], bytes], content_type: str = client.FORM_TYPE) -> Callable[[Scene], Answer]:
    """A form of exactly these bytes."""

    def act(scene: Scene) -> Answer:
        data = body(scene)
        scene.new = b""
        return scene.request("POST", "/files", data, Content_Type=content_type)

    return act


def fields(scene: Scene) -> bytes:
    """The two fields every form has."""
    return client.field("bucket_name", BUCKET) + client.field("object_name", scene.key)


FORMS: Mapping[str, tuple[Callable[[Scene], bytes], str]] = {
    "without its closing boundary": (lambda scene: fields(scene) + client.file(bytes(LARGE)), client.FORM_TYPE),
    "that is junk": (lambda scene: random.Random(1).randbytes(SMALL), client.FORM_TYPE),
    "without a boundary": (lambda scene: client.form(fields(scene)), "multipart/form-data"),
    "without a file": (lambda scene: client.form(fields(scene)), client.FORM_TYPE),
    "with an empty file": (lambda scene: client.form(fields(scene), client.file(b"")), client.FORM_TYPE),
    "with two files for one name": (
        lambda scene: client.form(fields(scene), client.file(bytes(LARGE)), client.file(bytes(SMALL))),
        client.FORM_TYPE,
    ),
}


def file_first(size: int) -> Callable[[Scene], Answer]:
    """A form whose file comes before its fields."""

    def act(scene: Scene) -> Answer:
        form = client.form(client.file(scene.body(size)), fields(scene))
        return scene.request("POST", "/files", form, Content_Type=client.FORM_TYPE)

    return act


def race(**headers: str) -> Callable[[Scene], Answer]:
    """Twenty rounds of two clients that store different bodies under one key at the same moment."""

    def act(scene: Scene) -> Answer:
        last = NOTHING
        for number in range(20):
            scene.truth.remove(scene.key)
            size = 6 * MIB if number % 4 == 0 else SMALL
            bodies = [random.Random(f"{number}{side}").randbytes(size) for side in "ab"]
            asked = [scene.headers(**headers) for _ in bodies]
            answers: dict[int, Answer] = {}

            def store(
                side: int,
                answers: dict[int, Answer] = answers,
                asked: list[dict[str, str]] = asked,
                bodies: list[bytes] = bodies,
            ) -> None:
                answers[side] = exchange(scene.port, "PUT", scene.path, asked[side], bodies[side])

            threads = [threading.Thread(target=store, args=(side,)) for side in (0, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stored = scene.truth.get(scene.key)
            assert stored in bodies, f"round {number}: neither of the two bodies is stored"
            statuses = sorted(answer.status for answer in answers.values())
            if headers:
                assert statuses in ([200, 412], [200, 409]), f"round {number}: {statuses}"
                assert answers[bodies.index(stored)].status == 200, f"round {number}: the loser was told of success"
            else:
                assert statuses == [200, 200], f"round {number}: {statuses}"
            scene.new, last = stored, answers[bodies.index(stored)]
        return last

    return act


def read_while_overwritten(scene: Scene) -> Answer:
    """A key is overwritten again and again while it is read: a reader sees one of the objects, or a broken answer."""
    bodies = [random.Random(side).randbytes(6 * MIB) for side in "ab"]
    asked = [scene.headers() for _ in range(20)]
    scene.truth.put(scene.key, bodies[0])
    done = threading.Event()
    written: list[Answer] = []

    def overwrite() -> None:
        for number, headers in enumerate(asked):
            written.append(exchange(scene.port, "PUT", scene.path, headers, bodies[number % 2]))
        done.set()

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        while not done.is_set():
            answer = scene.request("GET", scene.path)
            assert answer.status in (200, 502), f"GET {answer.status} {answer.detail}"
            if answer.status == 200:
                assert any(body.startswith(answer.body) for body in bodies), "two objects were mixed"
                assert answer.whole == (answer.body in bodies), "a short body was passed off as whole"
    finally:
        writer.join()
    assert {answer.status for answer in written} == {200}, "the writer"
    scene.new = bodies[1]
    return written[-1]


def sizes() -> list[Row]:
    """C11: around every border between one request, parts, and the last part."""
    return [
        Row(
            number="C11",
            sentence=f"{size} bytes {'in chunks ' if chunked else ''}come back equal",
            act=put(size, chunked=chunked),
            fast=chunked and size in (0, MIB + 1, PART + 1),
        )
        for size in (0, 1, MIB - 1, MIB, MIB + 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1)
        for chunked in (False, True)
    ]


def keeps_alive(scene: Scene) -> Answer:
    """A refused upload on a connection on which another request follows."""
    with Client(scene.port) as connection:
        connection.ask("PUT", "/files/faults/a/../b", scene.headers(Content_Length="3"))
        connection.send(b"abc")
        return connection.answer()


ROWS: tuple[Row, ...] = (
    *(
        Row(
            number="C8",
            sentence=f"a form {what} is 400 and stores nothing",
            act=posts(body, content_type),
            fault=f"form {what}",
            statuses=(400,),
            after=("old",),
            fast=what == "without its closing boundary",
        )
        for what, (body, content_type) in FORMS.items()
    ),
    Row(number="C9", sentence="a small file before its fields is stored", act=file_first(SMALL), fast=True),
    Row(
        number="C9",
        sentence="a large file before its fields is 400",
        act=file_first(6 * MIB),
        fault="file before its fields",
        statuses=(400,),
        after=("old",),
    ),
    Row(number="C10", sentence="an empty body is an empty object", act=put(0), calls={"put": 1, "create": 0}),
    *sizes(),
    Row(
        number="C12",
        sentence="parts grow so that a known length fits their number",
        act=put(14 * MIB),
        settings={"S3_MAX_PARTS": "2"},
        calls={"part": 2},
    ),
    Row(
        number="C12",
        sentence="an unknown length past the last part is 413 and undone",
        act=put(40 * MIB, chunked=True),
        fault="more parts than the store takes",
        settings={"S3_MAX_PARTS": "2"},
        statuses=(413,),
        after=("old",),
    ),
    Row(number="C17", sentence="two uploads to one key leave one of them whole", act=race(), fault="two PUTs at once"),
    Row(
        number="C17",
        sentence="a reader of a key that is overwritten sees one object or a broken answer",
        act=read_while_overwritten,
        fault="GET beside PUTs of one key",
        seconds=60,
    ),
    Row(
        number="C17",
        sentence="of two uploads that must be new one wins",
        act=race(If_None_Match="*"),
        fault="two PUTs at once",
    ),
    Row(
        number="C8",
        sentence="a key with dots is 400 before any store call",
        act=keeps_alive,
        fault="bad key",
        statuses=(400,),
        after=("old",),
        silent=True,
    ),
)
