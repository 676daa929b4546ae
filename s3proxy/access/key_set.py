"""The public keys of an OpenID Connect issuer (OpenID Connect Discovery 1.0, RFC 7517), fetched and kept."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import jwt

from s3proxy.errors import AccessUnavailable

logger = logging.getLogger(__name__)

FRESH = 300.0
"""Seconds for which keys are used without asking again."""

STALE = 86_400.0
"""Seconds for which they go on being used while the issuer cannot be reached."""

INTERVAL = 10.0
"""Seconds between two fetches, however many tokens name keys that are not there."""

TIMEOUT = 5.0
"""Seconds the issuer may be silent, and twice that for a whole answer."""

MAX_SIZE = 256 * 1024
"""Bytes of the longest answer that is read."""

MAX_KEYS = 100
"""Keys of one issuer that are looked at."""

TYPES = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
"""What a key can verify, by its type or curve. Shared secrets are not among them, nor is `none`."""

Fetch = Callable[[str], Any]
"""Gets a URL and gives the JSON there. Blocks; may raise anything."""

KeyChoice = tuple[str, str]
"""Key id (empty: none) and algorithm."""


def check_url(url: str) -> str:
    """The URL itself, when it may be trusted to come from its host: https, or http to this very machine.

    Raises `ValueError`.
    """
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    if not safe or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("not an https URL (http is taken for loopback only)")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        """Follow nowhere: what an issuer says is believed because of where it says it."""


def fetch(url: str) -> Any:
    """The JSON at an URL that `check_url` allows. Blocks for at most about three times `TIMEOUT`. Holds `MAX_SIZE`."""
    opener = urllib.request.build_opener(_NoRedirect)
    deadline = time.monotonic() + 2 * TIMEOUT
    text = bytearray()
    with opener.open(check_url(url), timeout=TIMEOUT) as response:
        while block := response.read1(65_536):
            text += block
            if len(text) > MAX_SIZE or time.monotonic() > deadline:
                raise ValueError("the answer is too long or too slow")
    return json.loads(text)


class KeySet:
    """The keys of one issuer, asked for again when they are old or when one is missing.

    While the issuer cannot be reached the last keys are used for up to `STALE` seconds; without any nobody gets in.
    `fetches` counts. Made for one event loop.
    """

    def __init__(
        self, issuer: str, pool: Executor, *, fetch: Fetch = fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.issuer = issuer
        self.fetches = 0
        self._pool = pool
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[KeyChoice, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._missed = float("-inf")
        self._reachable = True
        self._running: asyncio.Task[None] | None = None

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of that id that can verify that algorithm; with an empty id, the only one that can.

        None: the issuer has no such key. Raises `AccessUnavailable` when it could not be asked.
        """
        key = self._keys.get((kid, algorithm))
        fresh = self._clock() - self._fetched < FRESH
        if key is None or not fresh:
            await self._refresh(missing=fresh)
            key = self._keys.get((kid, algorithm))
        if self._clock() - self._fetched >= STALE or (key is None and not self._reachable):
            raise AccessUnavailable
        return key

    async def _refresh(self, *, missing: bool) -> None:
        if self._running is None:
            now = self._clock()
            # Any token can name a key that is not there, so looking for one is rationed by itself.
            if now - (self._missed if missing else self._tried) < INTERVAL:
                return
            self._tried = now
            self._missed = now if missing else self._missed
            self._running = asyncio.create_task(self._ask())
            self._running.add_done_callback(self._asked)
        # A client that goes away must not stop what others wait for.
        await asyncio.shield(self._running)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._running = None

    async def _ask(self) -> None:
        self.fetches += 1
        try:
            keys = await asyncio.get_running_loop().run_in_executor(self._pool, self._read)
        except Exception as fault:
            # Whatever another's server makes urllib, json or cryptography raise, it is the issuer that failed.
            self._reachable = False
            fields = {"issuer": self.issuer, "fault": type(fault).__name__}
            logger.warning("keys of the token issuer could not be fetched", extra={"fields": fields})
        else:
            self._reachable = True
            self._keys, self._fetched = keys, self._clock()

    def _read(self) -> Mapping[KeyChoice, jwt.PyJWK]:
        about = self._fetch(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if about["issuer"] != self.issuer:
            raise ValueError("the issuer calls itself by another name")
        keys = parse(self._fetch(about["jwks_uri"]))
        if not keys:
            raise ValueError("no usable keys")
        return keys


def parse(document: Any) -> Mapping[KeyChoice, jwt.PyJWK]:
    """The keys of a JWK set (RFC 7517 section 5), by what they may verify. Those that are of no use are left out.

    A key that names its algorithm verifies no other. Raises what a document that is no JWK set makes Python raise.
    """
    keys: dict[KeyChoice, jwt.PyJWK] = {}
    nameless: dict[str, list[jwt.PyJWK]] = {}
    for entry in document["keys"][:MAX_KEYS]:
        # A private key that was published (`d`) is everybody's.
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
            continue
        for algorithm in _algorithms(entry):
            try:
                key = jwt.PyJWK(entry, algorithm)
            except (jwt.PyJWTError, ValueError, TypeError):
                break
            nameless.setdefault(algorithm, []).append(key)
            if isinstance(kid := entry.get("kid"), str) and kid:
                keys.setdefault((kid, algorithm), key)
    return keys | {("", algorithm): found[0] for algorithm, found in nameless.items() if len(found) == 1}


def _algorithms(entry: Mapping[str, Any]) -> tuple[str, ...]:
    kind = entry.get("kty")
    possible = TYPES.get(str(kind if kind == "RSA" else entry.get("crv")), ())
    named = entry.get("alg")
    return possible if named is None else tuple(algorithm for algorithm in possible if algorithm == named)
