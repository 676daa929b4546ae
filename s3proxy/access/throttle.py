"""How often an address may fail to show who it is."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

from s3proxy.errors import QuotaExceeded

BURST = 10
"""Failures before an address has to wait."""

INTERVAL = 6.0
"""Seconds after which one failure is forgiven."""

DEBT = 50
"""Failures that count beyond the burst, so that tries sent side by side are paid for as if one after the other."""

ADDRESSES = 10_000
"""Addresses remembered; the one that failed longest ago is forgotten first. About 200 bytes each."""


class Throttle:
    """A token bucket of failures for each address; of IPv6 for each network of 64 bits, which is what one site gets.

    Kept as one number an address: when all its failures will be forgiven.
    """

    def __init__(
        self,
        *,
        burst: int = BURST,
        interval: float = INTERVAL,
        size: int = ADDRESSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._interval = interval
        self._size = size
        self._clock = clock
        self._forgiven: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._forgiven)

    def check(self, address: str) -> None:
        """Raises `QuotaExceeded`, with the time to wait, when the address has failed too often."""
        self._check(_site(address))

    def fail(self, address: str) -> None:
        """Count a failure. Raises `QuotaExceeded` when there had been too many before this one."""
        site, now = _site(address), self._clock()
        try:
            self._check(site)
        finally:
            due = max(self._forgiven.get(site, now), now) + self._interval
            self._forgiven[site] = min(due, now + (self._burst + DEBT) * self._interval)
            self._forgiven.move_to_end(site)
            if len(self._forgiven) > self._size:
                self._forgiven.popitem(last=False)

    def _check(self, site: str) -> None:
        forgiven = self._forgiven.get(site)
        if forgiven is None:
            return
        wait = forgiven - self._clock() - (self._burst - 1) * self._interval
        if wait > 0:
            raise QuotaExceeded("Too many failures to log in from this address. Try again later.", retry_after=wait)


def _site(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed), 64), strict=False))
    return address
