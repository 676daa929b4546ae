"""What every call has: a request id, one shape of error, one log line about its outcome."""

from __future__ import annotations

import json
import logging
import re
import time
from asyncio import Future
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from s3proxy.access.policy import Via
from s3proxy.errors import (
    BadRequest,
    Busy,
    MethodNotAllowed,
    NotFound,
    RequestError,
    S3ProxyError,
    ShuttingDown,
    Unauthorized,
)
from s3proxy.handlers.visit import Visit
from s3proxy.observe.log import request_id
from s3proxy.service import Service
from s3proxy.transfer.part import Withdrawn

logger = logging.getLogger("s3proxy.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
"""Ids taken over from a client or a proxy in front; others are replaced."""

METHODS: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "DELETE")


def dump(answer: object) -> bytes:
    """JSON as this service writes it: compact, UTF-8."""
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


class Handler(RequestHandler):
    """Base of all handlers. Errors are raised, as `S3ProxyError`, and answered in one place."""

    service: Service

    visit: Visit | None = None
    """Who this request is from and what it does; None before that is known, and where anyone may come."""

    def initialize(self, service: Service) -> None:
        """Called by Tornado for each request, after `set_default_headers`."""
        self.service = service
        self.started = time.monotonic()
        self.received = 0
        self.sent = 0
        self.outcome: str | None = None
        self.closed = False
        service.traffic.enter(self)

    def set_default_headers(self) -> None:
        """Headers of every answer, errors too."""
        given = self.request.headers.get("X-Request-Id", "")
        if not hasattr(self, "request_id"):
            self.request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
            request_id.set(self.request_id)
        self.set_header("Server", "s3proxy")
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        # The address of a page of ours may hold a link's secret.
        self.set_header("Referrer-Policy", "no-referrer")

    def query(self, name: str, default: str = "") -> str:
        """A query argument, percent-decoded once and else as it was sent; Tornado's own would change keys.

        Raises `BadRequest` for bytes that are no UTF-8 and for two different values.
        """
        values = set(self.request.query_arguments.get(name, [default.encode()]))
        if len(values) > 1:
            raise BadRequest(f"The query has two different values for {name}.")
        try:
            return values.pop().decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest(f"{name} in the query is not valid UTF-8.") from None

    def compute_etag(self) -> None:
        """No ETag of an answer's own text: ETags here are those of objects."""

    def answer(self, body: object, *, status: int = 200) -> None:
        """Finish with a JSON answer, or with none when `body` is None; not when an answer was given already."""
        if self._headers_written or self._finished:
            return
        self.set_status(status)
        if body is not None:
            self.set_header("Content-Type", "application/json")
            self.write(dump(body))
        self.finish()

    def explain(self, fault: S3ProxyError) -> tuple[int, str]:
        """The status and `detail` this call gives for `fault`."""
        return fault.status, fault.message

    def write_fault(self, fault: S3ProxyError) -> None:
        """Set status, headers and body of an error answer, without finishing."""
        status, detail = self.explain(fault)
        self.outcome = self.outcome or fault.code
        self.set_status(status)
        self.set_header("X-Error-Code", fault.code)
        self.set_header("Content-Type", "application/json")
        if fault.retry_after is not None or status == 503:
            self.set_header("Retry-After", str(fault.retry_after or Busy.retry_after))
        if status == 405:
            self.set_header("Allow", self.methods)
        if isinstance(fault, Unauthorized) and (challenge := self.service.guard.challenge):
            self.set_header("WWW-Authenticate", challenge)
        self.write(dump({"detail": detail}))

    def flush(self, include_footers: bool = False) -> Future[None]:
        """Called by Tornado for every stretch of an answer."""
        if not self._headers_written:
            self._complete_headers()
        return super().flush(include_footers)

    def _complete_headers(self) -> None:
        """What every answer says last, whatever else it says."""
        if self.service.traffic.draining:
            self.set_header("Connection", "close")
        for name, value in self.service.origins.headers(self.request.headers.get("Origin", "")).items():
            self.add_header(name, value)
        if self.visit is not None and self.visit.principal.via is not Via.OPEN:
            # What one may see is not for the next who asks the same cache (RFC 9111 section 5.2.2.7).
            self.add_header("Vary", "Authorization, X-Api-Key")
            if "Cache-Control" not in self._headers:
                self.set_header("Cache-Control", "private, no-cache")

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Called by Tornado for everything raised; with an answer under way, breaking off is all that is left."""
        if self._headers_written:
            self.break_off()
        else:
            super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Called by Tornado for everything raised."""
        fault = kwargs.get("exc_info", (None, None))[1]
        self.write_fault(fault if isinstance(fault, S3ProxyError) else _unforeseen(status_code))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Called by Tornado for everything raised; only our bugs deserve a stack trace."""
        if isinstance(value, S3ProxyError | HTTPError | StreamClosedError | Withdrawn):
            return
        self.outcome = "internal_error"
        logger.error("unexpected error", exc_info=(typ, value, tb))

    def stop(self) -> None:
        """See `service.Request`."""
        self.outcome = ShuttingDown.code
        self.close_transfer()
        if self._headers_written or self._finished:
            self.break_off()
        else:
            self.clear()
            self.write_fault(ShuttingDown())
            self.finish()

    def break_off(self) -> None:
        """Close the connection hard, so that nobody takes what was sent for the whole."""
        if not self.closed:
            self.detach().close()
            self._over()

    def close_transfer(self) -> None:
        """Let go of what the request holds beyond this handler. May be called twice."""

    def on_finish(self) -> None:
        """Called by Tornado after the answer was handed to the network."""
        self._over()

    def on_connection_close(self) -> None:
        """Called by Tornado when the client left; instead of `on_finish`, or as well."""
        super().on_connection_close()
        self.outcome = self.outcome or "client_closed"
        self._over()

    def _over(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.close_transfer()
        self.service.traffic.leave(self)
        status = 499 if self.outcome == "client_closed" else self.get_status()
        fields = {
            "method": self.request.method,
            "path": unquote(self.request.path, errors="replace"),
            "status": status,
            "outcome": self.outcome or "completed",
            "received": self.received,
            "sent": self.sent,
            "seconds": round(time.monotonic() - self.started, 6),
            "client": self.request.remote_ip,
        }
        if self.visit is not None:
            fields |= self.visit.close()
        logger.info("request", extra={"fields": fields, "request_id": self.request_id})

    @property
    def methods(self) -> str:
        """The methods this call has, as a header names them."""
        return ", ".join(method for method in METHODS if self.serves(method))

    def serves(self, method: str) -> bool:
        """Whether this call exists with `method`."""
        return getattr(type(self), method.lower(), None) not in (None, Handler._unserved)

    async def _unserved(self) -> None:
        """A method that this call does not have."""
        raise MethodNotAllowed

    get = head = post = put = delete = patch = options = _unserved


def _unforeseen(status: int) -> S3ProxyError:
    """What Tornado itself refuses, in our shape."""
    if status == 405:
        return MethodNotAllowed()
    if status == 404:
        return NotFound()
    return RequestError() if status < 500 else S3ProxyError()
