"""What multipart uploads a process has begun, kept where the next one finds it: even `kill -9` leaves no parts behind.

A process writes one line before it asks the store for an upload, one when it knows the upload's id, and one when the
upload is over. It holds a lock on its file for as long as it lives; what a file without a lock has open is for the
sweeper. Lines are written, not synced: they outlive the process, not a power failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s3proxy.protocol.keys import ObjectPath
from s3proxy.store.contract import MultipartUpload

logger = logging.getLogger(__name__)

PATTERN = "uploads-*.journal"

ROLL_SIZE = 1024 * 1024
"""Bytes after which a journal starts anew with what is open."""

OPEN_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Entry:
    """An upload that is not over: `began` in seconds since the epoch; without `upload_id`, only the wish for it."""

    number: int
    path: ObjectPath
    began: float
    upload_id: str | None = None

    @property
    def upload(self) -> MultipartUpload | None:
        """The upload, when its id is known."""
        return None if self.upload_id is None else MultipartUpload(self.path, self.upload_id)

    def lines(self) -> bytes:
        """The entry as a journal keeps it."""
        began = _line({"n": self.number, "bucket": self.path.bucket, "key": self.path.key, "time": self.began})
        return began if self.upload_id is None else began + _line({"n": self.number, "id": self.upload_id})


class Journal:
    """One process's uploads, in a file of its own under `directory`; None keeps none.

    `store` names the store, so that nobody looks for the uploads elsewhere. A disk that takes nothing does not stop
    uploads: it is logged once. Not thread-safe.
    """

    def __init__(self, directory: Path | None, *, store: str = "") -> None:
        self._directory = directory
        self._store = store
        self._open: dict[int, Entry] = {}
        self._numbers = 0
        self._file: tuple[int, Path] | None = None
        self._left: Path | None = None
        self._size = 0
        self._roll_at = ROLL_SIZE
        self._warned = False

    def begin(self, path: ObjectPath) -> Entry:
        """An upload to `path` is about to be asked for."""
        self._numbers += 1
        entry = self._open[self._numbers] = Entry(self._numbers, path, time.time())
        self._write(entry.lines())
        return entry

    def know(self, entry: Entry, upload_id: str) -> None:
        """The store gave the upload its id."""
        entry.upload_id = upload_id
        self._write(_line({"n": entry.number, "id": upload_id}))

    def end(self, entry: Entry) -> None:
        """The upload was completed, aborted or never begun. May be called twice."""
        if self._open.pop(entry.number, None) is not None:
            self._write(_end(entry))

    def leave(self, entry: Entry) -> None:
        """This process gives the upload up, open or not; in an unlocked file, a sweeper may have it while we live."""
        if entry.number not in self._open:
            return
        with self._tolerant():
            if self._directory is not None:
                descriptor = self._open_left(self._directory)
                try:
                    _write_all(descriptor, b"\n" + entry.lines())  # Whatever half a line is there.
                finally:
                    os.close(descriptor)
            self.end(entry)

    def close(self) -> None:
        """Unlock the file, and remove it when nothing is open. May be called twice."""
        if self._file is not None:
            descriptor, path = self._file
            self._file = None
            with self._tolerant():
                if not self._open:
                    path.unlink(missing_ok=True)
            os.close(descriptor)

    def _open_left(self, directory: Path) -> int:
        """The file of what was left, locked: the same as the last time unless a sweeper has it. To be closed."""
        if self._left is not None and (descriptor := _open_locked(self._left)) is not None:
            return descriptor
        descriptor, self._left = _create(directory)
        _write_all(descriptor, self._header())
        return descriptor

    def _header(self) -> bytes:
        return _line({"store": self._store})

    def _write(self, lines: bytes) -> None:
        if self._directory is None:
            return
        with self._tolerant():
            if self._file is None or self._size > self._roll_at:
                self._roll(self._directory)
            else:
                size, self._size = self._size, sys.maxsize  # After half a line, only a new file will do.
                _write_all(self._file[0], lines)
                self._size = size + len(lines)

    def _roll(self, directory: Path) -> None:
        """Go on in a new file that has what is open. The old one stays locked until it is gone."""
        lines = self._header() + b"".join(entry.lines() for entry in self._open.values())
        descriptor, path = _create(directory)
        try:
            _write_all(descriptor, lines)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        if self._file is not None:
            self._file[1].unlink(missing_ok=True)
            os.close(self._file[0])
        self._file = descriptor, path
        self._size = len(lines)
        self._roll_at = max(ROLL_SIZE, 2 * len(lines))

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            if not self._warned:
                self._warned = True
                fields = {"directory": str(self._directory), "reason": fault.strerror}
                logger.warning("journal cannot be written; a crash may leave parts behind", extra={"fields": fields})


class Remains:
    """A journal as a sweeper reads it. Made by `claim` and `peek`; `close` on every way out."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.store = ""
        self.entries: dict[int, Entry] = {}
        self._descriptor = descriptor
        for line in _read_all(descriptor).splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # A line that was cut off by the end.
                self._apply(json.loads(line))

    def end(self, entry: Entry) -> None:
        """The upload is over. Raises `OSError`."""
        del self.entries[entry.number]
        _write_all(self._descriptor, _end(entry))

    def remove(self) -> None:
        """Delete the journal; nothing is left to do. Raises `OSError`."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file and its lock."""
        os.close(self._descriptor)

    def _apply(self, fields: Mapping[str, Any]) -> None:
        if "store" in fields:
            self.store = str(fields["store"])
        elif "bucket" in fields:
            path = ObjectPath(str(fields["bucket"]), str(fields["key"]))
            self.entries[int(fields["n"])] = Entry(int(fields["n"]), path, float(fields["time"]))
        elif "id" in fields:
            self.entries[int(fields["n"])].upload_id = str(fields["id"])
        elif "end" in fields:
            self.entries.pop(int(fields["n"]), None)


def journals(directory: Path) -> list[Path]:
    """All journals there, of the living and the dead."""
    return sorted(path for path in directory.glob(PATTERN) if not path.is_symlink())


def claim(path: Path) -> Remains | None:
    """The journal of a process that is no more, locked; None when its owner lives or another sweeper has it.

    Raises `OSError`. Files of other users are nobody's orders to us.
    """
    descriptor = _open_locked(path)
    return None if descriptor is None else _read(path, descriptor)


def peek(path: Path) -> Remains | None:
    """A journal as it stands, also that of a living process. Raises `OSError`."""
    try:
        descriptor = os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, PermissionError):
        return None
    return _read(path, descriptor)


def _read(path: Path, descriptor: int) -> Remains:
    try:
        return Remains(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _open_locked(path: Path) -> int | None:
    try:
        descriptor = os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, PermissionError):
        return None
    if _lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    """Lock a journal; false when another has it, when it is not ours, or gone: the old file of an owner who went on."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_nlink > 0


def _create(directory: Path) -> tuple[int, Path]:
    """A new, locked, empty journal. Raises `OSError`."""
    while True:
        path = directory / f"uploads-{os.getpid()}-{secrets.token_hex(4)}.journal"
        descriptor = os.open(path, OPEN_FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        if _lock(descriptor):
            return descriptor, path
        os.close(descriptor)  # A sweeper was faster, and removes the empty file.


def _line(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _end(entry: Entry) -> bytes:
    return _line({"n": entry.number, "end": True})


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()
