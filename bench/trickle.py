"""Many clients that each trickle one upload: `python -m bench.trickle --url http://HOST:PORT/files/bench/ --store …`.

Every client sends a stretch of the pattern that is its own, so that swapped or mixed bytes are noticed. Afterwards the
store (in its --verify mode) is asked for size and CRC64NVME of every object. Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import time
from urllib.parse import SplitResult, urlsplit

from bench.nullstore.integrity import crc64nvme, encoded
from bench.pattern import PERIOD, pattern

STRIDE = 1_000_003  # between the stretches of two clients
GRACE = 120.0  # seconds an answer may come after the last byte
RAMP = 1.0  # seconds over which the clients start


class Trickler:
    """One client and the stretch it sends."""

    def __init__(self, number: int, size: int, source: memoryview) -> None:
        self.name = f"trickle-{number}"
        start = number * STRIDE % (PERIOD - size)
        self._data = source[start : start + size]

    async def send(self, target: SplitResult, *, seconds: float, steps: int) -> int:
        """PUT the stretch in equal steps over so many seconds; the status, 0 when the connection broke."""
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        try:
            path = target.path + self.name
            head = f"PUT {path} HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Length: {len(self._data)}\r\n\r\n"
            writer.write(head.encode())
            loop = asyncio.get_running_loop()
            begun, step = loop.time(), -(-len(self._data) // steps)
            for number in range(steps):
                writer.write(self._data[number * step : (number + 1) * step])
                await writer.drain()
                await asyncio.sleep(begun + (number + 1) * seconds / steps - loop.time())
            line = await asyncio.wait_for(reader.readline(), GRACE)
            return int(line.split()[1]) if line else 0
        except (OSError, TimeoutError):
            return 0
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def stored_right(self, store: http.client.HTTPConnection, bucket: str) -> bool:
        """Whether the store got exactly these bytes."""
        store.request("HEAD", f"/{bucket}/{self.name}")
        answer = store.getresponse()
        answer.read()
        checksum = answer.headers["x-amz-checksum-crc64nvme"]
        size = int(answer.headers["Content-Length"] or 0)
        return answer.status == 200 and size == len(self._data) and checksum == encoded(crc64nvme(self._data, 0))


async def send_all(clients: list[Trickler], target: SplitResult, *, seconds: float, steps: int) -> list[int]:
    """Run all clients at once; their statuses."""

    async def one(number: int, client: Trickler) -> int:
        await asyncio.sleep(RAMP * number / len(clients))
        try:
            return await client.send(target, seconds=seconds, steps=steps)
        except OSError:
            return 0

    return await asyncio.gather(*(one(number, client) for number, client in enumerate(clients)))


def main() -> None:
    """Read the arguments, trickle, check, print."""
    parser = argparse.ArgumentParser(prog="bench.trickle", description=__doc__)
    parser.add_argument("--url", required=True, help="where objects are PUT, ends with a slash")
    parser.add_argument("--store", required=True, help="HOST:PORT of the null store")
    parser.add_argument("--bucket", default="bench")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--size", type=int, default=6 * 1024**2)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    source = memoryview(pattern())
    clients = [Trickler(number, options.size, source) for number in range(options.clients)]
    begun = time.perf_counter()
    steps = max(1, round(options.seconds))
    statuses = asyncio.run(send_all(clients, urlsplit(options.url), seconds=options.seconds, steps=steps))
    wall = time.perf_counter() - begun
    host, _, port = options.store.rpartition(":")
    store = http.client.HTTPConnection(host, int(port), timeout=30)
    right = sum(client.stored_right(store, options.bucket) for client in clients)
    refused = sorted({status for status in statuses if not 200 <= status < 300})
    completed = sum(200 <= status < 300 for status in statuses)
    print(json.dumps({"wall": wall, "completed": completed, "right": right, "other_statuses": refused}))


if __name__ == "__main__":
    main()
