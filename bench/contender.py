"""The servers that can stand between a client and the store, each with its way to be started and spoken to."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.baselines.nginx import Upstream, write_config
from bench.process import ServerProcess, free_port
from bench.workplace import ACCESS, ROOT, Workplace, search_path

BUCKET = "bench"
MEMORY_BUDGET_MB = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """The store a contender is put in front of."""

    address: str
    authority: Path | None = None  # for an https store

    @property
    def url(self) -> str:
        """The store's endpoint."""
        return f"http://{self.address}" if self.authority is None else f"https://{self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What starting takes: the workplace, the store, a name for files, and settings from the command line."""

    workplace: Workplace
    backing: Backing
    label: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Contender:
    """One kind of server: how it starts, where it keeps object KEY of the bench bucket, what clients must send."""

    name: str
    start: Callable[[Start], ServerProcess]
    object_path: str  # with {key}
    headers: Mapping[str, str] = field(default_factory=dict)

    def url(self, server: ServerProcess, key: str) -> str:
        """Where `server` has the object."""
        return f"http://{server.address}{self.object_path.format(bucket=BUCKET, key=key)}"

    def form_url(self, server: ServerProcess) -> str:
        """Where `server` takes the upload form."""
        return f"http://{server.address}/files"


def _s3_settings(start: Start) -> dict[str, str]:
    found = {
        **ACCESS,
        "S3_ENDPOINT_URL": start.backing.url,
        "S3_REGION": "us-east-1",
        "S3_ADDRESSING_STYLE": "path",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if start.backing.authority is not None:
        found["S3_CA_BUNDLE"] = str(start.backing.authority)
    return found


def _start_s3proxy(start: Start) -> ServerProcess:
    port = free_port()
    spool = start.workplace.folder / f"{start.label}-spool"
    spool.mkdir()
    env = {
        **_s3_settings(start),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WORKERS": "1",
        "MEMORY_BUDGET_MB": str(MEMORY_BUDGET_MB),
        "SPOOL_DIR": str(spool),
        "DATABASE_URL": f"sqlite:///{spool}/ledger.db",
        **start.settings,
    }
    command = [str(start.workplace.service_python), "server.py"]
    return ServerProcess(start.label, command, port=port, log=_log(start), env=env, cwd=ROOT)


API_KEY = "s3p_" + "bench" * 8 + "key"

ACCESS_FILE = f"""
[principals.someone-else]
grants = [{{ allow = ["read"], on = "*/**" }}]

[groups.readers]
grants = [{{ allow = ["read", "list"], on = "public/**" }}, {{ allow = ["read"], on = "{BUCKET}/**" }}]

[principals.bench]
keys = ["sha256:{hashlib.sha256(API_KEY.encode()).hexdigest()}"]
groups = ["readers"]
grants = [{{ allow = ["read", "write"], on = "home/{{principal}}/**" }}]
"""


def _start_guarded(start: Start) -> ServerProcess:
    path = start.workplace.folder / f"{start.label}.toml"
    path.write_text(ACCESS_FILE)
    return _start_s3proxy(replace(start, settings={**start.settings, "ACCESS_FILE": str(path)}))


def _start_original(start: Start) -> ServerProcess:
    port = free_port()
    command = [str(start.workplace.python), "-m", "uvicorn", "--port", str(port), "--no-access-log"]
    command.append("bench.baselines.original:app")
    return ServerProcess(start.label, command, port=port, log=_log(start), env=_s3_settings(start), cwd=ROOT)


def _nginx_starter(buffer_size: str | None) -> Callable[[Start], ServerProcess]:
    def start_nginx(start: Start) -> ServerProcess:
        port = free_port()
        folder = start.workplace.folder / start.label
        upstream = Upstream(address=start.backing.address, authority=start.backing.authority)
        config = write_config(folder, port, upstream, buffer_size=buffer_size)
        command = [shutil.which("nginx", path=search_path()) or "nginx", "-p", str(folder), "-c", str(config)]
        return ServerProcess(start.label, command, port=port, log=_log(start), env={}, cwd=ROOT)

    return start_nginx


def _log(start: Start) -> Path:
    return start.workplace.folder / f"{start.label}.log"


S3PROXY = Contender("s3proxy", _start_s3proxy, "/files/{bucket}/{key}")
GUARDED = Contender(
    "s3proxy with access file", _start_guarded, S3PROXY.object_path, {"Authorization": f"Bearer {API_KEY}"}
)
NGINX = Contender("nginx", _nginx_starter(None), "/{bucket}/{key}")
NGINX_256K = Contender("nginx 256k", _nginx_starter("256k"), "/{bucket}/{key}")
ORIGINAL = Contender("original", _start_original, "/files?bucket_name={bucket}&object_name={key}")
