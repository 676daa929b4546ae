"""boto3's clients for S3, and how they are set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader, create_loader

from s3proxy.protocol.checksums import ChecksumAlgorithm
from s3proxy.store.s3_retries import retry_damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """How to reach S3. Times in seconds; secrets stay out of `repr`."""

    region: str
    endpoint_url: str | None = None
    addressing_style: str = "auto"
    ca_bundle: Path | None = None
    credentials: Mapping[str, str] | None = None
    checksum: ChecksumAlgorithm = ChecksumAlgorithm.CRC64NVME
    sign_payload: bool = False
    conditional_writes: bool = True
    connect_timeout: float = 5
    read_timeout: float = 30
    attempts: int = 3
    threads: int = 16

    def __repr__(self) -> str:
        return f"S3Options(region={self.region!r}, endpoint_url={self.endpoint_url!r})"


@cache
def _models(folders: str | None) -> Loader:
    """boto3's descriptions of services, read once for all stores: it takes a tenth of a second and 10 MiB."""
    return create_loader(folders)


def open_session(**arguments: Any) -> boto3.session.Session:
    """A session of boto3's; what it knows of services it shares with all others."""
    core = botocore.session.get_session()
    core.register_component("data_loader", _models(core.get_config_variable("data_path")))
    return boto3.session.Session(botocore_session=core, **arguments)


def open_client(session: boto3.session.Session, options: S3Options, read_timeout: float) -> Any:
    """A client as we want it: its own retries, connections for all threads, no checksums and questions of its own."""
    client = session.client(
        "s3",
        endpoint_url=options.endpoint_url,
        verify=str(options.ca_bundle) if options.ca_bundle else None,
        config=Config(
            connect_timeout=options.connect_timeout,
            read_timeout=read_timeout,
            max_pool_connections=3 * options.threads,
            retries={"mode": "standard", "total_max_attempts": options.attempts},
            # Checksums are ours, computed while the bytes arrive; boto3 need not read the body again.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            tcp_keepalive=True,
            user_agent_extra="s3proxy",
            s3={"addressing_style": options.addressing_style, "payload_signing_enabled": options.sign_payload},
        ),
    )
    # The body is at hand, and a whole part of it; asking first costs a round trip for each part.
    client.meta.events.register_last("before-call.s3", _send_without_asking)
    if options.attempts > 1:
        retry_damaged(client.meta.events)
    return client


def has_credentials() -> bool:
    """Whether boto3 finds credentials on this machine, asking no network."""
    session = boto3.session.Session()
    providers = session._session.get_component("credential_provider")
    for remote in ("iam-role", "container-role"):
        providers.remove(remote)
    return session.get_credentials() is not None


def has_profile(name: str) -> bool:
    """Whether this machine's AWS configuration has a profile of that name."""
    return name in boto3.session.Session().available_profiles


def _send_without_asking(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)
