"""CRC64NVME in the forms S3 uses it; only the store's --verify mode computes any."""

import base64

from awscrt import checksums


def crc64nvme(data: memoryview | bytes, previous: int) -> int:
    """Continue the checksum `previous` over `data`."""
    value: int = checksums.crc64nvme(data, previous)
    return value


def joined(pieces: list[tuple[int, int]]) -> int:
    """The checksum of a whole, from the (checksum, size) of its pieces in order."""
    total = 0
    for crc, size in pieces:
        total = checksums.combine_crc64nvme(total, crc, size)
    return total


def encoded(crc: int) -> str:
    """A checksum as its header says it."""
    return base64.b64encode(crc.to_bytes(8, "big")).decode()
