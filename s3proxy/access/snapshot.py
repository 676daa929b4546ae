"""The access file at one moment, as decisions need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from s3proxy.access.api_key import KeyRecord
from s3proxy.access.oidc import IssuerRules
from s3proxy.access.policy import NAME, Action, Grant, Pattern, Principal, Quota, Via
from s3proxy.access.proxy import ProxyRules


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRules:
    """How share links are signed: the first of `secrets` signs, all verify. `longest` is a life in seconds."""

    secrets: tuple[bytes, ...] = field(repr=False)
    longest: float


OWN_WAYS = frozenset({Via.KEY, Via.PASSWORD})
"""How principals of the file show who they are when nobody vouches for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the file gives a principal or a group.

    `grants` hold patterns as text, since `{principal}` means whoever is asked about. `ways` are those a principal's
    name may be shown in.
    """

    grants: tuple[tuple[frozenset[Action], str], ...] = ()
    quota: Quota | None = None
    groups: tuple[str, ...] = ()
    ways: frozenset[Via] = frozenset()


NOTHING = Rights()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """The access file at one moment. Immutable; a change of the file makes another.

    `digest` is the SHA-256 of the file in hexadecimal and tells one version from another.
    """

    digest: str
    keys: Mapping[bytes, KeyRecord] = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    issuers: tuple[IssuerRules, ...]
    proxy: ProxyRules | None
    links: LinkRules | None
    principals: Mapping[str, Rights]
    groups: Mapping[str, Rights]
    quota: Quota

    def resolve(self, name: str, via: Via, groups: Sequence[str] = ()) -> Principal | None:
        """Who it is that showed this name in this way, with `groups` of ours that came with it.

        Someone of the file, with all the file gives them; or a name that only a token or proxy vouches for, with what
        its groups have. None is nobody: no longer there, or a name of the file that may not be shown in this way.

        `groups` count only where somebody vouches for them; those that do not exist give nothing.
        """
        rights = self._rights(name, via)
        if rights is None:
            return None
        came_with = () if via in OWN_WAYS else tuple(groups)
        named = dict.fromkeys((*rights.groups, *came_with))
        sources = [rights, *(self.groups[group] for group in named if group in self.groups)]
        return Principal(
            name=name,
            via=via,
            grants=tuple(
                Grant(actions, Pattern.parse(on, name)) for source in sources for actions, on in source.grants
            ),
            groups=came_with,
            quota=next((source.quota for source in sources if source.quota is not None), self.quota),
        )

    def _rights(self, name: str, via: Via) -> Rights | None:
        vouched = bool((via is Via.OIDC and self.issuers) or (via is Via.PROXY and self.proxy))
        if via not in OWN_WAYS and not vouched:
            return None
        rights = self.principals.get(name)
        if rights is not None:
            return rights if via in rights.ways else None
        return NOTHING if vouched and NAME.fullmatch(name) else None
