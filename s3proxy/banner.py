"""What the server tells the person who started it."""

from __future__ import annotations

CURL_LINES = """\
No S3 is configured, so this server brings its own, kept in memory for as long as it runs. Try:

  echo 'hello' > hello.txt
  curl -F bucket_name={bucket} -F object_name=hello.txt -F file_request=@hello.txt {base}/files
  curl '{base}/files?bucket_name={bucket}&object_name=hello.txt'
  curl -T hello.txt {base}/files/{bucket}/dir/
  curl {base}/files/{bucket}/dir/hello.txt
  curl {base}/files/{bucket}/
  curl -X DELETE {base}/files/{bucket}/dir/hello.txt
"""


OPEN = """\
WARNING: no ACCESS_FILE is configured. Everyone who reaches this port can read, write and delete whatever the
store's credentials allow. docs/access.md says how to change that; REQUIRE_ACCESS_FILE=true refuses to start like this.
"""


def base_url(host: str, port: int) -> str:
    """Where the server is reached from this machine."""
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def embedded(host: str, port: int, bucket: str) -> None:
    """Print lines to paste while the embedded S3 runs."""
    print(CURL_LINES.format(base=base_url(host, port), bucket=bucket), flush=True)


def warn_open() -> None:
    """Print that nobody is asked who they are; scripts and logs shall not miss it."""
    print(OPEN, flush=True)


def listening(host: str, port: int) -> None:
    """Print the one line that scripts wait for."""
    print(f"listening on {base_url(host, port).replace('127.0.0.1', host or '0.0.0.0')}", flush=True)
