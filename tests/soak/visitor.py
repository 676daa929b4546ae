"""A client with keys of its own, who knows what each of them may hold."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from urllib.parse import quote

from tests.faults import client
from tests.faults.client import Answer, Client, exchange, pieces_of
from tests.soak.pool import MIB, Pool, Stretch, pick
from tests.soak.tally import Tally

KEYS = 8

HELD = 48 * MIB
"""Bytes stored by one visitor, beyond which it deletes; the store keeps them in memory."""

TRANSIENT = (400, 502, 503, 504)
"""How a request may fail because the store does; 400 is what the original service says of a refusal to a form."""


class Visitor:
    """Does one thing after another, each by chance, and checks what can be checked.

    `may_hold` gives for each key the bodies it may hold, None standing for no object. Nobody else writes these keys,
    so there is one, but after an upload or deletion that failed both the old and the new state are right.
    """

    def __init__(self, name: str, bucket: str, port: int, pool: Pool, tally: Tally, seed: int) -> None:
        self.name = name
        self.may_hold: dict[str, set[Stretch | None]] = {self._key(n): {None} for n in range(KEYS)}
        self._bucket = bucket
        self._port = port
        self._pool = pool
        self._tally = tally
        self._chance = random.Random(seed)
        self._requests = 0
        self._deeds: Mapping[Callable[[str], None], int] = {
            self.put: 20,
            self.put_chunked: 15,
            self.post: 12,
            self.leave_upload: 8,
            self.get: 25,
            self.get_range: 10,
            self.leave_download: 4,
            self.delete: 6,
            self.list: 4,
        }

    def act(self) -> None:
        """Do one thing."""
        key = self._chance.choice(list(self.may_hold))
        if sum(max((body.size for body in bodies if body), default=0) for bodies in self.may_hold.values()) > HELD:
            key = max(self.may_hold, key=lambda key: max((body.size for body in self.may_hold[key] if body), default=0))
            self.delete(key)
            return
        self._chance.choices(list(self._deeds), list(self._deeds.values()))[0](key)

    def put(self, key: str) -> None:
        """Store with a known length."""
        body = pick(self._chance)
        self._stored("put", key, body, self._exchange("PUT", self._path(key), body))

    def put_chunked(self, key: str) -> None:
        """Store with an unknown length."""
        body = pick(self._chance)
        self._stored("put chunked", key, body, self._exchange("PUT", self._path(key), body, chunked=True))

    def post(self, key: str) -> None:
        """Store by a form."""
        body = pick(self._chance)
        fields = client.field("bucket_name", self._bucket) + client.field("object_name", key)
        data = client.form(fields, client.file(self._pool.bytes_of(body)))
        headers = self._headers() | {"Content-Type": client.FORM_TYPE}
        answer = exchange(self._port, "POST", "/files", headers, data)
        if body.size == 0:
            if answer.status != 400 or answer.code != "empty_file":
                self._tally.mismatch(f"an empty form was answered {answer.status} {answer.code}")
        else:
            self._stored("post", key, body, answer)

    def leave_upload(self, key: str) -> None:
        """Begin to store, and leave on the way: nothing may come of it."""
        body = pick(self._chance)
        sent = self._chance.randint(0, max(0, body.size - 1))
        with Client(self._port) as connection:
            connection.ask("PUT", self._path(key), self._headers() | {"Content-Length": str(body.size + 1)})
            for piece in pieces_of(self._pool.bytes_of(body)[:sent]):
                connection.send(piece)
            if self._chance.random() < 0.5:
                connection.reset()
        self._tally.count("put left")

    def get(self, key: str) -> None:
        """Read a whole object."""
        self._read("get", key, 0, self._exchange("GET", self._path(key)))

    def get_range(self, key: str) -> None:
        """Read from a byte on."""
        sizes = [body.size for body in self.may_hold[key] if body and body.size]
        first = self._chance.randrange(min(sizes)) if sizes else 0
        answer = self._exchange("GET", self._path(key), Range=f"bytes={first}-")
        self._read("get range", key, first, answer)

    def leave_download(self, key: str) -> None:
        """Begin to read, and leave."""
        with Client(self._port, receive_buffer=65536) as connection:
            connection.ask("GET", self._path(key), self._headers())
            connection.socket.recv(self._chance.randint(1, 200_000))
            connection.reset()
        self._tally.count("get left")

    def delete(self, key: str) -> None:
        """Remove an object."""
        answer = self._exchange("DELETE", self._path(key))
        held = self.may_hold[key]
        if answer.status == 204:
            self.may_hold[key] = {None}
        elif answer.status == 404:
            self._settle(key, {None}, "DELETE found nothing")
        elif self._excused("delete", answer):
            self.may_hold[key] = held | {None}
        self._tally.count("delete")

    def list(self, key: str) -> None:
        """List what this visitor has."""
        answer = self._exchange("GET", f"/files/{self._bucket}/?prefix={quote(self.name)}/")
        self._tally.count("list")
        if answer.status != 200:
            self._excused("list", answer)
            return
        rows = {row["key"]: row["size"] for row in json.loads(answer.body)["objects"]}
        for name, bodies in self.may_hold.items():
            sizes = {body.size if body else None for body in bodies}
            if rows.get(name) not in sizes:
                self._tally.mismatch(f"the listing has {name} with {rows.get(name)} bytes, not {sizes}")

    def _stored(self, deed: str, key: str, body: Stretch, answer: Answer) -> None:
        if answer.status == 200:
            self.may_hold[key] = {body}
        elif self._excused(deed, answer):
            self.may_hold[key] = self.may_hold[key] | {body}
        self._tally.count(deed)
        self._tally.count("MiB in", body.size // MIB)

    def _read(self, deed: str, key: str, first: int, answer: Answer) -> None:
        held = self.may_hold[key]
        self._tally.count(deed)
        if answer.status == 404:
            self._settle(key, {None}, "GET found nothing")
        elif answer.status == 416:
            self._settle(key, {body for body in held if body and body.size == 0}, "GET found it empty")
        elif answer.status in (200, 206):
            got = memoryview(answer.body)
            size = int(answer.headers["content-length"]) + (first if answer.status == 206 else 0)
            start = first if answer.status == 206 else 0
            fitting = {
                body
                for body in held
                if body and body.size == size and self._pool.bytes_of(body, start)[: len(got)] == got
            }
            self._settle(key, set(fitting), f"{deed} gave {len(got)} of {size} bytes")
            self._tally.count("MiB out", len(got) // MIB)
            if not answer.whole:
                self._tally.count("broken off")
        else:
            self._excused(deed, answer)

    def _settle(self, key: str, found: set[Stretch | None], what: str) -> None:
        """A request has shown which of the possible states it is."""
        if self.may_hold[key] & found:
            self.may_hold[key] &= found
        else:
            self._tally.mismatch(f"{what}: {key} should hold one of {self.may_hold[key]}")

    def _excused(self, deed: str, answer: Answer) -> bool:
        """Whether a failure is of the kind that a failing store causes; counts it."""
        self._tally.count(f"failed with {answer.status}")
        excused = answer.status in TRANSIENT and (answer.status != 400 or deed == "post")
        if not excused:
            self._tally.mismatch(f"{deed} was answered {answer.status} {answer.code} {answer.detail}")
        return excused

    def _exchange(
        self, method: str, target: str, body: Stretch | None = None, *, chunked: bool = False, **headers: str
    ) -> Answer:
        data = None if body is None else self._pool.bytes_of(body)
        return exchange(self._port, method, target, self._headers() | headers, data, chunked=chunked)

    def _headers(self) -> dict[str, str]:
        self._requests += 1
        return {"X-Request-Id": f"{self.name}-{self._requests:06}"}

    def _key(self, number: int) -> str:
        return f"{self.name}/{number}"

    def _path(self, key: str) -> str:
        return f"/files/{self._bucket}/{key}"
