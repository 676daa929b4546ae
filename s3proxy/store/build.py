"""The stores that the settings and the buckets file mean."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from s3proxy.buckets import HOME, Buckets, BucketsFileError, StoreEntry, load
from s3proxy.protocol.checksums import ChecksumAlgorithm
from s3proxy.store.contract import ObjectStore
from s3proxy.store.mounted import MountedStore
from s3proxy.store.s3 import S3Store
from s3proxy.store.s3_client import S3Options, has_profile

if TYPE_CHECKING:
    from pydantic import SecretStr

    from settings import Settings


def load_buckets(settings: Settings) -> Buckets:
    """What holds for which bucket. Raises `BucketsFileError`."""
    if settings.buckets_file is None:
        return Buckets(redirect=settings.redirect_downloads)
    file = load(settings.buckets_file)
    lost = [name for name, entry in file.stores.items() if entry.profile and not has_profile(entry.profile)]
    if lost:
        raise BucketsFileError("\n".join(f"stores.{name}.profile: there is no such AWS profile" for name in lost))
    return Buckets(file, redirect=settings.redirect_downloads)


def build_store(settings: Settings, buckets: Buckets | None = None) -> ObjectStore:
    """All of S3 that the settings mean, behind one contract. To be closed.

    `buckets` is what `load_buckets` gives, read anew without it; raises `BucketsFileError` then.
    """
    home = _options(settings)
    if settings.buckets_file is None:
        return S3Store(home)
    buckets = buckets or load_buckets(settings)
    entries = buckets.file.stores
    return MountedStore(
        {name: S3Store(home if name == HOME else _changed(home, entries[name])) for name in sorted(buckets.stores)},
        buckets,
    )


def _options(settings: Settings) -> S3Options:
    return S3Options(
        region=settings.s3_region,
        endpoint_url=str(settings.s3_endpoint_url).rstrip("/") if settings.s3_endpoint_url else None,
        addressing_style=settings.s3_addressing_style,
        ca_bundle=settings.s3_ca_bundle,
        credentials=_keys(settings.aws_access_key_id, settings.aws_secret_access_key, settings.aws_session_token),
        checksum=settings.s3_checksum,
        sign_payload=settings.s3_sign_payload,
        conditional_writes=settings.s3_conditional_writes,
        connect_timeout=settings.s3_connect_timeout_seconds,
        read_timeout=settings.s3_read_timeout_seconds,
        attempts=settings.s3_attempts,
        threads=settings.s3_threads,
    )


def _changed(home: S3Options, entry: StoreEntry) -> S3Options:
    """The environment's options with what the file says of another store."""
    changes: dict[str, Any] = {
        "region": entry.region,
        "addressing_style": entry.addressing_style,
        "checksum": ChecksumAlgorithm.NONE if entry.checksum else None,
        "sign_payload": entry.sign_payload,
        "conditional_writes": entry.conditional_writes,
        "connect_timeout": entry.connect_timeout_seconds,
        "read_timeout": entry.read_timeout_seconds,
        "attempts": entry.attempts,
        "threads": entry.threads,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if entry.endpoint_url is not None:
        # Who signed the certificate of one endpoint says nothing of another's.
        changes |= {"endpoint_url": entry.endpoint_url or None, "ca_bundle": None}
    if entry.ca_bundle is not None:
        changes["ca_bundle"] = entry.ca_bundle
    if entry.profile is not None:
        changes["credentials"] = {"profile_name": entry.profile}
    elif entry.access_key_id is not None:
        changes["credentials"] = _keys(entry.access_key_id, entry.secret_access_key, entry.session_token)
    return replace(home, **changes)


def _keys(key_id: SecretStr | None, secret: SecretStr | None, token: SecretStr | None) -> dict[str, str]:
    """Credentials as boto3's sessions name them."""
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret, "aws_session_token": token}
    return {name: secret.get_secret_value() for name, secret in keys.items() if secret}
