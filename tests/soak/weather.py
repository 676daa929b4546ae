"""Which store calls fail in a soak, and how: about one in fifteen, by a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tests.faults import kinds
from tests.faults.calls import Operation, StoreCall
from tests.faults.proxy import Fault

ONE_IN = 15

READ_TIMEOUT = 3.0

ANYWHERE: Sequence[Fault] = (
    kinds.error(500, "InternalError"),
    kinds.error(503, "SlowDown"),
    kinds.reset(),
    kinds.delay(1.0),
    kinds.page(502),
)
"""What can happen to every call."""

ESPECIALLY: Mapping[Operation, Sequence[Fault]] = {
    "put": (kinds.lost_answer(), kinds.error(400, "RequestTimeout"), kinds.error(403, "AccessDenied")),
    "create": (kinds.lost_answer(), kinds.error(403, "AccessDenied")),
    "part": (kinds.lost_answer(), kinds.hang(), kinds.error(403, "AccessDenied"), kinds.error(400, "RequestTimeout")),
    "complete": (
        kinds.lost_answer(),
        kinds.false_success("InternalError"),
        kinds.false_success("InternalError", after=True),
        kinds.whitespace(1.0),
        kinds.delay(1.5 * READ_TIMEOUT),
    ),
    "abort": (kinds.lost_answer(),),
    "get": (
        *(kinds.cut(at, rst=rst) for at in (0, 1000, 100_000, 1_000_000) for rst in (False, True)),
        kinds.stall(300_000),
        kinds.error(403, "AccessDenied"),
    ),
    "delete": (kinds.lost_answer(),),
    "list": (kinds.page(),),
}
"""What happens to some calls besides."""


class Weather:
    """Chooses for the proxy; called in its thread only."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self, call: StoreCall) -> Fault | None:
        """A fault for this call, or None."""
        if self._chance.randrange(ONE_IN):
            return None
        return self._chance.choice((*ANYWHERE, *ESPECIALLY.get(call.operation, ())))
