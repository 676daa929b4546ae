"""A relay that makes loopback slow: every connection gets a latency and a bandwidth, each way.

Bytes go through a kernel pipe by splice, so that the relay itself costs next to nothing. Run it with
`python -m bench.relay --port N --to HOST:PORT --latency 0.030 --rate 40e6`.
"""

import argparse
import contextlib
import errno
import fcntl
import os
import select
import socket
import threading
import time
from collections import deque

PIPE_SIZE = 1024 * 1024
STEP = 256 * 1024
SLACK = 0.005  # seconds of bandwidth a late wake-up may make up for


class Direction:
    """One way of one connection: what arrives at t leaves no earlier than t + delay, and no faster than the rate."""

    def __init__(self, source: socket.socket, target: socket.socket, *, delay: float, rate: float) -> None:
        self._source = source
        self._target = target
        self._delay = delay
        self._rate = rate
        self._due: deque[tuple[float, int]] = deque()
        self._free_at = 0.0  # when the bytes accepted so far will have passed the bandwidth

    def run(self) -> None:
        """Carry bytes until the source ends, then end the target's receiving side."""
        out_end, in_end = os.pipe()
        try:
            fcntl.fcntl(in_end, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            self._carry(out_end, in_end)
        except OSError:
            pass  # one side reset the connection: the other learns it from the shutdown below
        finally:
            os.close(out_end)
            os.close(in_end)
            for side, how in ((self._target, socket.SHUT_WR), (self._source, socket.SHUT_RD)):
                with contextlib.suppress(OSError):
                    side.shutdown(how)

    def _carry(self, out_end: int, in_end: int) -> None:
        readable = select.poll()
        readable.register(self._source, select.POLLIN)
        ended = False
        while not ended or self._due:
            now = time.monotonic()
            due = self._due[0][0] if self._due else None
            if due is not None and due <= now:
                self._deliver(out_end)
            elif ended or self._free_at > now:
                waits = [self._free_at] if due is None else [due] if ended else [due, self._free_at]
                time.sleep(max(0.0, min(waits) - now))
            elif readable.poll(None if due is None else (due - now) * 1000):
                taken = self._take(in_end)
                ended = taken == 0
                if taken is None and due is not None:
                    time.sleep(due - now)  # the pipe is full until the next delivery

    def _take(self, in_end: int) -> int | None:
        """Bytes moved into the pipe; 0 at the end of the source, None when the pipe is full."""
        try:
            count = os.splice(self._source.fileno(), in_end, STEP, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            raise
        if count:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - SLACK) + count / self._rate
            self._due.append((self._free_at + self._delay, count))
        return count

    def _deliver(self, out_end: int) -> None:
        _, count = self._due.popleft()
        while count:
            count -= os.splice(out_end, self._target.fileno(), count)


def relay(client: socket.socket, target: tuple[str, int], *, latency: float, rate: float) -> None:
    """Serve one client connection: half of the latency lies on each way, and one whole on the handshake."""
    with client:
        time.sleep(latency)
        with socket.create_connection(target) as store:
            for side in (client, store):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            up = Direction(client, store, delay=latency / 2, rate=rate)
            down = Direction(store, client, delay=latency / 2, rate=rate)
            other = threading.Thread(target=down.run, daemon=True)
            other.start()
            up.run()
            other.join()


def main() -> None:
    """Read the arguments, listen, relay."""
    parser = argparse.ArgumentParser(prog="bench.relay", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", required=True, help="HOST:PORT of the store")
    parser.add_argument("--latency", type=float, default=0.030, help="seconds, there and back together")
    parser.add_argument("--rate", type=float, default=40e6, help="bytes a second, each way of each connection")
    options = parser.parse_args()
    host, _, port = options.to.rpartition(":")
    with socket.create_server(("127.0.0.1", options.port), backlog=1024) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(
                target=_relay_or_drop, args=(client, (host, int(port)), options.latency, options.rate), daemon=True
            ).start()


def _relay_or_drop(client: socket.socket, target: tuple[str, int], latency: float, rate: float) -> None:
    with contextlib.suppress(OSError):
        relay(client, target, latency=latency, rate=rate)


if __name__ == "__main__":
    main()
