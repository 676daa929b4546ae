"""A person without an account: opens an upload link, chooses files, sends them (headless Chromium)."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest

from tests.clients.test_browser import FLAGS
from tests.http.doors import api_key, bearer, links, principal
from tests.http.place import MotoBucket
from tests.http.wire import until
from tests.process import ServerProcess

SECONDS = 30.0
"""How long a browser may take for a page on a busy machine."""


@pytest.fixture(scope="module")
def server(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with an access file: only alice may do anything, in her home."""
    directory = tmp_path_factory.mktemp("server")
    access = directory / "access.toml"
    access.write_text(principal("alice", "read,write,share */home/{principal}/**") + links())
    with ServerProcess(s3_endpoint, directory, ACCESS_FILE=str(access), STATE_DIR=str(directory)) as server:
        yield server
        server.terminate()
        assert server.exit_code() == 0
    assert not server.said("Traceback")


def upload_link(server: ServerProcess, bucket: MotoBucket, key: str, **query: object) -> str:
    """A link that alice makes for someone."""
    arguments = urlencode({"method": "PUT", **query})
    address = f"{server.url}/files/{bucket.name}/{quote(key)}?share&{arguments}"
    request = urllib.request.Request(address, method="POST", headers=bearer(api_key("alice")))
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["url"])


class Tab:
    """A tab of a browser, driven as its own tools for developers drive it (Chrome DevTools Protocol)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0

    async def do(self, method: str, **parameters: object) -> Any:
        """One command and its result."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": parameters})
        while (message := await self._next()).get("id") != self._calls:
            pass
        assert "error" not in message, message
        return message["result"]

    async def load(self, method: str, **parameters: object) -> None:
        """A command that makes the tab load another page; returns when it is there."""
        await self.do("Page.enable")
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": parameters})
        while (await self._next()).get("method") != "Page.loadEventFired":
            pass

    async def text(self, expression: str = "document.body.innerText") -> str:
        """What a script would find in the page."""
        result = await self.do("Runtime.evaluate", expression=expression)
        return str(result["result"].get("value"))

    async def send(self, *files: Path) -> str:
        """Choose files in the page's form and press its button; returns what the next page says."""
        root = (await self.do("DOM.getDocument"))["root"]["nodeId"]
        field = (await self.do("DOM.querySelector", nodeId=root, selector="input[type=file]"))["nodeId"]
        await self.do("DOM.setFileInputFiles", nodeId=field, files=[str(file) for file in files])
        await self.load("Runtime.evaluate", expression="document.querySelector('button').click()")
        return await self.text()

    async def _next(self) -> Any:
        return await self._socket.receive_json()


@asynccontextmanager
async def opened(address: str, profile: Path) -> AsyncIterator[Tab]:
    """A tab that shows this address, of a browser with an empty profile."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    # It can be reached from this machine only, at a port it chooses and notes in its profile.
    browser = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={profile}",
        "--remote-debugging-port=0",
        "about:blank",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
            tools = f"http://127.0.0.1:{await _port(profile)}"
            async with session.get(f"{tools}/json/list") as answer:
                (tab,) = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"]) as socket:
                page = Tab(socket)
                await page.load("Page.navigate", url=address)
                yield page
    finally:
        browser.terminate()
        await browser.wait()


async def _port(profile: Path) -> str:
    note = profile / "DevToolsActivePort"
    await until(lambda: note.is_file() and "\n" in note.read_text(), SECONDS)
    return note.read_text().splitlines()[0]


CONTENT = b"hello from a person" * 1000

ACTS = """
{ const evil = document.createElement("b"); evil.setAttribute("onclick", "document.title = 'acted'"); evil.click(); }
document.title
"""

LEADS_ON = """
{ const on = document.createElement("a"); on.href = "/healthz"; document.body.append(on); on.click(); }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What the person wants to send."""
    path = tmp_path / "große Datei.txt"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.gen_test(timeout=40)
async def test_a_person_sends_a_file_by_a_link_once(
    server: ServerProcess, bucket: MotoBucket, tmp_path: Path, file: Path
) -> None:
    key = "home/alice/in/Grüße & <b>Küsse.txt"
    address = upload_link(server, bucket, key, uses=1)
    async with opened(address, tmp_path / "profile") as tab:
        assert key in await tab.text()
        assert "File uploaded successfully" in await tab.send(file)
        # The link was for one file; no password is asked for, which nobody has.
        await tab.load("Page.navigate", url=address)
        assert "A valid credential is needed." in await tab.text()
    assert bucket.stored() == [key]
    assert bucket.data(key) == CONTENT
    assert bucket.attributes(key).content_type == "text/plain"


@pytest.mark.gen_test(timeout=40)
async def test_a_person_sends_several_files_to_a_folder(
    server: ServerProcess, bucket: MotoBucket, tmp_path: Path, file: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes(b"another")
    async with opened(upload_link(server, bucket, "home/alice/in/"), tmp_path / "profile") as tab:
        assert await tab.text("document.querySelector('input[type=file]').multiple") == "True"
        assert "File uploaded successfully" in await tab.send(file, other)
    assert sorted(bucket.stored()) == [f"home/alice/in/{file.name}", "home/alice/in/other.txt"]
    assert bucket.data("home/alice/in/other.txt") == b"another"


@pytest.mark.gen_test(timeout=40)
async def test_a_person_is_told_that_a_file_is_not_taken(
    server: ServerProcess, bucket: MotoBucket, tmp_path: Path, file: Path
) -> None:
    address = upload_link(server, bucket, "home/alice/in/k", types="image/*,application/pdf", max_size=1000)
    async with opened(address, tmp_path / "profile") as tab:
        assert await tab.text("document.querySelector('input[type=file]').accept") == "image/*,application/pdf"
        assert "At most 1000 bytes." in await tab.text()
        assert "This link does not take objects of this type." in await tab.send(file)
    assert bucket.stored() == []


@pytest.mark.gen_test(timeout=40)
async def test_the_page_acts_for_nobody_else(server: ServerProcess, bucket: MotoBucket, tmp_path: Path) -> None:
    async with opened(upload_link(server, bucket, "home/alice/k"), tmp_path / "profile") as tab:
        # Whatever got into the page could not act.
        assert await tab.text(ACTS) == "Send a file"
        # What the page leads to is not told the link's secret.
        await tab.load("Runtime.evaluate", expression=LEADS_ON)
        assert await tab.text("location.pathname + ' after ' + document.referrer") == "/healthz after "
