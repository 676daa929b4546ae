"""Identities in a header of a trusted reverse proxy.

Believed because of who holds the connection, and of nothing in the request; from anybody else it is not even read.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from s3proxy.access.credentials import Caller, Refused
from s3proxy.access.identity import GroupRules, Identity, identity


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRules:
    """Which peers are trusted, and the names of their headers."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    header: str
    groups_header: str | None
    groups: GroupRules

    def trusts(self, peer: str) -> bool:
        """Whether the address of a peer is in the networks. What is no address is in none."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


def identify(caller: Caller, rules: ProxyRules) -> Identity | None:
    """Who the proxy says it is; None when the peer is not trusted or says nothing.

    Raises `Refused` for a header that came twice or holds no name.
    """
    if not rules.trusts(caller.peer):
        return None
    names = caller.header(rules.header)
    groups = caller.header(rules.groups_header) if rules.groups_header else ()
    if len(names) > 1 or len(groups) > 1:
        raise Refused("the proxy's header came twice")
    if not names:
        return None
    theirs = groups[0].split(",") if groups else []
    return identity(names[0].strip(" \t"), [group.strip() for group in theirs], rules.groups)
