"""The servers a run plays on: started when first asked for, kept until the end."""

import contextlib
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.contender import Contender, Start
from bench.process import BenchError, ServerProcess
from bench.store import Kind, NullStore
from bench.workplace import Workplace

WARM_UP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is moved and for how long: sizes as the null store names them, times in seconds."""

    bulk: str = "1g"
    rate_seconds: float = 8.0
    bulk_streams: int = 8
    uploads_at_once: int = 64
    tricklers: int = 1_000
    trickle_seconds: float = 60.0
    timeout: float = 900.0


class Stage:
    """Stores and contenders by kind. A context manager: leaving it stops all of them."""

    def __init__(self, workplace: Workplace, scale: Scale, settings: Mapping[str, str]) -> None:
        self.workplace = workplace
        self.scale = scale
        self._settings = settings
        self._stores: dict[Kind, NullStore] = {}
        self._servers: dict[tuple[str, Kind], ServerProcess | BenchError] = {}
        self._stack = contextlib.ExitStack()
        self._started = 0

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def store(self, kind: Kind) -> NullStore:
        """The null store of a kind."""
        if kind not in self._stores:
            self._stores[kind] = NullStore(self.workplace, kind)
            self._stack.callback(self._stores[kind].stop)
        return self._stores[kind]

    def server(self, contender: Contender, kind: Kind) -> ServerProcess:
        """The contender in front of a store, warmed up; a new one when it has died since it was last asked for.

        Raises BenchError, each time, when it does not start.
        """
        place = (contender.name, kind)
        known = self._servers.get(place)
        if isinstance(known, ServerProcess) and not known.is_alive:
            print(f"{known.name} died, another is started. {known.log_end()}", file=sys.stderr)
            del self._servers[place]
        if place not in self._servers:
            try:
                server = self._start(contender, kind)
                self._stack.callback(server.stop)
                self._servers[place] = server
            except BenchError as error:
                self._servers[place] = error
        found = self._servers[place]
        if isinstance(found, BenchError):
            raise found
        return found

    @contextlib.contextmanager
    def fresh_server(self, contender: Contender, kind: Kind) -> Iterator[ServerProcess]:
        """A contender of its own for one measurement: nothing that ran before shows in its memory."""
        server = self._start(contender, kind)
        try:
            yield server
        finally:
            server.stop()

    def unfinished(self) -> int:
        """Multipart uploads left behind in all stores."""
        return sum(store.unfinished() for store in self._stores.values())

    def _start(self, contender: Contender, kind: Kind) -> ServerProcess:
        self._started += 1
        label = f"{contender.name.replace(' ', '-')}-{kind}-{self._started}"
        backing = self.store(kind).backing
        server = contender.start(Start(workplace=self.workplace, backing=backing, label=label, settings=self._settings))
        try:
            for _ in range(WARM_UP):
                request = urllib.request.Request(contender.url(server, "1k"), headers=dict(contender.headers))
                with urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()
        except OSError as error:
            server.stop()
            raise BenchError(f"{label} gives no object: {error}\n{server.log_end()}") from error
        return server
