"""Other sites' pages as callers: which of them may read answers (CORS), and which requests they made a browser send.

The terms are those of the Fetch standard, section 3.3 (CORS protocol), and of RFC 6454 (origins).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EXPOSED = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Location, Retry-After, "
    "X-Error-Code, X-Request-Id"
)
"""Headers of answers that a page may read beside those that are always readable."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Sites whose pages may call us, as `https://host:port`; `*` is every site. `max_age` in seconds.

    Credentials that a browser adds by itself (cookies, a remembered password) are never asked for, so that `*` opens
    nothing that is not open to everyone.
    """

    allowed: frozenset[str] = frozenset()
    max_age: int = 600

    def allows(self, origin: str) -> bool:
        """Whether pages of that origin may read our answers."""
        return origin in self.allowed or ("*" in self.allowed and origin != "")

    def headers(self, origin: str) -> dict[str, str]:
        """What an answer says to a page of that origin; without a listed site, nothing."""
        if not self.allowed:
            return {}
        if not self.allows(origin):
            return {"Vary": "Origin"}
        return {
            "Access-Control-Allow-Origin": "*" if "*" in self.allowed else origin,
            "Access-Control-Expose-Headers": EXPOSED,
            "Vary": "Origin",
        }

    def preflight(self, request: Mapping[str, str], methods: str) -> dict[str, str] | None:
        """The headers that let a page send what it asks for in a preflight; None when this is none, or is refused."""
        wanted = request.get("Access-Control-Request-Method")
        if not wanted or not self.allows(request.get("Origin", "")) or wanted not in methods.split(", "):
            return None
        return {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": request.get("Access-Control-Request-Headers", "*"),
            "Access-Control-Max-Age": str(self.max_age),
        }

    def forged(self, request: Mapping[str, str]) -> bool:
        """Whether another site's page made a browser send this request, as far as browsers tell.

        Other programs tell nothing and forge nothing: they have no credentials but those they were given.
        """
        origin = request.get("Origin")
        if origin is not None and origin in self.allowed:
            return False
        site = request.get("Sec-Fetch-Site")
        if site is not None:
            return site not in ("same-origin", "none")
        return origin is not None and origin.partition("://")[2] != request.get("Host", "")
