"""The store that the settings mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3proxy.store.s3 import S3Options, S3Store

if TYPE_CHECKING:
    from settings import Settings


def build_store(settings: Settings) -> S3Store:
    """S3 as the settings say. To be closed."""
    credentials = {
        "aws_access_key_id": settings.aws_access_key_id,
        "aws_secret_access_key": settings.aws_secret_access_key,
        "aws_session_token": settings.aws_session_token,
    }
    return S3Store(
        S3Options(
            region=settings.s3_region,
            endpoint_url=str(settings.s3_endpoint_url).rstrip("/") if settings.s3_endpoint_url else None,
            addressing_style=settings.s3_addressing_style,
            ca_bundle=settings.s3_ca_bundle,
            credentials={name: secret.get_secret_value() for name, secret in credentials.items() if secret},
            checksum=settings.s3_checksum,
            sign_payload=settings.s3_sign_payload,
            conditional_writes=settings.s3_conditional_writes,
            connect_timeout=settings.s3_connect_timeout_seconds,
            read_timeout=settings.s3_read_timeout_seconds,
            attempts=settings.s3_attempts,
            threads=settings.s3_threads,
        )
    )
