"""Who sent a request: the guard at the door. What they may then do: `policy.Principal`."""

from __future__ import annotations

from typing import Protocol

from s3proxy.access.credentials import Caller
from s3proxy.access.policy import ANYONE, Principal

__all__ = ["BASIC", "BEARER", "Caller", "Guard", "OpenGuard"]

BASIC = 'Basic realm="s3proxy", charset="UTF-8"'
BEARER = 'Bearer realm="s3proxy"'


class Guard(Protocol):
    """Tells who sent a request."""

    @property
    def challenge(self) -> str | None:
        """What `WWW-Authenticate` of a 401 says (RFC 9110 section 11.6.1); None when nobody is ever refused."""
        ...

    async def identify(self, caller: Caller) -> Principal:
        """Who it is.

        Raises `Unauthorized`, whose `__cause__` tells a log why; `QuotaExceeded` when the address has failed too often;
        `AccessUnavailable` when it cannot be decided.
        """
        ...

    async def close(self) -> None:
        """Give back what the guard holds."""
        ...


class OpenGuard:
    """Takes everybody for `ANYONE`."""

    @property
    def challenge(self) -> str | None:
        """None."""
        return None

    async def identify(self, caller: Caller) -> Principal:
        """`ANYONE`."""
        return ANYONE

    async def close(self) -> None:
        """Nothing to do."""
