"""A certificate authority for one run, and the certificate of the https store it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files: the authority that clients trust, and the store's certificate with its key."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make both with the openssl command; they are valid for a day and for this machine's loopback names only."""
    made = Certificates(folder / "ca.pem", folder / "store.pem", folder / "store.key")
    authority_key = folder / "ca.key"
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    _openssl(
        "req", "-x509", *ec, "-subj", "/CN=bench authority", "-keyout", authority_key, "-out", made.authority,
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    request, extensions = folder / "store.csr", folder / "store.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    _openssl("req", *ec[:-2], "-subj", "/CN=localhost", "-keyout", made.key, "-out", request)
    _openssl(
        "x509", "-req", "-in", request, "-CA", made.authority, "-CAkey", authority_key, "-CAcreateserial",
        "-days", "1", "-extfile", extensions, "-out", made.certificate,
    )  # fmt: skip
    return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
