"""What a monitoring system asks for, in Prometheus' text format, on a port of each process's own.

Numbers are read from where they are counted anyway, at the moment they are asked for: nothing is added to a request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number: its name without the prefix, what it means, where to read it. `_total` at the end makes a counter.

    `read` is called in another thread than the event loop's, so it only looks at a number.
    """

    name: str
    meaning: str
    read: Callable[[], float]


class Metrics(Collector):
    """Serves the metrics on `http://address:port/metrics` from a thread of its own, from `start` to `close`."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
        self._server: WSGIServer | None = None

    def start(self, address: str, port: int) -> int:
        """Listen; returns the port. Raises `OSError` when it is taken."""
        registry = CollectorRegistry()
        registry.register(self)
        self._server, self._thread = start_http_server(port, address, registry)
        taken: int = self._server.server_port
        logger.info("metrics are served", extra={"fields": {"address": address, "port": taken}})
        return taken

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def collect(self) -> Iterator[Family]:
        """Called by the library for each request."""
        for metric in self._metrics:
            name, value = f"s3proxy_{metric.name}", metric.read()
            if name.endswith("_total"):
                yield CounterMetricFamily(name, metric.meaning, value)
            else:
                yield GaugeMetricFamily(name, metric.meaning, value)
