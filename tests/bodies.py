"""Bodies to be stored."""

from __future__ import annotations

import base64
import functools
import io
import random
import zlib

from s3proxy.protocol.checksums import Checksum, ChecksumAlgorithm, RunningChecksum
from s3proxy.store.contract import ObjectStream


class BytesBody:
    """Keeps `Body` as transfers do: each stretch has a length of its own, whatever was asked for."""

    def __init__(self, data: bytes, stretch: int = 100_000) -> None:
        self._data = data
        self._stretch = stretch
        self._offset = 0

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int = -1, /) -> memoryview:
        """See `Body.read`."""
        data = memoryview(self._data)[self._offset : self._offset + self._stretch]
        self._offset += len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """See `Body.readinto`."""
        data = memoryview(self._data)[self._offset : self._offset + len(buffer)]
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `Body.seek`."""
        self._offset = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: len(self)}[whence]
        return self._offset

    def tell(self) -> int:
        """See `Body.tell`."""
        return self._offset


def checksum_of(data: bytes) -> Checksum:
    """The CRC64NVME, which stores keep by default."""
    running = RunningChecksum(ChecksumAlgorithm.CRC64NVME)
    running.update(data)
    assert running.checksum is not None
    return running.checksum


def crc32_of(data: bytes) -> Checksum:
    """The CRC32, by other code than ours."""
    return Checksum(ChecksumAlgorithm.CRC32, base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode())


@functools.lru_cache(maxsize=256)
def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which no stretch is like another, so that none can be left out or doubled unseen."""
    # In whole words, so that a shorter pattern is the beginning of a longer one.
    return random.Random(seed).randbytes(-(-size // 4) * 4)[:size]


async def read_some(stream: ObjectStream, size: int) -> bytes:
    """The next bytes of `stream`, at most `size`."""
    buffer = bytearray(size)
    return bytes(buffer[: await stream.readinto(memoryview(buffer))])
