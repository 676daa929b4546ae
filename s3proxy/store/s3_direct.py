"""Small objects without a thread: GET and PUT signed by botocore and sent from the event loop.

A boto3 call costs about a millisecond of CPU, most of it in making the request, and a thread to run in. For an object
of a few KiB that is most of the price. This module does the plain case and nothing else: whatever is not a plain
success (`None` here) is left to boto3, with its retries, redirects and error texts. So it may only send what may be
sent twice.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import getproxies

import aiohttp
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from yarl import URL

from s3proxy.errors import StoreRefused, StoreTimeout
from s3proxy.protocol.keys import ObjectPath

IDLE_SECONDS = 4.0
"""How long an idle connection is kept; S3 closes its end after about five seconds."""

LARGEST_ANSWER = 1024 * 1024
"""Bytes of an answer taken into memory; a store that sends more has ignored the range it was asked for."""

MAX_BUCKETS = 1_000
"""Buckets whose address is remembered."""


@dataclass(frozen=True, slots=True)
class DirectAnswer:
    """A plain success: lower-case header names, and the whole body."""

    headers: Mapping[str, str]
    body: bytes


class DirectCalls:
    """Signed requests from the event loop. Times in seconds.

    `address` gives the URL of a bucket without a key, ending in `/`; it may block and is called in a thread.
    """

    def __init__(
        self,
        credentials: Any,
        region: str,
        address: Callable[[str], str],
        *,
        verify: str | bool,
        connect_timeout: float,
        read_timeout: float,
        connections: int,
    ) -> None:
        self._credentials = credentials
        self._region = region
        self._address = address
        self._verify = verify
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout, sock_read=read_timeout)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        # boto3 knows how to go through a proxy (HTTPS_PROXY and its kin).
        self._able = credentials is not None and not getproxies().keys() & {"http", "https", "all"}
        self._addresses: dict[str, str] = {}

    async def get(self, path: ObjectPath, headers: Mapping[str, str]) -> DirectAnswer | None:
        """The object, or the range that `headers` ask for. Raises `StoreTimeout`."""
        return await self._send("GET", path, headers, None)

    async def put(self, path: ObjectPath, headers: Mapping[str, str], body: bytes) -> DirectAnswer | None:
        """Store the object. Only without conditions: a second try would meet its own first. Raises `StoreTimeout`."""
        return await self._send("PUT", path, headers, body)

    def presign(self, path: ObjectPath, seconds: float, response: Mapping[str, str]) -> str:
        """See `ObjectStore.presign`. May block, to refresh temporary credentials: for a thread."""
        if self._credentials is None:
            raise StoreRefused(reason="NoCredentials")
        credentials = self._credentials.get_frozen_credentials()
        url = (self._addresses.get(path.bucket) or self._address(path.bucket)) + quote(path.key, safe="/~")
        if response:
            overrides = {f"response-{name.lower()}": value for name, value in response.items()}
            url += "?" + urlencode(overrides, quote_via=quote)
        request = AWSRequest("GET", url)
        S3SigV4QueryAuth(credentials, "s3", self._region, expires=max(1, round(seconds))).add_auth(request)
        return str(request.url)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, method: str, path: ObjectPath, headers: Mapping[str, str], body: bytes | None
    ) -> DirectAnswer | None:
        if not self._able or self._is_stale():
            return None
        url = await self._bucket_address(path.bucket) + quote(path.key, safe="/~")
        request = AWSRequest(method, url, headers=dict(headers), data=body)
        S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        try:
            async with self._open_session().request(
                method, URL(url, encoded=True), headers=dict(request.headers), data=body, allow_redirects=False
            ) as answer:
                good = answer.status in (200, 206)
                if good and (answer.content_length is None or answer.content_length > LARGEST_ANSWER):
                    return None
                content = await answer.read()
        except TimeoutError:
            raise StoreTimeout(reason="ReadTimeout", ambiguous=True) from None
        except (aiohttp.ClientError, OSError):
            return None
        if not good:
            return None
        return DirectAnswer({name.lower(): value for name, value in answer.headers.items()}, content)

    def _is_stale(self) -> bool:
        """Whether temporary credentials want refreshing, which blocks and belongs into boto3's threads."""
        refresh_needed = getattr(self._credentials, "refresh_needed", None)
        return refresh_needed is not None and refresh_needed()

    async def _bucket_address(self, bucket: str) -> str:
        address = self._addresses.get(bucket)
        if address is None:
            address = await asyncio.to_thread(self._address, bucket)
            if len(self._addresses) >= MAX_BUCKETS:
                self._addresses.clear()
            self._addresses[bucket] = address
        return address

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            cafile = self._verify if isinstance(self._verify, str) else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections,
                    keepalive_timeout=IDLE_SECONDS,
                    ssl=ssl.create_default_context(cafile=cafile),
                ),
                timeout=self._timeout,
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "s3proxy"},
                skip_auto_headers=("Accept", "Content-Type"),
            )
        return self._session
