"""Checksums: known answers, joining, and the digests clients send."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.errors import BadRequest, ChecksumMismatch
from s3proxy.protocol.checksums import Checksum, ChecksumAlgorithm, ClientDigests, RunningChecksum

BODY = b"123456789"
#: The check values of the CRC catalogue, for BODY.
KNOWN = {
    ChecksumAlgorithm.CRC32: "cbf43926",
    ChecksumAlgorithm.CRC32C: "e3069283",
    ChecksumAlgorithm.CRC64NVME: "ae8b14860a799888",
}
CRCS = sorted(KNOWN)


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


#: A right value of each header for BODY.
RIGHT = {
    "Content-MD5": encoded(hashlib.md5(BODY).digest()),
    "Content-Digest": f"sha-256=:{encoded(hashlib.sha256(BODY).digest())}:",
    "Repr-Digest": f"sha-512=:{encoded(hashlib.sha512(BODY).digest())}:",
    "X-Amz-Checksum-Sha1": encoded(hashlib.sha1(BODY).digest()),
    "X-Amz-Checksum-Sha256": encoded(hashlib.sha256(BODY).digest()),
    **{f"X-Amz-Checksum-{algorithm.capitalize()}": encoded(bytes.fromhex(value)) for algorithm, value in KNOWN.items()},
}


def verify(headers: dict[str, str], body: bytes) -> None:
    digests = ClientDigests.from_headers(headers)
    for index in range(0, len(body), 4):
        digests.update(body[index : index + 4])
    digests.verify()


@pytest.mark.parametrize("algorithm", CRCS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_checksums_have_their_known_values(algorithm: ChecksumAlgorithm, kind: Any) -> None:
    running = RunningChecksum(algorithm)
    running.update(kind(BODY))
    assert running.checksum == Checksum(algorithm, encoded(bytes.fromhex(KNOWN[algorithm])))
    assert running.size == 9


@pytest.mark.parametrize("algorithm", CRCS)
def test_nothing_has_the_checksum_zero(algorithm: ChecksumAlgorithm) -> None:
    checksum = RunningChecksum(algorithm).checksum
    assert checksum is not None
    assert set(base64.b64decode(checksum.value)) == {0}


@given(st.sampled_from(CRCS), st.lists(st.binary(max_size=50), max_size=6))
@settings(max_examples=200, deadline=None)
def test_cutting_and_joining_change_no_checksum(algorithm: ChecksumAlgorithm, pieces: list[bytes]) -> None:
    whole, cut, joined = (RunningChecksum(algorithm) for _ in range(3))
    whole.update(b"".join(pieces))
    for piece in pieces:
        cut.update(memoryview(piece))
        part = RunningChecksum(algorithm)
        part.update(piece)
        joined.extend(part)
    assert whole.checksum == cut.checksum == joined.checksum
    assert whole.size == cut.size == joined.size


def test_none_only_counts() -> None:
    running, other = RunningChecksum(ChecksumAlgorithm.NONE), RunningChecksum(ChecksumAlgorithm.NONE)
    running.update(b"abc")
    other.update(b"de")
    running.extend(other)
    assert running.size == 5
    assert running.checksum is None
    assert running.digest() == b""


def test_two_algorithms_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="two algorithms"):
        RunningChecksum(ChecksumAlgorithm.CRC32).extend(RunningChecksum(ChecksumAlgorithm.NONE))


@pytest.mark.parametrize("header", RIGHT)
def test_a_right_digest_is_verified(header: str) -> None:
    assert ClientDigests.from_headers({header: RIGHT[header]})
    verify({header: f" {RIGHT[header]}\t"}, BODY)


@pytest.mark.parametrize("header", RIGHT)
@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b"0", b"123456780"])
def test_a_wrong_body_is_found_out_and_the_header_named(header: str, body: bytes) -> None:
    with pytest.raises(ChecksumMismatch, match=header):
        verify({header: RIGHT[header]}, body)


def test_all_digests_must_hold() -> None:
    verify(RIGHT, BODY)
    wrong = encoded(hashlib.sha256(b"other").digest())
    with pytest.raises(ChecksumMismatch, match="Sha256"):
        verify({**RIGHT, "X-Amz-Checksum-Sha256": wrong}, BODY)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Digest": "x"},
        {"Content-Digest": ""},
        {"Content-Digest": "md5=:AAAA:"},
        {"Repr-Digest": "crc32c=:AAAA:, unixsum=:AA==:"},
    ],
)
def test_no_digest_or_one_unknown_verifies_nothing(headers: dict[str, str]) -> None:
    digests = ClientDigests.from_headers(headers)
    assert not digests
    digests.update(BODY)
    digests.verify()


def test_a_digest_dictionary_may_hold_several_and_parameters() -> None:
    sha256, sha512 = RIGHT["Content-Digest"], RIGHT["Repr-Digest"]
    verify({"Content-Digest": f"md5=:AAAA:, {sha256};a=1 ,\t{sha512}"}, BODY)
    wrong = f"sha-512=:{encoded(hashlib.sha512(b'other').digest())}:"
    with pytest.raises(ChecksumMismatch, match="Content-Digest"):
        verify({"Content-Digest": f"{sha256}, {wrong}"}, BODY)


def test_the_last_of_two_equal_names_counts() -> None:
    wrong = f"sha-256=:{encoded(hashlib.sha256(b'other').digest())}:"
    verify({"Content-Digest": f"{wrong}, {RIGHT['Content-Digest']}"}, BODY)


@pytest.mark.parametrize("header", [name for name in RIGHT if "Digest" not in name])
@pytest.mark.parametrize(
    "value", ["", "x", "AAAA", "====", "é", "AAAA\n", "A" * 5000, "ffffffffffffffffffffffffffffff"]
)
def test_a_malformed_checksum_is_refused_by_name(header: str, value: str) -> None:
    with pytest.raises(BadRequest, match=header):
        ClientDigests.from_headers({header: value})


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize(
    "value",
    [
        "sha-256",
        "sha-256=",
        "sha-256=AAAA",
        "sha-256=:AAAA",
        "sha-256=:AAAA:",
        "sha-256=::",
        "sha-256=:A=A=:",
        "SHA-256=:AAAA:",
        ",",
        "md5=:AAAA:,",
        "md5=:AAAA: sha-256=:AAAA:",
        "=:AAAA:",
        "é",
    ],
)
def test_a_malformed_digest_is_refused_by_name(header: str, value: str) -> None:
    with pytest.raises(BadRequest, match=header):
        ClientDigests.from_headers({header: value})


@given(st.sampled_from(list(RIGHT)), st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_digest_or_a_bad_request(header: str, value: str) -> None:
    try:
        digests = ClientDigests.from_headers({header: value})
    except BadRequest:
        return
    assert isinstance(bool(digests), bool)
