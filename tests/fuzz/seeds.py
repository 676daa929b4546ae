"""Where fuzzing begins: good input for each target, and words that mean something to the parsers.

Without them a fuzzer spends its time on finding out what a boundary looks like.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

FORM = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\nContent-Type: x/y\r\n\r\nhello\r\n--b--\r\n'

FIELD = b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nvalue\r\n'

MD5 = base64.b64encode(hashlib.md5(b"hello", usedforsecurity=False).digest())

SHA256 = base64.b64encode(hashlib.sha256(b"hello").digest())

SEEDS: Mapping[str, Sequence[bytes]] = {
    "form": (FORM, FIELD + FORM, b"\r\n" + FORM, b"preamble\r\n" + FORM, FORM[:60], FIELD * 3 + b"--b--"),
    "form_type": (
        b"multipart/form-data; boundary=b",
        b'multipart/form-data; charset=utf-8; boundary="a b"',
        b"application/x-www-form-urlencoded",
    ),
    "path": (b"bucket/folder/key.txt", b"bucket/a%20b%2Fc", b"bucket/%C3%A9", b"bucket/a/../b", b"my.bucket-1/k"),
    "file_name": (b"report.pdf", "Überblick 日本.txt".encode(), b'a"; x=y', b"..\\up", b"image/svg+xml"),
    "byte_range": (b"bytes=0-9", b"bytes=5-", b"bytes=-5", b"bytes=0-0,2-3", b"bytes=99999999999999999999-"),
    "conditions": (
        b'"etag"\n*\nSun, 22 Nov 2026 00:00:00 GMT\nSun, 22 Nov 2026 00:00:00 GMT\n"etag"',
        b'W/"etag", "other"\n"etag"\n\n\nSun, 22 Nov 2026 00:00:00 GMT',
    ),
    "digests": (MD5 + b"\nsha-256=:" + SHA256 + b":\nmd5=:" + MD5 + b":\n\n" + SHA256,),
}

WORDS: Sequence[bytes] = (
    b"--b",
    b"\r\n",
    b"--",
    FORM,
    b"Content-Disposition: form-data; ",
    b'filename="',
    b"filename*=UTF-8''",
    b"boundary=",
    b"%2F",
    b"%",
    b"..",
    b"/",
    b"bytes=",
    b"-",
    b'"',
    b"W/",
    b"=",
    b"sha-256=:",
    b" GMT",
)
