"""Settings: the only reader of the environment and of `.env`.

Names ending in `_MB`, and the two chunk sizes whose names are older than that rule, are in MiB (1,048,576 bytes);
names ending in `_SECONDS` are seconds. Wrong values stop the start with every error at once (`SettingsError`).
"""

from __future__ import annotations

import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, HttpUrl, IPvAnyNetwork, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from s3proxy.buckets import Redirect
from s3proxy.protocol.checksums import ChecksumAlgorithm

MIB = 1024 * 1024

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1)]


def _split(value: object) -> object:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_split)]

PRIVATE_NETWORKS = tuple(
    ip_network(network)
    for network in ("127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
"""Addresses that the internet cannot connect from."""


class SettingsError(Exception):
    """One or more settings are wrong. The text names each of them and holds no value."""


class Settings(BaseSettings):
    """Everything that can be set, with its unit and default. Frozen; secrets do not show in `repr`."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    aws_access_key_id: SecretStr | None = Field(
        None, description="Access key. Without it boto3's default credential chain is used (profile, role, …)."
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="Secret of the access key.")
    aws_session_token: SecretStr | None = Field(None, description="Token that goes with a temporary access key.")
    s3_region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,32}$", description="Region of the buckets.")
    s3_endpoint_url: HttpUrl | None = Field(
        None, description="Endpoint of an S3-compatible store. Without it, AWS S3 of the region."
    )
    s3_addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto", description="Bucket in the path or in the host name; `auto` lets boto3 choose."
    )
    s3_ca_bundle: Path | None = Field(None, description="PEM file of the authorities that signed the endpoint's TLS.")
    s3_checksum: ChecksumAlgorithm = Field(
        ChecksumAlgorithm.CRC64NVME,
        description="Full-object checksum sent with every upload; `none` for stores that know none of them.",
    )
    s3_sign_payload: bool = Field(
        False,
        description="Also sign a SHA-256 of every body, which the checksum guards already; costs CPU.",
    )
    s3_conditional_writes: bool = Field(
        True,
        description="The store honours `If-Match` and `If-None-Match` on writes; else they are only checked before.",
    )
    s3_max_parts: int = Field(10_000, ge=1, le=10_000, description="Parts the store takes in one multipart upload.")
    s3_equal_parts: bool = Field(
        False, description="The store wants all parts but the last of one size (Cloudflare R2)."
    )
    s3_connect_timeout_seconds: Seconds = Field(5, description="Longest wait for a connection to the store.")
    s3_read_timeout_seconds: Seconds = Field(
        30, description="Longest silence of the store while it answers. A Complete may take ten times as long."
    )
    s3_attempts: int = Field(3, ge=1, le=10, description="Tries of one store call, the first included.")
    s3_threads: int = Field(16, ge=2, le=256, description="Threads for parts and for reads, each; per process.")
    buckets_file: Path | None = Field(
        None, description="TOML file of further stores and of rules for buckets. Read at the start."
    )

    upload_multipart_limit_mb: int = Field(
        8, ge=1, le=5_120, description="Objects up to this size are stored in one request, larger ones in parts."
    )
    upload_multipart_chunk_size: int = Field(
        8, ge=5, le=5_120, description="Size of a part, in MB; grows where an object would need too many."
    )
    upload_window: int = Field(
        8, ge=1, le=64, description="Parts of one upload that are on their way at once, at most."
    )
    max_object_size_mb: int = Field(
        51_200_000, ge=1, le=51_200_000, description="Largest object taken. The default is S3's own limit, 48.8 TiB."
    )
    form_hold_limit_mb: int = Field(
        8, ge=1, description="How much of a form's file is held while its destination is still unknown."
    )
    form_max_fields: Count = Field(1_000, description="Fields and files in one form.")

    download_chunk_size: int = Field(
        2,
        ge=1,
        le=64,
        description="Bytes read from the store at a time, in MB; a download over one connection holds one.",
    )
    download_range_size_mb: int = Field(
        8, ge=1, le=1_024, description="Size of the ranges fetched side by side when one connection is not enough."
    )
    download_window: int = Field(8, ge=1, le=64, description="Ranges of one download fetched at once, at most.")
    download_resumes: int = Field(
        5, ge=0, le=1_000, description="How often in a row a download is taken up again where the store broke off."
    )
    inline_types: Literal["safe", "all", "none"] = Field(
        "safe",
        description="Types a browser may show instead of saving. `all` lets stored HTML run as this site's own.",
    )

    redirect_downloads: Redirect = Field(
        "never",
        description="When a GET is answered with a URL of the store's own: if `?redirect` asks, or for large ones too.",
    )
    redirect_size_mb: int = Field(64, ge=0, description="Size from which an object is large for REDIRECT_DOWNLOADS.")
    redirect_expires_seconds: Seconds = Field(300, description="How long such a URL can be used.")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=128, description="Server processes on that port.")
    public_url: HttpUrl | None = Field(
        None, description="How clients reach the service, for links; without it, what they say in `Host`."
    )
    trust_proxy_headers: bool = Field(
        False, description="Take the client's address from X-Real-Ip; only behind a proxy that overwrites it."
    )
    trusted_proxies: Networks = Field(
        default_factory=lambda: PRIVATE_NETWORKS,
        description="Where such a proxy connects from: addresses and networks, separated by commas.",
    )
    keepalive_timeout_seconds: Seconds = Field(
        75, description="Longest wait for the next request, and for its headers, on an open connection."
    )
    client_timeout_seconds: Seconds = Field(60, description="Longest silence of a client that sends or reads a body.")
    client_min_rate: int = Field(
        256,
        ge=0,
        le=1_073_741_824,
        description="Bytes per second, over each CLIENT_TIMEOUT_SECONDS, below which a client is given up; 0 never.",
    )
    linger_seconds: Seconds = Field(5, description="How long a refused body is still read so that the answer arrives.")
    max_transfers: Count = Field(
        4_000, description="Uploads and downloads of one process at once; one more is told 503 and to come again."
    )
    max_connections: Count = Field(
        5_000,
        description="Open connections of one process, fewer where the system allows fewer; one more is closed at once.",
    )
    max_header_size_kb: int = Field(16, ge=4, le=1_024, description="Request line and headers, in KiB.")
    shutdown_grace_seconds: Seconds = Field(25, description="How long transfers may go on after SIGTERM.")

    memory_budget_mb: int = Field(
        256, ge=16, description="Bytes of bodies held in memory by one process, all transfers together."
    )
    spool_dir: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()), description="Where slow uploads are spooled to disk."
    )
    spool_limit_mb: int = Field(10_240, ge=0, description="Bytes spooled by one process; 0 never spools.")

    state_dir: Path | None = Field(
        None, description="Where each process notes its open multipart uploads. Without it, SPOOL_DIR."
    )
    sweep_age_seconds: float = Field(
        900, ge=0, le=31_536_000, description="Age at which an upload that a dead process left open is aborted."
    )
    sweep_interval_seconds: Seconds = Field(900, description="Time between two looks for such uploads.")

    access_file: Path | None = Field(
        None, description="Who may do what (docs/access.md). Without it, everyone may do everything."
    )
    require_access_file: bool = Field(False, description="Do not start without an access file.")
    database_url: SecretStr | None = Field(
        None,
        description="Where links and daily quotas are counted: `sqlite:///PATH` or `postgresql://…`. "
        "Without it, a file in STATE_DIR.",
    )
    cors_origins: Words = Field(
        default_factory=tuple,
        description="Sites whose pages may call the service, as `https://host:port`, separated by commas; `*` is all.",
    )
    cors_max_age_seconds: int = Field(600, ge=0, le=86_400, description="How long browsers remember that they may.")

    metrics_host: str = Field("127.0.0.1", description="Address on which each process serves `/metrics`, for everyone.")
    metrics_port: int | None = Field(
        None, ge=0, le=65_535, description="Port of that, of one process; with WORKERS the first one's."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severity logged.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        faults = []
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            faults.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together")
        if self.s3_endpoint_url is not None and (self.s3_endpoint_url.username or self.s3_endpoint_url.password):
            faults.append("S3_ENDPOINT_URL must not hold a user or a password; logs would")
        if self.s3_ca_bundle is not None and not self.s3_ca_bundle.is_file():
            faults.append("S3_CA_BUNDLE is not a file")
        if self.buckets_file is not None and not self.buckets_file.is_file():
            faults.append("BUCKETS_FILE is not a file")
        if self.spool_limit_mb and not self.spool_dir.is_dir():
            faults.append("SPOOL_DIR is not a directory")
        if self.require_access_file and self.access_file is None:
            faults.append("REQUIRE_ACCESS_FILE is set and ACCESS_FILE is not")
        if self.access_file is not None and not self.access_file.is_file():
            faults.append("ACCESS_FILE is not a file")
        if self.state_dir is not None and not self.state_dir.is_dir():
            faults.append("STATE_DIR is not a directory")
        if self.memory_budget_mb < 2 * self.download_chunk_size:
            faults.append("MEMORY_BUDGET_MB must hold two chunks of DOWNLOAD_CHUNK_SIZE")
        if not self.spool_limit_mb and self.memory_budget_mb < 2 * self.upload_multipart_chunk_size:
            faults.append("MEMORY_BUDGET_MB must hold two parts of UPLOAD_MULTIPART_CHUNK_SIZE when nothing is spooled")
        if not self.spool_limit_mb and self.memory_budget_mb < self.upload_multipart_limit_mb:
            faults.append("MEMORY_BUDGET_MB must hold an object of UPLOAD_MULTIPART_LIMIT_MB when nothing is spooled")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def journal_dir(self) -> Path:
        """Where the journals of open uploads are."""
        return self.state_dir or self.spool_dir

    @property
    def ledger_url(self) -> str:
        """Where the ledger is."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.journal_dir / 's3proxy.sqlite'}"

    @property
    def store_name(self) -> str:
        """What tells this store from another whose journals may be in the same directory."""
        return str(self.s3_endpoint_url or f"aws {self.s3_region}")

    @property
    def wants_embedded_store(self) -> bool:
        """Whether nothing says which S3 is meant, so that `make run` may bring its own."""
        return self.s3_endpoint_url is None and self.aws_access_key_id is None


def load_settings() -> Settings:
    """Read the environment and `.env`. Raises `SettingsError` that lists every fault at once."""
    try:
        return Settings()
    except ValidationError as fault:
        lines = [
            f"  {'.'.join(str(step) for step in error['loc']).upper() or 'SETTINGS'}: {error['msg']}"
            for error in fault.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("The settings are not valid:\n" + "\n".join(lines)) from None
