"""Link tokens: `1.TERMS.MAC`, the terms as JSON and an HMAC-SHA256 over `1.TERMS`, both in URL-safe base64.

The terms can be read by who holds the token, and hold nothing that is not about the thing it is for. Only the exact
text that was made is accepted: the MAC is compared as text, so that no second spelling of it counts.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from s3proxy.access.policy import Action
from s3proxy.protocol.keys import ObjectPath

VERSION = "1"

MAX_SIZE = 8192
"""Characters of the longest token that is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a token is good for: reading or writing (`action`) the object, or writing any under the prefix `path`.

    `expires` in unix seconds; `object_size` in bytes of each object and `types` are what it takes, `uses` how many
    uploads it is good for. None, or no types, is no limit.
    """

    id: str
    action: Action
    path: ObjectPath
    is_prefix: bool
    expires: int
    object_size: int | None = None
    types: tuple[str, ...] = ()
    uses: int | None = None


def seal(terms: Terms, secret: bytes) -> str:
    """The token of these terms, signed with `secret`."""
    fields = [
        terms.id,
        str(terms.action),
        terms.path.bucket,
        terms.path.key,
        int(terms.is_prefix),
        terms.expires,
        terms.object_size,
        terms.types,
        terms.uses,
    ]
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    signed = f"{VERSION}.{_encode(text.encode())}"
    return f"{signed}.{_sign(signed, secret)}"


def unseal(token: str, secrets: Sequence[bytes]) -> Terms | None:
    """The terms of a token that one of `secrets` signed; None for any other text."""
    signed, _, mac = token.rpartition(".")
    if len(token) > MAX_SIZE or not token.isascii() or not signed.startswith(f"{VERSION}."):
        return None
    # Each secret is tried, so that time does not tell which one it was.
    matches = [hmac.compare_digest(mac, _sign(signed, secret)) for secret in secrets]
    return _parse(signed) if any(matches) else None


def _parse(signed: str) -> Terms | None:
    try:
        text = _decode(signed.removeprefix(f"{VERSION}."))
        link_id, action, bucket, key, is_prefix, expires, object_size, types, uses = json.loads(text)
        return Terms(
            id=link_id,
            action=Action(action),
            path=ObjectPath(bucket, key),
            is_prefix=bool(is_prefix),
            expires=expires,
            object_size=object_size,
            types=tuple(types),
            uses=uses,
        )
    except (binascii.Error, ValueError, TypeError):
        return None  # Ours, since it is signed, but not of this release.


def _sign(signed: str, secret: bytes) -> str:
    return _encode(hmac.digest(secret, signed.encode(), "sha256"))


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
