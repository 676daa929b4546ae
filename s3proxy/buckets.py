"""The buckets file: what clients reach by which name, where it is, and what holds there.

TOML, read once at the start (`docs/buckets.md`). A bucket that the file does not name is the environment's store's own,
without rules, unless the file says `only`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from s3proxy.errors import BucketNotFound, Forbidden, InvalidKey, TypeNotAllowed
from s3proxy.protocol.keys import MAX_KEY_SIZE, check_key, is_bucket_name

Redirect = Literal["never", "asked", "large"]
"""When a download is answered with a URL of the store's own."""

HOME = ""
"""The name of the store that the environment means."""

MAX_METADATA_SIZE = 2048
"""Bytes of names and values together (AWS S3 user guide, "Working with object metadata")."""

MEDIA_TYPE = re.compile(r"\s*([\w.+-]+/[\w.+-]+)\s*(;[^,]*)?", re.ASCII)
"""A Content-Type as far as it matters. After a comma another would begin, and browsers take the last."""


class BucketsFileError(Exception):
    """The buckets file cannot be used. The text names every fault and holds no value."""


def _bucket_name(name: str) -> str:
    if not is_bucket_name(name):
        raise ValueError("is no name of a bucket")
    return name


def _prefix(prefix: str) -> str:
    # A whole segment: `team-a` would reach what is under `team-ab`, and `x/.` make a `..` of a key's first dot.
    if prefix and not prefix.endswith("/"):
        raise ValueError("must end in a slash")
    try:
        return prefix and check_key(prefix)
    except InvalidKey as fault:
        raise ValueError(f"cannot begin a key: {fault.message}") from None


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if url and not (parts.scheme in ("http", "https") and parts.hostname):
        raise ValueError("must be an http or https URL")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or a password; logs would")
    return url.rstrip("/")


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("is not a file")
    return path


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
BucketName = Annotated[str, AfterValidator(_bucket_name)]
Line = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]+$")]
MediaRange = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[\w.+-]+/(\*|[\w.+-]+)$")]
Extension = Annotated[str, StringConstraints(to_lower=True, pattern=r"^\.[^/]+$")]
MetadataName = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Table(BaseModel):
    """A table of the file, in which a name that means nothing is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class StoreEntry(_Table):
    """A store beside the environment's, as `[stores.NAME]` says. What is None is as in the environment.

    An empty `endpoint_url` is AWS S3 of the region.
    """

    endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] | None = None
    addressing_style: Literal["auto", "path", "virtual"] | None = None
    ca_bundle: Annotated[Path, AfterValidator(_file)] | None = None
    profile: Name | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    checksum: Literal["none"] | None = None
    sign_payload: bool | None = None
    conditional_writes: bool | None = None
    connect_timeout_seconds: Seconds | None = None
    read_timeout_seconds: Seconds | None = None
    attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    threads: Annotated[int, Field(ge=2, le=256)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key must be given together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token goes with an access_key_id")
        if self.profile is not None and self.access_key_id is not None:
            raise ValueError("credentials are of a profile or given here, not both")
        return self


class BucketRules(_Table):
    """What holds for one bucket, as `[buckets.NAME]` says. A default rule allows everything.

    `bucket` and `prefix` say where in `store` its objects are; clients see neither. `redirect` is None only in the
    file itself.
    """

    store: str = HOME
    bucket: BucketName | None = None
    prefix: Annotated[str, AfterValidator(_prefix)] = ""
    read_only: bool = False
    types: Annotated[tuple[MediaRange, ...], Field(min_length=1)] = ()
    extensions: Annotated[tuple[Extension, ...], Field(min_length=1)] = ()
    storage_class: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    kms_key_id: Line | None = None
    metadata: Mapping[MetadataName, Line] = Field(default_factory=dict)
    cache_control: Line | None = None
    redirect: Redirect | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.kms_key_id is not None and self.encryption not in ("aws:kms", "aws:kms:dsse"):
            raise ValueError("kms_key_id goes with the encryption aws:kms or aws:kms:dsse")
        if sum(len(name) + len(value) for name, value in self.metadata.items()) > MAX_METADATA_SIZE:
            raise ValueError(f"metadata is longer than {MAX_METADATA_SIZE} bytes")
        return self

    def check_key(self, key: str) -> None:
        """Raises `InvalidKey` for a key, valid by itself, that has no room after the prefix."""
        room = MAX_KEY_SIZE - len(self.prefix.encode())
        if len(key.encode()) > room:
            raise InvalidKey(f"The object key is longer than {room} bytes of UTF-8.")

    def check_write(self, key: str, content_type: str | None) -> None:
        """Raises `Forbidden`, `InvalidKey` or `TypeNotAllowed` when the bucket does not take such an object."""
        if self.read_only:
            raise Forbidden("This bucket is read-only.")
        self.check_key(key)
        if self.types and not any(_covers(taken, content_type or "") for taken in self.types):
            raise TypeNotAllowed(f"This bucket takes only {', '.join(self.types)}.")
        if self.extensions and not key.lower().endswith(self.extensions):
            raise TypeNotAllowed(f"This bucket takes only names that end in {', '.join(self.extensions)}.")

    def check_delete(self) -> None:
        """Raises `Forbidden` when nothing may be removed."""
        if self.read_only:
            raise Forbidden("This bucket is read-only.")


def _covers(taken: str, content_type: str) -> bool:
    """Whether a media range such as `image/*` holds a type."""
    found = MEDIA_TYPE.fullmatch(content_type)
    kind = found[1].lower() if found else ""
    return kind == taken or (taken.endswith("/*") and kind.startswith(taken[:-1]))


class BucketsFile(_Table):
    """The whole file. With `only`, no other buckets are reached than those it names."""

    only: bool = False
    stores: Mapping[Name, StoreEntry] = Field(default_factory=dict)
    buckets: Mapping[BucketName, BucketRules] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        lost = [name for name, rules in self.buckets.items() if rules.store not in {HOME, *self.stores}]
        if lost:
            raise ValueError("; ".join(f"buckets.{name}.store is none of the stores" for name in lost))
        return self


class Buckets:
    """The rules of every bucket, also of those no file names. `redirect` is what holds where the file says nothing."""

    def __init__(self, file: BucketsFile | None = None, *, redirect: Redirect = "never") -> None:
        self.file = file or BucketsFile()
        self.named: Mapping[str, BucketRules] = {
            name: rules.model_copy(update={"redirect": rules.redirect or redirect})
            for name, rules in self.file.buckets.items()
        }
        self._others = BucketRules(redirect=redirect)
        # What is reached under another name, with rules, has no way around them.
        self._hidden = {rules.bucket for rules in self.named.values() if rules.store == HOME} - self.named.keys()

    def rules(self, bucket: str) -> BucketRules:
        """What holds for the bucket clients call so. Raises `BucketNotFound` for one that is not to be reached."""
        rules = self.named.get(bucket)
        if rules is not None:
            return rules
        if self.file.only or bucket in self._hidden:
            raise BucketNotFound(reason="NoSuchBucket")
        return self._others

    @property
    def stores(self) -> set[str]:
        """The names of the stores that buckets lead to."""
        named = {rules.store for rules in self.named.values()}
        return named if self.file.only else named | {HOME}


def load(path: Path) -> BucketsFile:
    """Read the file. Raises `BucketsFileError` that lists every fault at once."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as fault:
        raise BucketsFileError(f"The buckets file cannot be read: {fault.strerror}.") from None
    except ValueError as fault:
        # Where, and not what: a line of the file may be a secret.
        where = re.search(r"\(at [^()]*\)$", str(fault))
        raise BucketsFileError(f"The buckets file is not TOML {where.group() if where else '(not UTF-8)'}.") from None
    try:
        return BucketsFile.model_validate(content)
    except ValidationError as fault:
        lines = [
            f"  {'.'.join(map(str, error['loc'])) or 'the file'}: {error['msg'].removeprefix('Value error, ')}"
            for error in fault.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise BucketsFileError("The buckets file is not valid:\n" + "\n".join(lines)) from None
