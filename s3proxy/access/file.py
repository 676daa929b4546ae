"""The access file: who there is and what they may do, in TOML. What each entry means: docs/access.md."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
    model_validator,
)

from s3proxy.access import api_key, password
from s3proxy.access.api_key import KeyRecord
from s3proxy.access.identity import GroupRules
from s3proxy.access.key_set import check_url
from s3proxy.access.oidc import IssuerRules
from s3proxy.access.policy import NAME, Action, Pattern, Quota, Via
from s3proxy.access.proxy import ProxyRules
from s3proxy.access.snapshot import OWN_WAYS, LinkRules, Policy, Rights

__all__ = ["AccessFileError", "LinkRules", "Policy", "load"]

MIB = 1024 * 1024
KIB = 1024
DAY = 86_400.0

MAX_SIZE = 16 * MIB
"""Bytes of the longest access file that is read."""


class AccessFileError(Exception):
    """The access file is missing or wrong. The text names every fault with its place in the file, and no secret."""


def load(path: Path) -> Policy:
    """Read and check the access file. Blocks. Holds the file, up to `MAX_SIZE`, and what becomes of it.

    Raises `AccessFileError` with every fault of form, or when there is none, with every entry that names another which
    is not there or not alone.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_SIZE + 1)
        if len(octets) > MAX_SIZE:
            raise AccessFileError(f"{path}: over {MAX_SIZE // MIB} MiB")
        return _parse(octets)
    except OSError as fault:
        raise AccessFileError(f"{path}: {fault.strerror or type(fault).__name__}") from None
    except ValidationError as fault:
        raise AccessFileError("\n".join([f"{path} is not valid:", *_faults(fault)])) from None
    except tomllib.TOMLDecodeError as fault:
        raise AccessFileError(f"{path}: not TOML: {fault}") from None
    except (ValueError, RecursionError):
        raise AccessFileError(f"{path}: not TOML in UTF-8") from None


def _parse(octets: bytes) -> Policy:
    file = _File.model_validate(tomllib.loads(octets.decode("utf-8")))
    return file.policy(hashlib.sha256(octets).hexdigest())


def _faults(fault: ValidationError) -> Iterator[str]:
    for error in fault.errors(include_input=False, include_url=False):
        place = ".".join(str(step) for step in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        yield from (f"  {place}: {message}" if place else f"  {line}" for line in message.split("\n"))


def _check_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("names are 1 to 128 letters, digits and . _ @ + = - here")
    return text


def _check_pattern(text: str) -> str:
    Pattern.parse(text, "anyone")
    return text


def _check_secret(text: object) -> bytes:
    try:
        secret = base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) < 32:
        raise ValueError("not 32 bytes or more in base64, as `python -m s3proxy.access new-secret` prints")
    return secret


def _check_header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", text) or text.lower() in ("authorization", "x-api-key"):
        raise ValueError("not the name of a header that a proxy could have for this")
    return text


def _check_network(network: IPvAnyNetwork) -> IPvAnyNetwork:
    if network.prefixlen == 0:
        raise ValueError("that is everybody")
    return network


Name = Annotated[str, AfterValidator(_check_name)]
Amount = Annotated[int, Field(ge=1, le=2**40, strict=True)]
PasswordHash = Annotated[str, AfterValidator(password.parse_hash)]
Header = Annotated[str, AfterValidator(_check_header)]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # All of `key_set.TYPES`: none whose key is a shared secret, and never `none`.


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Grant(_Model):
    allow: list[Action] = Field(min_length=1)
    on: Annotated[str, AfterValidator(_check_pattern)]


class _Quota(_Model):
    object_mb: Amount | None = None
    daily_mb: Amount | None = None
    transfers: Amount | None = None
    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    bandwidth_kb: Amount | None = None

    def quota(self) -> Quota:
        return Quota(
            object_size=self.object_mb and self.object_mb * MIB,
            daily_bytes=self.daily_mb and self.daily_mb * MIB,
            transfers=self.transfers,
            requests_per_second=self.requests_per_second,
            bandwidth=self.bandwidth_kb and self.bandwidth_kb * KIB,
        )


class _Group(_Model):
    grants: list[_Grant] = []
    quota: _Quota | None = None

    def rights(self, groups: Sequence[str] = (), ways: frozenset[Via] = frozenset()) -> Rights:
        return Rights(
            grants=tuple((frozenset(grant.allow), grant.on) for grant in self.grants),
            quota=self.quota.quota() if self.quota else None,
            groups=tuple(groups),
            ways=ways,
        )


class _Key(_Model):
    hash: Annotated[bytes, BeforeValidator(lambda text: api_key.parse_hash(str(text)))]
    expires: Annotated[AwareDatetime, Field(strict=True)] | None = None
    label: str = ""

    def record(self, principal: str) -> KeyRecord:
        return KeyRecord(self.hash, principal, self.expires.timestamp() if self.expires else None, self.label)


def _table_of_key(value: object) -> object:
    return {"hash": value} if isinstance(value, str) else value


class _Principal(_Group):
    groups: list[Name] = []
    keys: list[Annotated[_Key, BeforeValidator(_table_of_key)]] = []
    password: PasswordHash | None = None
    also: list[Literal["oidc", "proxy"]] = []

    def own_rights(self) -> Rights:
        return self.rights(self.groups, OWN_WAYS | {Via(way) for way in self.also})


class _Voucher(_Model):
    groups: dict[str, Name] = {}
    default_groups: list[Name] = []

    def group_rules(self) -> GroupRules:
        return GroupRules(named=self.groups, default=tuple(self.default_groups))

    def named(self) -> Iterator[tuple[str, str]]:
        """Every group that is named, and where."""
        yield from ((f"groups.{theirs}", ours) for theirs, ours in self.groups.items())
        yield from (("default_groups", ours) for ours in self.default_groups)


class _Issuer(_Voucher):
    issuer: Annotated[str, AfterValidator(check_url)]
    audience: str = Field(min_length=1)
    algorithms: list[Algorithm] = Field(["RS256", "ES256"], min_length=1)
    name_claim: str = Field("sub", min_length=1)
    groups_claim: str | None = None
    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30.0

    def rules(self) -> IssuerRules:
        return IssuerRules(
            issuer=self.issuer,
            audience=self.audience,
            algorithms=tuple(self.algorithms),
            name_claim=self.name_claim,
            groups_claim=self.groups_claim,
            groups=self.group_rules(),
            leeway=self.leeway_seconds,
        )


class _Proxy(_Voucher):
    addresses: list[Annotated[IPvAnyNetwork, AfterValidator(_check_network)]] = Field(min_length=1)
    header: Header = "X-Remote-User"
    groups_header: Header | None = None

    def rules(self) -> ProxyRules:
        return ProxyRules(
            networks=tuple(self.addresses),
            header=self.header,
            groups_header=self.groups_header,
            groups=self.group_rules(),
        )


class _Links(_Model):
    secrets: list[Annotated[bytes, BeforeValidator(_check_secret)]] = Field(min_length=1)
    longest_days: Annotated[float, Field(gt=0, le=3_650)] = 30.0

    def rules(self) -> LinkRules:
        return LinkRules(secrets=tuple(self.secrets), longest=self.longest_days * DAY)


def _list_of_tables(value: object) -> object:
    return [value] if isinstance(value, dict) else value


class _File(_Model):
    groups: dict[Name, _Group] = {}
    principals: dict[Name, _Principal] = {}
    quota: _Quota = _Quota()
    oidc: Annotated[list[_Issuer], BeforeValidator(_list_of_tables)] = []
    proxy: _Proxy | None = None
    links: _Links | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        faults = [f"{place}: no group {name!r}" for place, name in self._named_groups() if name not in self.groups]
        hashes = Counter(key.hash for principal in self.principals.values() for key in principal.keys)
        if any(count > 1 for count in hashes.values()):
            faults.append("principals: the same key is there twice")
        if len({issuer.issuer for issuer in self.oidc}) < len(self.oidc):
            faults.append("oidc: the same issuer is there twice")
        if not (self.principals or self.oidc or self.proxy):
            faults.append("it lets nobody in: no principals, no oidc, no proxy")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _named_groups(self) -> Iterator[tuple[str, str]]:
        for name, principal in self.principals.items():
            yield from ((f"principals.{name}.groups", group) for group in principal.groups)
        for number, issuer in enumerate(self.oidc):
            yield from ((f"oidc.{number}.{place}", group) for place, group in issuer.named())
        if self.proxy:
            yield from ((f"proxy.{place}", group) for place, group in self.proxy.named())

    def policy(self, digest: str) -> Policy:
        records = [key.record(name) for name, principal in self.principals.items() for key in principal.keys]
        return Policy(
            digest=digest,
            keys={record.digest: record for record in records},
            passwords={name: member.password for name, member in self.principals.items() if member.password},
            issuers=tuple(issuer.rules() for issuer in self.oidc),
            proxy=self.proxy.rules() if self.proxy else None,
            links=self.links.rules() if self.links else None,
            principals={name: principal.own_rights() for name, principal in self.principals.items()},
            groups={name: group.rights() for name, group in self.groups.items()},
            quota=self.quota.quota(),
        )
