"""Start the null store: `python -m bench.nullstore --pattern FILE --port N [--certificate FILE --key FILE]`."""

import argparse
import logging
import mmap
import os
import socket
import ssl
import threading
from pathlib import Path

from bench.nullstore.calls import Store
from bench.nullstore.integrity import crc64nvme
from bench.nullstore.state import State
from bench.nullstore.wire import Connection, Disconnected

log = logging.getLogger("bench.nullstore")


def serve(listener: socket.socket, store: Store, context: ssl.SSLContext | None, *, verify: bool) -> None:
    """Accept for ever, one thread a connection."""
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=converse, args=(sock, store, context, verify), daemon=True).start()


def converse(sock: socket.socket, store: Store, context: ssl.SSLContext | None, verify: bool) -> None:
    """Answer the requests of one connection until its client closes it."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        with sock:
            connection = Connection(sock, crc64nvme if verify else None)
            while (head := connection.read_head()) is not None:
                store.answer(connection, head)
                if (head.get(b"connection") or "").lower() == "close":
                    return
    except (OSError, Disconnected) as error:
        log.debug("connection ended: %s", error)
    except Exception:
        log.exception("a request was not understood")


def main() -> None:
    """Read the arguments, listen, serve."""
    parser = argparse.ArgumentParser(prog="bench.nullstore", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pattern", type=Path, required=True, help="a file that bench.pattern wrote")
    parser.add_argument("--certificate", type=Path, help="serve https with this certificate")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--verify", action="store_true", help="compute CRC64NVME of all that comes, refuse a wrong one")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    context = None
    if options.certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    source = os.open(options.pattern, os.O_RDONLY)
    mapped = memoryview(mmap.mmap(source, 0, prot=mmap.PROT_READ))
    store = Store(State(), source, mapped, verify=options.verify)
    threading.stack_size(256 * 1024)
    with socket.create_server((options.host, options.port), backlog=4096) as listener:
        serve(listener, store, context, verify=options.verify)


if __name__ == "__main__":
    main()
