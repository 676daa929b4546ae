"""nginx in front of the store with nothing between: the cost of only copying."""

from dataclasses import dataclass
from pathlib import Path

_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    upstream store {{
        server {store};
        keepalive 64;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {scheme}://store;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            {more}
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The store as nginx sees it: `authority` is the file that signed its certificate, None for http."""

    address: str
    authority: Path | None


def write_config(folder: Path, port: int, upstream: Upstream, *, buffer_size: str | None) -> Path:
    """Write nginx.conf; `buffer_size` (such as "256k") replaces nginx's small unbuffered-copy buffers."""
    folder.mkdir()
    more: list[str] = []
    if upstream.authority is not None:
        more += [
            "proxy_ssl_verify on;",
            f"proxy_ssl_trusted_certificate {upstream.authority};",
            "proxy_ssl_name localhost;",
            "proxy_ssl_protocols TLSv1.2 TLSv1.3;",
        ]
    if buffer_size is not None:
        more += [f"proxy_buffer_size {buffer_size};", f"client_body_buffer_size {buffer_size};"]
        more += [f"proxy_buffers 8 {buffer_size};"]  # unused without buffering, but checked against the size above
    path = folder / "nginx.conf"
    path.write_text(
        _CONFIG.format(
            folder=folder,
            port=port,
            store=upstream.address,
            scheme="http" if upstream.authority is None else "https",
            more="\n            ".join(more),
        )
    )
    return path
