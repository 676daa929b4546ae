"""What an upload leaves in the journal on each of its ways out."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3proxy.errors import BucketNotFound, StoreBroken, StoreError, StoreRefused
from s3proxy.protocol.keys import ObjectPath
from s3proxy.store.contract import MultipartUpload, ObjectAttributes
from s3proxy.transfer.cleanup import TRIES
from s3proxy.transfer.journal import Entry, Journal, claim, journals
from s3proxy.transfer.sweeper import Sweeper
from tests.bodies import pattern
from tests.fakes import MemoryStore
from tests.loop import settle
from tests.transfer.rig import Rig, destination
from tests.transfer.test_journal import read

LARGE = pattern(4_000)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig()
    rig.uploads.journal = Journal(tmp_path)
    return rig


def left(directory: Path) -> list[Entry]:
    """What the journals that nobody holds have open."""
    entries: list[Entry] = []
    for path in journals(directory):
        if (remains := claim(path)) is not None:
            entries += remains.entries.values()
            remains.close()
    return entries


async def test_a_committed_upload_is_over(rig: Rig, tmp_path: Path) -> None:
    writer = await rig.uploads.open(destination())
    await writer.write(LARGE)
    assert [entry.upload_id for entry in read(tmp_path)] == ["upload-1"]
    await writer.commit()
    assert read(tmp_path) == []
    rig.uploads.journal.close()


async def test_a_small_upload_is_not_written_down(rig: Rig, tmp_path: Path) -> None:
    writer = await rig.uploads.open(destination())
    await writer.write(b"small")
    await writer.commit()
    assert journals(tmp_path) == []


async def test_an_aborted_upload_is_over_when_it_is_gone(rig: Rig, tmp_path: Path) -> None:
    writer = await rig.uploads.open(destination(4_000))
    gate = rig.store.hang("abort_upload")
    writer.abort()
    await settle()
    assert len(read(tmp_path)) == 1
    gate.open()
    await rig.check_clean()
    assert read(tmp_path) == []
    rig.uploads.journal.close()


async def test_an_upload_that_cannot_be_aborted_is_left_to_the_sweeper(rig: Rig, tmp_path: Path) -> None:
    writer = await rig.uploads.open(destination(4_000))
    rig.store.fail("abort_upload", StoreRefused(reason="AccessDenied"), times=TRIES)
    writer.abort()
    assert await rig.cleanup.wait(3_600)
    assert [entry.upload_id for entry in left(tmp_path)] == ["upload-1"]
    assert len((await Sweeper(rig.store, tmp_path, age=0).sweep()).uploads) == 1
    assert rig.memory.uploads == {}
    rig.uploads.journal.close()


async def test_a_refused_create_is_over(rig: Rig, tmp_path: Path) -> None:
    rig.store.fail("create_upload", BucketNotFound())
    with pytest.raises(BucketNotFound):
        await rig.uploads.open(destination(4_000))
    assert read(tmp_path) == []
    rig.uploads.journal.close()


async def test_a_create_whose_answer_is_lost_is_left_to_the_sweeper(rig: Rig, tmp_path: Path) -> None:
    rig.store.fail("create_upload", StoreBroken(ambiguous=True), after=True)
    with pytest.raises(StoreError):
        await rig.uploads.open(destination(4_000))
    assert len(rig.memory.uploads) == len(left(tmp_path)) == 1
    await Sweeper(rig.store, tmp_path, age=0).sweep()
    assert rig.memory.uploads == {}
    rig.uploads.journal.close()


class Twice(MemoryStore):
    """A store whose first answer to each create is lost, and whose client asks again."""

    async def create_upload(self, path: ObjectPath, attributes: ObjectAttributes) -> MultipartUpload:
        """See `ObjectStore.create_upload`."""
        await super().create_upload(path, attributes)
        second = await super().create_upload(path, attributes)
        return MultipartUpload(second.path, second.upload_id, retried=True)


async def test_the_upload_nobody_knows_after_a_retried_create_is_left_to_the_sweeper(tmp_path: Path) -> None:
    rig = Rig(Twice())
    rig.uploads.journal = Journal(tmp_path)
    writer = await rig.uploads.open(destination())
    await writer.write(LARGE)
    swept = (await Sweeper(rig.store, tmp_path, age=0).sweep()).uploads
    assert [upload.upload_id for upload in swept] == ["upload-1"]
    await writer.commit()
    assert rig.memory.data("bucket", "key") == LARGE
    assert rig.memory.uploads == {}
    rig.uploads.journal.close()


async def test_a_journal_that_cannot_be_written_stops_no_upload(tmp_path: Path) -> None:
    rig = Rig()
    rig.uploads.journal = Journal(tmp_path / "nowhere")
    writer = await rig.uploads.open(destination())
    await writer.write(LARGE)
    await writer.commit()
    assert rig.memory.data("bucket", "key") == LARGE
