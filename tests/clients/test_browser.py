"""A browser: a form filled in and sent, and stored pages that must not act (headless Chromium)."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3proxy.store.contract import ObjectAttributes
from tests.clients.conftest import Run
from tests.http.place import MotoBucket
from tests.process import ServerProcess

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

PAGE = """<!doctype html><meta charset="utf-8">
<form action="{url}/files" method="post" enctype="multipart/form-data">
  {order}
</form>
<script>
  const files = new DataTransfer();
  files.items.add(new File(["hello from a browser"], "große datei.txt", {{type: "text/plain"}}));
  document.querySelector("input[type=file]").files = files.files;
  document.forms[0].submit();
</script>
"""

NAMES = '<input name="bucket_name" value="{bucket}"><input name="object_name" value="{key}">'
FILE = '<input type="file" name="file_request">'


def shown(run: Run, tmp_path: Path, address: str) -> str:
    """What a browser with an empty profile shows at the end."""
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = run("chromium", *FLAGS, profile, "--virtual-time-budget=10000", "--dump-dom", address)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("order", [NAMES + FILE, FILE + NAMES], ids=["file last", "file first"])
def test_a_form_in_a_browser_stores_a_file(
    run: Run, server: ServerProcess, bucket: MotoBucket, tmp_path: Path, order: str
) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(url=server.url, order=order.format(bucket=bucket.name, key="dir/Grüße.txt")))
    assert '{"detail":"File uploaded successfully","status_code":200}' in shown(run, tmp_path, page.as_uri())
    assert bucket.data("dir/Grüße.txt") == b"hello from a browser"
    assert bucket.attributes("dir/Grüße.txt").content_type == "text/plain"


def test_a_form_in_a_browser_keeps_the_files_own_name_under_a_prefix(
    run: Run, server: ServerProcess, bucket: MotoBucket, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(url=server.url, order=(NAMES + FILE).format(bucket=bucket.name, key="in/")))
    assert "File uploaded successfully" in shown(run, tmp_path, page.as_uri())
    assert bucket.stored() == ["in/große datei.txt"]


def test_a_listing_is_shown_as_a_page(run: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    bucket.put("<script>document.title='acted'</script>", b"")
    bucket.put("dir/k", b"")
    page = shown(run, tmp_path, f"{base}/")
    assert ">dir/</a>" in page
    assert "&lt;script&gt;" in page
    assert "<title>acted" not in page


ACTING = """<script>parent.postMessage("{name} acted", "*"); fetch("{base}/k", {{method: "PUT", body: "x"}})</script>"""

STORED = {
    "page.html": ("text/html", "<!doctype html><p>page</p>" + ACTING),
    "picture.svg": ("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg">' + ACTING + "</svg>"),
    "page.txt": ("text/plain", "<!doctype html><p>page</p>" + ACTING),
    "page": (None, "<!doctype html><p>page</p>" + ACTING),
}

WATCHER = """<!doctype html><meta charset="utf-8"><ul></ul>
<script>addEventListener("message", event => document.querySelector("ul").append(event.data, "; "))</script>
{frames}
"""


def test_stored_pages_do_not_act(run: Run, base: str, bucket: MotoBucket, tmp_path: Path) -> None:
    addresses = []
    for name, (content_type, body) in STORED.items():
        bucket.put(name, body.format(name=name, base=base).encode(), ObjectAttributes(content_type=content_type))
        addresses.append(f"{base}/{name}")
    # The same page from elsewhere does act, which shows that this test would see it.
    (tmp_path / "control.html").write_text(ACTING.format(name="control", base=f"{base}/control"))
    addresses.append("control.html")
    watcher = tmp_path / "watcher.html"
    frames = "".join(f'<iframe src="{address}"></iframe>' for address in addresses)
    watcher.write_text(WATCHER.format(frames=frames))
    page = shown(run, tmp_path, watcher.as_uri())
    assert "<ul>control acted; </ul>" in page
    assert sorted(bucket.stored()) == sorted(STORED)
