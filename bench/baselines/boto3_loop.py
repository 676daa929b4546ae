"""A bare, single-threaded boto3 loop over small objects; prints its rate and latencies as JSON.

`python -m bench.baselines.boto3_loop --endpoint URL --operation get --seconds 5`
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import boto3
from botocore.config import Config

BODY = b"x" * 1024
KEYS = 1000


def measure(call: Callable[[int], object], seconds: float) -> dict[str, float]:
    """Repeat `call` for so long; requests per second, median and 99th percentile in seconds, CPU of the loop alone."""
    call(0)
    cpu = time.process_time()
    times: list[float] = []
    start = now = time.perf_counter()
    while now - start < seconds:
        call(len(times) % KEYS)
        previous, now = now, time.perf_counter()
        times.append(now - previous)
    percentiles = statistics.quantiles(times, n=100)
    return {
        "rate": len(times) / (now - start),
        "p50": percentiles[49],
        "p99": percentiles[98],
        "count": len(times),
        "loop_cpu": time.process_time() - cpu,
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="bench.baselines.boto3_loop", description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--operation", choices=["get", "put"], required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    config = Config(s3={"addressing_style": "path"})
    s3 = boto3.client("s3", endpoint_url=options.endpoint, region_name="us-east-1", config=config)
    if options.operation == "get":
        result = measure(lambda _: s3.get_object(Bucket="bench", Key="1k")["Body"].read(), options.seconds)
    else:
        result = measure(lambda n: s3.put_object(Bucket="bench", Key=f"loop-{n}", Body=BODY), options.seconds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
