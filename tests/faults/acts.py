"""What rows do most: store an object, read one, and how it must end."""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.client import Answer
from tests.faults.stage import MIB, READ_TIMEOUT, Scene

SMALL = 100_000
"""Goes in one request, sent from the event loop."""

MIDDLING = 900_000
"""Goes in one request, sent from a thread."""

LARGE = 12 * MIB
"""Goes in three parts."""

CRASH = 8 * READ_TIMEOUT
"""Seconds in which three tries and their pauses are over."""


def put(size: int, *, chunked: bool = False, **headers: str) -> Callable[[Scene], Answer]:
    """PUT a new body."""
    return lambda scene: scene.put(size, chunked=chunked, **headers)


def post(size: int) -> Callable[[Scene], Answer]:
    """POST a new body as a form."""
    return lambda scene: scene.post(size)


def get(size: int) -> Callable[[Scene], Answer]:
    """GET an object of that size, which must come whole and right, or visibly cut off, or as an error."""

    def act(scene: Scene) -> Answer:
        data = scene.body(size)
        scene.truth.put(scene.key, data)
        answer = scene.request("GET", scene.path)
        if answer.status in (200, 206):
            assert data.startswith(answer.body), "the client read other bytes than the object's"
            assert answer.whole == (answer.body == data), "a short body was passed off as whole"
        return answer

    return act


def whole(act: Callable[[Scene], Answer]) -> Callable[[Scene], Answer]:
    """The download must arrive whole."""

    def check(scene: Scene) -> Answer:
        answer = act(scene)
        assert answer.whole, f"only {len(answer.body)} bytes arrived"
        return answer

    return check


def broken(act: Callable[[Scene], Answer]) -> Callable[[Scene], Answer]:
    """The download must end in a visible error."""

    def check(scene: Scene) -> Answer:
        answer = act(scene)
        assert not answer.whole, "nothing shows that the object is not whole"
        return answer

    return check
