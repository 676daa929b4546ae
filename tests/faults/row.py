"""A row of the tables: what is done, what goes wrong meanwhile, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.faults.calls import Operation
from tests.faults.client import Answer
from tests.faults.proxy import Rule

if TYPE_CHECKING:
    from tests.faults.stage import Scene

After = Literal["new", "old", "absent"]

WHOLE_OR_NOTHING: tuple[After, ...] = ("new", "old", "absent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case, by its number in the catalogue of faults and a sentence.

    `act` does what the row is about and returns the answer that the client of the key in question read, None where no
    answer is possible. `statuses` are the right ones for it (0: the connection ended without an answer), `after` what
    the key may hold then, `left` how many multipart uploads may stay open. `calls` are exact numbers of store calls,
    `settings` those of a server of its own for this row, `descriptors` how many that may have, `seconds` how long `act`
    may take. `fast` rows run always.
    """

    number: str
    sentence: str
    act: Callable[[Scene], Answer | None]
    fault: str = ""
    rules: tuple[Rule, ...] = ()
    statuses: tuple[int, ...] = (200,)
    after: tuple[After, ...] = ("new",)
    before: Literal["old", "absent"] = "old"
    left: int = 0
    retry_after: bool = False
    calls: Mapping[Operation, int] = field(default_factory=dict)
    silent: bool = False
    settings: Mapping[str, str] | None = None
    descriptors: int | None = None
    seconds: float = 30.0
    fast: bool = False

    @property
    def title(self) -> str:
        """The fault, for people."""
        return self.fault or "; ".join(map(str, self.rules)) or self.sentence

    @property
    def slug(self) -> str:
        """Number and sentence as a test id."""
        return f"{self.number}-{self.sentence.replace(' ', '-')}"


@dataclass(frozen=True, slots=True)
class Omitted:
    """A row of the catalogue that is not played, and why."""

    number: str
    what: str
    why: str
