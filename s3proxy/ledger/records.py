"""What the ledger keeps, as values: all that those who use it need to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecord:
    """A share link that was issued. `created` and `expires` in unix seconds; `uses_allowed` None is any number.

    `issuer`, `via` and `groups` are those of the principal that made it. The secret part of a link is nowhere here:
    who reads the ledger cannot make a link out of it.
    """

    id: str
    issuer: str
    via: str
    groups: tuple[str, ...]
    action: str
    bucket: str
    key: str
    is_prefix: bool
    created: int
    expires: int
    uses_allowed: int | None = None
    uses: int = 0
    revoked: bool = False
