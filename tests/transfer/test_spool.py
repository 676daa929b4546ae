"""The spool: bytes on disk come back, the limit is hard, and a closed file is never mistaken for another."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from s3proxy.errors import Busy
from s3proxy.transfer.spool import Spool
from tests.loop import settle, virtual_loop


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    file = Spool(tmp_path, 100).create()
    file.write(b"hello ")
    file.write(memoryview(b"world"))
    assert file.size == 11
    assert file.read(100, 0) == b"hello world"
    assert file.read(3, 6) == b"wor"
    assert file.read(3, 11) == b""
    file.close()


def test_a_file_has_no_name_and_leaves_nothing(tmp_path: Path) -> None:
    before = open_files()
    file = Spool(tmp_path, 100).create()
    file.write(b"secret")
    assert list(tmp_path.iterdir()) == []
    file.close()
    file.close()
    assert open_files() == before


class TestAppend:
    async def test_what_comes_together_takes_one_trip_to_a_thread(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path, 1_000)
        files = [spool.create() for _ in range(10)]
        trips = 0
        run_in_executor = virtual_loop().run_in_executor

        def counted(*arguments: Any) -> asyncio.Future[Any]:
            nonlocal trips
            trips += 1
            return run_in_executor(*arguments)

        virtual_loop().run_in_executor = counted  # type: ignore[method-assign, assignment]
        for number in range(3):
            await asyncio.gather(*(file.append(b"%d" % number, b"-%d;" % place) for place, file in enumerate(files)))
        assert trips == 3
        assert [file.read(100, 0) for file in files] == [b"0-%d;1-%d;2-%d;" % (n, n, n) for n in range(10)]
        assert spool.used == 10 * 12
        for file in files:
            file.close()

    async def test_one_that_fails_does_not_disturb_the_others(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path, 1_000)
        good, closed, cancelled = [spool.create() for _ in range(3)]
        writes = [asyncio.create_task(file.append(b"bytes")) for file in (good, closed, cancelled)]
        await settle()
        await asyncio.sleep(0)
        closed.close()
        writes[2].cancel()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert results[0] is None
        assert isinstance(results[1], Busy)
        assert isinstance(results[2], asyncio.CancelledError)
        assert good.read(100, 0) == b"bytes"
        await good.append(b" more")
        assert good.read(100, 0) == b"bytes more"
        for file in (good, closed, cancelled):
            file.close()

    async def test_over_the_limit_it_is_busy_at_once(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path, 10)
        file = spool.create()
        with pytest.raises(Busy):
            await file.append(b"123456", b"78901")
        assert virtual_loop().time() == 0
        await file.append(b"123456", b"7890")
        file.close()


def test_the_limit_counts_all_files_together(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100)
    one, two = spool.create(), spool.create()
    one.reserve(60)
    with pytest.raises(Busy):
        two.reserve(41)
    two.reserve(40)
    assert spool.used == 100
    one.close()
    one.close()
    assert spool.used == 40
    two.reserve(60)
    two.close()
    assert spool.used == 0


def test_a_directory_that_is_gone_is_busy(tmp_path: Path) -> None:
    with pytest.raises(Busy):
        Spool(tmp_path / "gone", 100).create()


def test_a_full_disk_is_busy_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Spool(tmp_path, 100).create()
    file.write(b"before")
    pwrite, calls = os.pwrite, []

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data[:2], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Busy):
        file.write(b"after")
    assert calls == [6, 8]
    assert file.size == 6
    monkeypatch.undo()
    file.write(b"again")
    assert file.read(100, 0) == b"beforeagain"
    file.close()


def test_a_closed_file_is_busy(tmp_path: Path) -> None:
    file = Spool(tmp_path, 100).create()
    file.close()
    with pytest.raises(Busy):
        file.write(b"x")
    with pytest.raises(Busy):
        file.read(1, 0)


@pytest.mark.parametrize("call", ["pwrite", "pread"])
def test_a_descriptor_in_use_is_not_given_to_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    spool = Spool(tmp_path, 100)
    file = spool.create()
    begun, go = threading.Event(), threading.Event()
    original = getattr(os, call)
    used: list[int] = []

    def slow(descriptor: int, *arguments: object) -> object:
        begun.set()
        assert go.wait(10)
        used.append(os.fstat(descriptor).st_ino)
        return original(descriptor, *arguments)

    monkeypatch.setattr(os, call, slow)
    inode = os.fstat(file._file.fileno()).st_ino
    thread = (
        threading.Thread(target=file.write, args=[b"x"])
        if call == "pwrite"
        else threading.Thread(target=file.read, args=[1, 0])
    )
    thread.start()
    assert begun.wait(10)
    file.close()
    others = [spool.create() for _ in range(10)]
    go.set()
    thread.join()
    assert used == [inode]
    monkeypatch.undo()
    assert all(other.read(1, 0) == b"" for other in others)
    for other in others:
        other.close()
    with pytest.raises(ValueError, match="closed"):
        file._file.fileno()
