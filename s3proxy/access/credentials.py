"""What a request shows of who sent it, read from its headers. Nothing here knows whether it is true.

Headers: `Authorization` with Basic (RFC 7617) or Bearer (RFC 6750), `X-Api-Key`. One credential a request, in one
header, once; anything else is refused rather than guessed at.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from s3proxy.access import api_key

MAX_SIZE = 8192
"""Characters of the longest credential that is looked at."""

MAX_PASSWORD_SIZE = 1024
"""Bytes of UTF-8 of the longest password."""

_AUTHORIZATION = re.compile(r"([A-Za-z]+) +([A-Za-z0-9._~+/-]+=*)", re.ASCII)
"""RFC 9110 section 11.4 with a token68, the one form that both schemes use."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Refused(Exception):
    """A credential is not accepted. The text says why, in words of ours, for the log and nobody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What a request shows of who sent it."""

    header: Callable[[str], Sequence[str]]
    """All values of a header, in the order they came; names in any case."""

    peer: str
    """Address of who holds the connection."""

    address: str
    """Address of the client, as far as it can be trusted."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, and the name that came with it when it came as a password."""

    text: str = field(repr=False)
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password in Unicode's form C, as RFC 8265 section 4.2 has them compared."""

    name: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """What may be a JSON Web Token."""

    text: str = field(repr=False)


Credential = ApiKey | Password | Token


def read(caller: Caller, *, foreign: bool = False) -> Credential | None:
    """The credential of a request; None when it has none.

    `foreign` lets an `Authorization` of a scheme that is not ours pass as none: it was meant for someone before us.

    Raises `Refused` for more than one credential, and for one that is malformed, not ASCII or over `MAX_SIZE`.
    """
    authorization = caller.header("Authorization")
    keys = caller.header("X-Api-Key")
    if len(authorization) + len(keys) > 1:
        raise Refused("more than one credential")
    if keys:
        return _api_key(keys[0])
    if authorization:
        return _authorization(authorization[0], foreign)
    return None


def _authorization(value: str, foreign: bool) -> Credential | None:
    scheme = value.partition(" ")[0].lower()
    if foreign and scheme not in ("basic", "bearer"):
        return None
    found = _AUTHORIZATION.fullmatch(value) if len(value) <= MAX_SIZE else None
    if found is None or scheme not in ("basic", "bearer"):
        raise Refused("malformed Authorization")
    if scheme == "basic":
        return _basic(found[2])
    return _api_key(found[2]) if found[2].startswith(api_key.PREFIX) else Token(found[2])


def _api_key(text: str) -> ApiKey:
    if not api_key.is_one(text):
        raise Refused("malformed API key")
    return ApiKey(text)


def _basic(encoded: str) -> Credential:
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("malformed Basic credential") from None
    name, colon, password = text.partition(":")
    if not colon or _CONTROL.search(text) or len(password.encode()) > MAX_PASSWORD_SIZE:
        raise Refused("malformed Basic credential")
    if api_key.is_one(password):
        return ApiKey(password, name)
    return Password(name, canonical(password))


def canonical(password: str) -> str:
    """The one form of a password that is hashed and verified."""
    return unicodedata.normalize("NFC", password)
