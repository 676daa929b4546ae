"""The null store as the benchmark holds it: started in one of four kinds, asked what it got."""

import http.client
import ssl
import xml.etree.ElementTree as ElementTree
from enum import StrEnum

from bench.contender import BUCKET, Backing
from bench.process import ServerProcess, free_port
from bench.workplace import ROOT, Workplace

LATENCY, BANDWIDTH = 0.030, 40e6


class Kind(StrEnum):
    """How the store is reached: plainly, over TLS, through the slow relay, or plainly with every byte checked."""

    HTTP = "http"
    HTTPS = "https"
    RELAY = "relay"
    VERIFY = "verify"


class NullStore:
    """One running null store. `backing` is the address contenders get; questions go past the relay."""

    def __init__(self, workplace: Workplace, kind: Kind) -> None:
        port = free_port()
        command = [str(workplace.python), "-m", "bench.nullstore", "--port", str(port)]
        command += ["--pattern", str(workplace.pattern)]
        authority = workplace.certificates.authority if kind is Kind.HTTPS else None
        if kind is Kind.HTTPS:
            command += ["--certificate", str(workplace.certificates.certificate)]
            command += ["--key", str(workplace.certificates.key)]
        if kind is Kind.VERIFY:
            command.append("--verify")
        self._context = ssl.create_default_context(cafile=str(authority)) if authority is not None else None
        label = f"null-store-{kind}"
        log = workplace.folder / f"{label}.log"
        self.process = ServerProcess(label, command, port=port, log=log, env={}, cwd=ROOT)
        self.backing = Backing(address=self.process.address, authority=authority)
        self._relay: ServerProcess | None = None
        if kind is Kind.RELAY:
            self._relay = _start_relay(workplace, self.process)
            self.backing = Backing(address=self._relay.address)

    def stop(self) -> None:
        """Stop it, and its relay."""
        if self._relay is not None:
            self._relay.stop()
        self.process.stop()

    def size(self, key: str) -> int | None:
        """How many bytes it got for an object, None when it has none."""
        status, headers, _ = self._ask("HEAD", f"/{BUCKET}/{key}")
        return int(headers["Content-Length"] or 0) if status == 200 else None

    def forget(self, key: str) -> None:
        """Delete an object."""
        self._ask("DELETE", f"/{BUCKET}/{key}")

    def unfinished(self) -> int:
        """Multipart uploads that are neither completed nor aborted."""
        _, _, body = self._ask("GET", f"/{BUCKET}?uploads")
        return sum(1 for element in ElementTree.fromstring(body) if element.tag.endswith("}Upload"))

    def _ask(self, method: str, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection: http.client.HTTPConnection
        if self._context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=10)
        else:
            connection = http.client.HTTPSConnection("localhost", self.process.port, timeout=10, context=self._context)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def _start_relay(workplace: Workplace, store: ServerProcess) -> ServerProcess:
    port = free_port()
    command = [str(workplace.python), "-m", "bench.relay", "--port", str(port), "--to", store.address]
    command += ["--latency", str(LATENCY), "--rate", str(BANDWIDTH)]
    return ServerProcess("relay", command, port=port, log=workplace.folder / "relay.log", env={}, cwd=ROOT)
