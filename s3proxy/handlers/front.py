"""Where connections come in: no more of them than the process has room for."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.iostream import IOStream

from s3proxy.handlers.stream import FAST_SIZE, Buffers, ClientStream

Network = IPv4Network | IPv6Network

logger = logging.getLogger(__name__)

LOG_SECONDS = 1.0
"""Least time between two lines about refused connections."""


class FrontServer(HTTPServer):
    """Tornado's server, with at most `max_connections` open. One more is closed at once and costs no task.

    What a proxy says of the client's address is believed of those that connect from `trusted` networks only.

    `connections` counts the open ones, `refused` those that were closed so.
    """

    def initialize(
        self, *args: Any, max_connections: int = sys.maxsize, trusted: Sequence[Network] = (), **kwargs: Any
    ) -> None:
        """Called by Tornado in place of `__init__`."""
        super().initialize(*args, **kwargs | {"chunk_size": FAST_SIZE})
        self.max_connections = max_connections
        self.trusted = tuple(trusted)
        self.connections = 0
        self.refused = 0
        self._buffers = Buffers()
        self._told = 0
        self._tell_at = 0.0

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Called by Tornado for each connection that was accepted."""
        if self.connections >= self.max_connections:
            stream.close()
            self.refused += 1
            self._tell()
            return
        self.connections += 1
        # Nothing was read yet, so that another stream may have the socket.
        super().handle_stream(ClientStream(stream.socket, self._buffers), address)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Called by Tornado for each request."""
        if self.xheaders and not self._trusts(getattr(request_conn, "context", None)):
            assert isinstance(self.request_callback, HTTPServerConnectionDelegate)
            return self.request_callback.start_request(server_conn, request_conn)
        return super().start_request(server_conn, request_conn)

    def _trusts(self, context: Any) -> bool:
        try:
            peer = ip_address(context.address[0])
        except (AttributeError, ValueError):
            return False
        mapped = getattr(peer, "ipv4_mapped", None)  # How an IPv6 socket names an IPv4 address.
        return any((mapped or peer) in network for network in self.trusted)

    def on_close(self, server_conn: object) -> None:
        """Called by Tornado once for each connection that it served."""
        self.connections -= 1
        super().on_close(server_conn)

    def _tell(self) -> None:
        now = time.monotonic()
        if now >= self._tell_at:
            fields = {"limit": self.max_connections, "refused": self.refused - self._told}
            logger.warning("too many connections", extra={"fields": fields})
            self._told, self._tell_at = self.refused, now + LOG_SECONDS
