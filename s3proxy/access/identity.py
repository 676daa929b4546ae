"""Who another system says somebody is: a name, and groups translated into ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from s3proxy.access.credentials import Refused
from s3proxy.access.policy import NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRules:
    """What the groups of another system mean here: `named` maps its names to ours, `default` is everybody's."""

    named: Mapping[str, str] = field(default_factory=dict)
    default: tuple[str, ...] = ()

    def ours(self, theirs: Iterable[str]) -> tuple[str, ...]:
        """Our groups, each once, in order. A name without a meaning here gives nothing."""
        meant = [self.named[name] for name in theirs if name in self.named]
        return tuple(dict.fromkeys([*self.default, *meant]))


@dataclass(frozen=True, slots=True)
class Identity:
    """Someone another system vouches for: a name that fits `policy.NAME`, and groups of ours."""

    name: str
    groups: tuple[str, ...]


def identity(name: object, theirs: Iterable[str], rules: GroupRules) -> Identity:
    """The identity of that name in their groups. Raises `Refused` when it is no name here."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refused("a name that is missing or cannot be one here")
    return Identity(name, rules.ours(theirs))
