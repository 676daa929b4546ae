"""An OpenID Connect issuer on loopback: discovery and a key set over real HTTP, and tokens it signs."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "s3proxy"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def private_key(algorithm: str = "ES256", number: int = 0) -> PrivateKey:
    """A key that can sign by the algorithm; another for each number."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        curves: dict[str, ec.EllipticCurve] = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}
        return ec.generate_private_key(curves[algorithm[2:]])
    return rsa.generate_private_key(65_537, 2_048)


def jwk(kid: str | None, algorithm: str = "ES256", number: int = 0, **members: object) -> dict[str, Any]:
    """The public half, as a key set has it."""
    public = private_key(algorithm, number).public_key()
    entry: dict[str, Any] = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(public))
    return entry | ({} if kid is None else {"kid": kid}) | members


class Issuer:
    """The server. `keys` is what its key set holds now; `gets` counts requests by path.

    `says` overrides members of the discovery document. While `down`, every connection is cut without an answer.
    """

    def __init__(self) -> None:
        self.keys = [jwk("one")]
        self.says: dict[str, Any] = {}
        self.down = False
        self.gets: Counter[str] = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def token(self, kid: str | None = "one", algorithm: str = "ES256", number: int = 0, **claims: object) -> str:
        """A token that is good unless `claims` say otherwise; None takes one away."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "carol", "iat": now, "exp": now + 600}
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        headers = None if kid is None else {"kid": kid}
        return jwt.encode(payload, private_key(algorithm, number), algorithm, headers=headers)

    def answer(self, path: str) -> tuple[int, object]:
        """Status and document."""
        if path == "/.well-known/openid-configuration":
            return 200, {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.says
        if path == "/keys":
            return 200, {"keys": self.keys}
        return 404, {}


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.gets[self.path] += 1
            if issuer.down:
                return
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", f"{issuer.url}/keys")
                self.end_headers()
                return
            status, document = issuer.answer(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
