"""The proxy must know S3's operations by sight: a rule for another one would break nothing."""

from __future__ import annotations

import pytest

from tests.faults.calls import Operation, operation_of
from tests.soak.sampler import slope


@pytest.mark.parametrize(
    ("request_line", "operation"),
    [
        ("PUT /bucket/a/b", "put"),
        ("PUT /bucket/k?partNumber=1&uploadId=x", "part"),
        ("POST /bucket/k?uploads", "create"),
        ("POST /bucket/k?uploads=", "create"),
        ("POST /bucket/k?uploadId=x", "complete"),
        ("DELETE /bucket/k?uploadId=x", "abort"),
        ("GET /bucket/k?max-parts=1&uploadId=x", "list_parts"),
        ("GET /bucket?uploads", "list_uploads"),
        ("GET /bucket/k", "get"),
        ("HEAD /bucket/k", "head"),
        ("DELETE /bucket/k", "delete"),
        ("GET /bucket?list-type=2&prefix=", "list"),
        ("GET /?max-buckets=1", "other"),
        ("HEAD /bucket", "other"),
    ],
)
def test_an_operation_is_known_by_method_path_and_query(request_line: str, operation: Operation) -> None:
    method, target = request_line.split(" ")
    assert operation_of(method, target) == operation


def test_slope_of_a_line_is_its_growth() -> None:
    assert slope([(x, 3.0 * x + 7) for x in range(10)]) == pytest.approx(3.0)


def test_slope_of_too_little_is_none() -> None:
    assert slope([]) == slope([(1.0, 2.0)]) == slope([(1.0, 2.0), (1.0, 9.0)]) == 0.0
