"""Metrics over real HTTP, as Prometheus reads them."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from s3proxy.observe.metrics import Metric, Metrics


class Numbers:
    """Where numbers are counted."""

    swept = 3
    granted = 1.5


@pytest.fixture
def served() -> Iterator[int]:
    metrics = Metrics(
        [
            Metric("uploads_swept_total", "Uploads that were swept.", lambda: Numbers.swept),
            Metric("memory_granted_bytes", "Bytes granted.", lambda: Numbers.granted),
        ]
    )
    yield metrics.start("127.0.0.1", 0)
    metrics.close()


def scrape(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200
    return text


def test_counters_and_gauges_are_told_with_their_meaning(served: int) -> None:
    lines = scrape(served).splitlines()
    assert "# HELP s3proxy_uploads_swept_total Uploads that were swept." in lines
    assert "# TYPE s3proxy_uploads_swept_total counter" in lines
    assert "s3proxy_uploads_swept_total 3.0" in lines
    assert "# TYPE s3proxy_memory_granted_bytes gauge" in lines
    assert "s3proxy_memory_granted_bytes 1.5" in lines


def test_a_number_is_read_when_it_is_asked_for(served: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbers, "swept", 4)
    assert "s3proxy_uploads_swept_total 4.0" in scrape(served)


def test_a_port_that_is_taken_is_an_error(served: int) -> None:
    with pytest.raises(OSError, match="in use"):
        Metrics([]).start("127.0.0.1", served)
