"""What principals may do: grants of actions on patterns of objects. Deny is the default.

Decisions are made on the exact bucket and key that the store will see, decoded once and checked
(`protocol.keys`), never on the text of a URL. Nothing here waits, and nothing but these objects is remembered.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from enum import StrEnum

from s3proxy.protocol.keys import ObjectPath

PRINCIPAL = "{principal}"
"""Stands in a pattern for the name of the principal it is asked about."""

NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._@+=-]{1,128}")
"""Names of principals and groups: each is one plain segment of a key, so that `{principal}` can mean nothing else."""


class Action(StrEnum):
    """What a grant can allow. `share` is to make links for others to what one may oneself read or write."""

    READ = "read"
    WRITE = "write"
    LIST = "list"
    DELETE = "delete"
    SHARE = "share"


class Via(StrEnum):
    """How a principal showed who it is."""

    OPEN = "open"
    KEY = "key"
    PASSWORD = "password"
    OIDC = "oidc"
    PROXY = "proxy"
    LINK = "link"

    @property
    def ambient(self) -> bool:
        """Whether a browser adds it by itself, also to requests that another site makes it send."""
        return self in (Via.PASSWORD, Via.PROXY)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Objects, as `BUCKET/KEY` with wildcards: `*` and `?` stay within a segment, `**` crosses `/`."""

    bucket: re.Pattern[str]
    key: re.Pattern[str]
    open_ended: bool

    @classmethod
    def parse(cls, text: str, principal: str = "") -> Pattern:
        """The pattern `text` means for `principal`. Raises `ValueError`, in words for whoever wrote it."""
        return _parse(text, principal)

    @classmethod
    def exactly(cls, path: ObjectPath) -> Pattern:
        """This object and no other."""
        return cls(re.compile(re.escape(path.bucket)), re.compile(re.escape(path.key)), False)

    @classmethod
    def under(cls, path: ObjectPath) -> Pattern:
        """All objects whose keys begin with this one's."""
        return cls(re.compile(re.escape(path.bucket)), re.compile(re.escape(path.key) + ".*", re.DOTALL), True)

    def covers(self, path: ObjectPath) -> bool:
        """Whether the object is one of these."""
        return bool(self.bucket.fullmatch(path.bucket) and self.key.fullmatch(path.key))

    def covers_all(self, prefix: ObjectPath) -> bool:
        """Whether every object whose key begins with that of `prefix` is one of these."""
        return self.open_ended and self.covers(prefix)


@functools.lru_cache(maxsize=8192)
def _parse(text: str, principal: str) -> Pattern:
    bucket, slash, key = text.partition("/")
    if not (bucket and slash and key):
        raise ValueError(f"{text!r} is not BUCKET/KEY, such as photos/** or */public/*")
    if "**" in bucket:
        raise ValueError(f"{text!r}: a bucket's name has no '/' for ** to cross")
    return Pattern(_expression(bucket, principal), _expression(key, principal), key.endswith("**"))


def _expression(text: str, principal: str) -> re.Pattern[str]:
    if re.search(r"[{}]", text.replace(PRINCIPAL, "")):
        raise ValueError(f"{text!r} holds a brace that is not {PRINCIPAL}")
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]", PRINCIPAL: re.escape(principal)}
    pieces = re.split(r"(\*{2,}|\*|\?|\{principal\})", text)
    if any(piece.startswith("***") for piece in pieces):
        raise ValueError(f"{text!r}: three stars mean nothing")
    return re.compile("".join(wild.get(piece) or re.escape(piece) for piece in pieces), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions allowed on the objects of a pattern."""

    actions: frozenset[Action]
    pattern: Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Bounds on one principal; None is none. Sizes in bytes, `bandwidth` in bytes per second, both directions together.

    `daily_bytes` counts what is sent and received from midnight to midnight UTC.
    """

    object_size: int | None = None
    daily_bytes: int | None = None
    transfers: int | None = None
    requests_per_second: float | None = None
    bandwidth: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Someone who may do something: `name` as the logs say it, how they showed it, what they may, how much of it.

    `groups` are those they came with. `link` is the id of the link they came by.
    """

    name: str
    via: Via
    grants: tuple[Grant, ...]
    groups: tuple[str, ...] = ()
    quota: Quota = field(default_factory=Quota)
    link: str | None = None

    def may(self, action: Action, path: ObjectPath) -> bool:
        """Whether they may do this to the object."""
        return any(action in grant.actions and grant.pattern.covers(path) for grant in self.grants)

    def may_all(self, action: Action, prefix: ObjectPath) -> bool:
        """Whether they may do this to every object whose key begins with that of `prefix`, there now or not."""
        return any(action in grant.actions and grant.pattern.covers_all(prefix) for grant in self.grants)


EVERYTHING = (Grant(frozenset(Action), Pattern.parse("*/**")),)

ANYONE = Principal(name="anyone", via=Via.OPEN, grants=EVERYTHING)
"""Who everybody is while no access file is configured."""
