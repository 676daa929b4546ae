"""Uploads from their first byte to the object, or to nothing: plans, checksums, faults, and aborts at every moment."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
from pathlib import Path
from typing import Any

import pytest

from s3proxy.errors import (
    BadRequest,
    BucketNotFound,
    Busy,
    ChecksumMismatch,
    ObjectNotFound,
    StoreBroken,
    StoreError,
    StorePreconditionFailed,
    StoreRefused,
    StoreTimeout,
    TooLarge,
    UploadNotFound,
    WriteConflict,
)
from s3proxy.protocol.checksums import ChecksumAlgorithm, ClientDigests, multipart_etag
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.parts import ROUND, PartPolicy
from s3proxy.store.contract import MultipartUpload, ObjectAttributes, StoredObject, WriteConditions
from s3proxy.transfer import spool
from s3proxy.transfer.budget import BLOCK_SIZE, GRANT_TIMEOUT, PATIENCE
from s3proxy.transfer.destination import Destination, Receipt
from s3proxy.transfer.part import Withdrawn
from s3proxy.transfer.writer import ObjectWriter, State
from tests.bodies import checksum_of, crc32_of, pattern
from tests.fakes import Gate, MemoryStore, Operation
from tests.loop import settle, steps, virtual_loop
from tests.transfer.rig import MIB, PATH, Rig, destination

ONLY_NEW = WriteConditions(if_none_match="*")


async def upload(rig: Rig, data: bytes, to: Destination | None = None, *, chunk_size: int = 700) -> Receipt:
    """From `open` to `commit`, and an abort on every other way out, as handlers do it."""
    writer = await rig.uploads.open(to or destination())
    try:
        for start in range(0, len(data), chunk_size):
            await writer.write(data[start : start + chunk_size])
        return await writer.commit()
    finally:
        writer.abort()


async def nothing_stored(rig: Rig, path: ObjectPath = PATH) -> None:
    await rig.check_clean()
    assert path not in rig.memory.objects
    assert rig.memory.uploads == {}
    assert rig.memory.misuse == []


async def whole_object(rig: Rig, data: bytes, path: ObjectPath = PATH) -> None:
    await rig.check_clean()
    assert rig.memory.objects[path].data == data
    assert rig.memory.uploads == {}
    assert rig.memory.misuse == []


class TestPlans:
    """Parts of 1,000 bytes, one request up to 2,500, at most five parts."""

    @pytest.mark.parametrize(
        ("size", "parts"),
        [
            (0, ()),
            (1, ()),
            (999, ()),
            (2_499, ()),
            (2_500, ()),
            (2_501, (2_500, 1)),
            # With five parts the size doubles at each.
            (4_499, (2_500, 1_999)),
            (4_500, (2_500, 2_000)),
            (4_501, (2_500, 2_000, 1)),
            (8_501, (2_500, 2_000, 4_000, 1)),
        ],
    )
    @pytest.mark.parametrize("chunk_size", [13, 700, 10_000])
    async def test_an_unknown_length(self, size: int, parts: tuple[int, ...], chunk_size: int) -> None:
        rig = Rig()
        receipt = await upload(rig, pattern(size), chunk_size=chunk_size)
        await whole_object(rig, pattern(size))
        kept = rig.memory.objects[PATH]
        assert kept.part_sizes == parts
        assert receipt == Receipt(path=PATH, size=size, etag=kept.info.etag, checksum=checksum_of(pattern(size)))
        assert kept.info.checksum == checksum_of(pattern(size))

    @pytest.mark.parametrize(
        ("size", "parts"),
        [
            (0, ()),
            (1, ()),
            (2_500, ()),
            (2_501, (1_000, 1_000, 501)),
            (4_999, (1_000, 1_000, 1_000, 1_000, 999)),
            (5_000, (1_000, 1_000, 1_000, 1_000, 1_000)),
            # Over five parts of 1,000 they all grow, to multiples of 256 KiB where the store takes parts that large.
            (5_001, (5_001,)),
            (5 * ROUND, (ROUND,) * 5),
            (5 * ROUND + 1, (2 * ROUND, 2 * ROUND, ROUND + 1)),
            (4_999_999, (1_000_000, 1_000_000, 1_000_000, 1_000_000, 999_999)),
            (5_000_000, (1_000_000,) * 5),
        ],
    )
    async def test_a_known_length(self, size: int, parts: tuple[int, ...]) -> None:
        rig = Rig(budget=64 * MIB)
        await upload(rig, pattern(size), destination(size), chunk_size=100_000)
        await whole_object(rig, pattern(size))
        assert rig.memory.objects[PATH].part_sizes == parts

    async def test_a_known_length_over_the_limit_is_refused_before_anything_is_done(self) -> None:
        rig = Rig()
        with pytest.raises(TooLarge):
            await rig.uploads.open(destination(5_000_001))
        assert rig.memory.calls.total() == 0

    async def test_a_known_length_over_the_put_limit_is_created_before_the_first_byte(self) -> None:
        rig = Rig()
        writer = await rig.uploads.open(destination(2_501))
        assert len(rig.memory.uploads) == 1
        writer.abort()
        await nothing_stored(rig)

    async def test_a_missing_bucket_is_refused_before_the_first_byte(self) -> None:
        rig = Rig()
        with pytest.raises(BucketNotFound):
            await rig.uploads.open(destination(2_501, path=ObjectPath("nowhere", "key")))
        await nothing_stored(rig)

    async def test_a_missing_bucket_is_found_by_the_commit_of_a_small_object(self) -> None:
        rig = Rig()
        with pytest.raises(BucketNotFound):
            await upload(rig, b"x", destination(path=ObjectPath("nowhere", "key")))
        await nothing_stored(rig)

    async def test_a_missing_bucket_is_found_by_the_first_part(self) -> None:
        rig = Rig()
        with pytest.raises(BucketNotFound):
            await upload(rig, pattern(5_000), destination(path=ObjectPath("nowhere", "key")))
        await nothing_stored(rig)

    @pytest.mark.parametrize("over", [0, 1])
    async def test_an_unknown_length_ends_where_the_parts_do(self, over: int) -> None:
        rig = Rig(policy=PartPolicy(part_size=1_000, put_limit=1_000, max_parts=5, max_part_size=2_000))
        most = rig.uploads.policy.plan(None).max_size
        data = pattern(most + over)
        if over:
            with pytest.raises(TooLarge):
                await upload(rig, data)
            await nothing_stored(rig)
        else:
            await upload(rig, data)
            await whole_object(rig, data)
            assert len(rig.memory.objects[PATH].part_sizes) == 5

    async def test_the_largest_object_is_a_limit_of_its_own(self) -> None:
        policy = PartPolicy(part_size=1_000, put_limit=2_500, max_object_size=3_000)
        for size in (2_999, 3_000):
            rig = Rig(policy=policy)
            await upload(rig, pattern(size))
            await whole_object(rig, pattern(size))
        rig = Rig(policy=policy)
        with pytest.raises(TooLarge):
            await upload(rig, pattern(3_001))
        await nothing_stored(rig)

    async def test_equal_parts_stay_equal(self) -> None:
        rig = Rig(policy=PartPolicy(part_size=1_000, put_limit=2_500, equal_parts=True))
        await upload(rig, pattern(4_321))
        await whole_object(rig, pattern(4_321))
        assert rig.memory.objects[PATH].part_sizes == (1_000, 1_000, 1_000, 1_000, 321)

    @pytest.mark.parametrize("size", [BLOCK_SIZE, 3 * BLOCK_SIZE - 1, 3 * BLOCK_SIZE, 7 * BLOCK_SIZE + 5])
    async def test_parts_of_many_blocks(self, size: int) -> None:
        rig = Rig(policy=PartPolicy(part_size=3 * BLOCK_SIZE // 2, put_limit=3 * BLOCK_SIZE // 2))
        rig.memory.body_reads = 2
        await upload(rig, pattern(size), chunk_size=100_000)
        await whole_object(rig, pattern(size))

    async def test_the_attributes_are_kept(self) -> None:
        attributes = ObjectAttributes(content_type="text/css", metadata={"a": "b"})
        for size in (10, 5_000):
            rig = Rig()
            await upload(rig, pattern(size), destination(attributes=attributes))
            assert rig.memory.objects[PATH].info.attributes == attributes

    @pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
    @pytest.mark.parametrize("size", [0, 2_500, 5_000])
    async def test_every_checksum_is_of_the_whole(self, algorithm: ChecksumAlgorithm, size: int) -> None:
        rig = Rig(algorithm=algorithm)
        receipt = await upload(rig, pattern(size))
        await whole_object(rig, pattern(size))
        # The store has verified it; none was given for NONE.
        assert (receipt.checksum is None) == (algorithm is ChecksumAlgorithm.NONE)
        assert receipt.checksum == rig.memory.objects[PATH].info.checksum
        if algorithm is ChecksumAlgorithm.CRC32:
            assert receipt.checksum == crc32_of(pattern(size))

    async def test_every_part_has_its_own_checksum(self) -> None:
        rig = Rig()
        gate = rig.store.hang("complete_upload")
        task = asyncio.create_task(upload(rig, pattern(5_000)))
        await gate.reached.wait()
        (known,) = rig.memory.uploads.values()
        assert all(part.checksum == checksum_of(data) for data, part in known.parts.values())
        gate.open()
        await task


class TestRoom:
    """Where a connection may receive what is written next."""

    PART = 2 * BLOCK_SIZE

    def rig(self) -> Rig:
        return Rig(budget=16 * BLOCK_SIZE, policy=PartPolicy(part_size=self.PART, put_limit=self.PART))

    @pytest.mark.parametrize("declared", [True, False])
    async def test_an_object_may_be_received_there(self, declared: bool) -> None:
        rig, data = self.rig(), pattern(7 * BLOCK_SIZE + 5)
        writer = await rig.uploads.open(destination(len(data) if declared else None))
        copied = 0
        while writer.size < len(data):
            room = writer.room()
            rest = data[writer.size :][: BLOCK_SIZE // 3 if room is None else len(room)]
            if room is None:
                copied += len(rest)
                await writer.write(rest)
            else:
                room[: len(rest)] = rest
                await writer.write(room[: len(rest)])
        receipt = await writer.commit()
        assert receipt.checksum == checksum_of(data)
        await whole_object(rig, data)
        # With a declared length a part has its memory before its bytes come.
        assert copied <= BLOCK_SIZE // 3 * (1 if declared else 4)

    async def test_memory_is_granted_for_no_more_than_is_to_come(self) -> None:
        rig = self.rig()
        writer = await rig.uploads.open(destination(2 * self.PART))
        await writer.write(pattern(self.PART))
        assert rig.budget.granted >= self.PART
        gate = rig.store.hang("complete_upload")
        await writer.write(pattern(self.PART))
        task = asyncio.create_task(writer.commit())
        await gate.reached.wait()
        assert rig.budget.granted == 0
        gate.open()
        await task
        await whole_object(rig, pattern(self.PART) * 2)
        assert rig.memory.objects[PATH].part_sizes == (self.PART, self.PART)

    @pytest.mark.parametrize("end", ["abort", "commit"])
    async def test_there_is_none_when_it_is_over(self, end: str) -> None:
        rig = self.rig()
        writer = await rig.uploads.open(destination())
        assert writer.room() is None
        await writer.write(pattern(1_000))
        assert writer.room() is not None
        if end == "commit":
            await writer.commit()
        else:
            writer.abort()
        assert writer.room() is None
        await rig.check_clean()


class TestAdopt:
    """A part gathered before the upload began: here 2,500 bytes at most are in the first."""

    @pytest.mark.parametrize("held", [0, 1, 2_499, 2_500])
    @pytest.mark.parametrize("more", [0, 1, 5_000])
    @pytest.mark.parametrize("capacity", [2_500, 4_000, BLOCK_SIZE, MIB])
    async def test_it_is_the_first_part(self, held: int, more: int, capacity: int) -> None:
        rig = Rig()
        data = pattern(held + more)
        part = rig.part(capacity)
        await part.append(memoryview(data)[:held])
        writer = await rig.uploads.open(destination())
        assert writer.adopt(part)
        await writer.write(data[held:])
        receipt = await writer.commit()
        assert receipt.size == len(data)
        assert receipt.checksum == checksum_of(data)
        await whole_object(rig, data)

    @pytest.mark.parametrize("capacity", [BLOCK_SIZE, BLOCK_SIZE + 1_000, 2 * BLOCK_SIZE])
    @pytest.mark.parametrize("held", [100_000, BLOCK_SIZE])
    async def test_a_part_of_blocks_grows_to_be_the_first(self, capacity: int, held: int) -> None:
        rig = Rig(policy=PartPolicy(part_size=3 * BLOCK_SIZE, put_limit=3 * BLOCK_SIZE))
        data = pattern(7 * BLOCK_SIZE)
        part = rig.part(capacity)
        await part.append(memoryview(data)[:held])
        writer = await rig.uploads.open(destination())
        assert writer.adopt(part)
        await writer.write(data[held:])
        await writer.commit()
        await whole_object(rig, data)

    async def test_a_part_that_is_too_large_is_not(self) -> None:
        rig = Rig()
        part = rig.part(4_000)
        await part.append(memoryview(pattern(2_501)))
        writer = await rig.uploads.open(destination())
        assert not writer.adopt(part)
        part.release()
        writer.abort()
        await nothing_stored(rig)

    async def test_bytes_a_digest_has_not_seen_are_not(self) -> None:
        rig = Rig()
        part = rig.part(10)
        await part.append(memoryview(b"x"))
        writer = await rig.uploads.open(destination(digests=digests(b"x", "Content-MD5")))
        assert not writer.adopt(part)
        part.release()
        writer.abort()
        await nothing_stored(rig)

    async def test_it_goes_with_an_abort(self) -> None:
        rig = Rig()
        part = rig.part(4_000)
        await part.append(memoryview(pattern(2_000)))
        writer = await rig.uploads.open(destination())
        assert writer.adopt(part)
        writer.abort()
        await nothing_stored(rig)


class TestDeclaredSize:
    @pytest.mark.parametrize(
        ("declared", "sent"), [(10, 9), (10, 0), (10, 11), (2_501, 2_500), (5_000, 4_999), (5_000, 0)]
    )
    async def test_another_size_stores_nothing(self, declared: int, sent: int) -> None:
        rig = Rig()
        with pytest.raises(BadRequest):
            await upload(rig, pattern(sent), destination(declared))
        await nothing_stored(rig)


def digests(data: bytes, header: str) -> ClientDigests:
    values = {
        "Content-MD5": base64.b64encode(hashlib.md5(data).digest()).decode(),
        "Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:",
        "X-Amz-Checksum-Crc64nvme": checksum_of(data).value,
    }
    return ClientDigests.from_headers({header: values[header]})


@pytest.mark.parametrize("header", ["Content-MD5", "Content-Digest", "X-Amz-Checksum-Crc64nvme"])
@pytest.mark.parametrize("size", [0, 100, 2_500, 2_501, 5_000])
class TestClientDigests:
    async def test_a_right_one_is_stored(self, header: str, size: int) -> None:
        rig = Rig()
        await upload(rig, pattern(size), destination(digests=digests(pattern(size), header)))
        await whole_object(rig, pattern(size))

    async def test_a_wrong_one_stores_nothing(self, header: str, size: int) -> None:
        rig = Rig()
        with pytest.raises(ChecksumMismatch):
            await upload(rig, pattern(size), destination(digests=digests(b"another", header)))
        await nothing_stored(rig)
        assert rig.memory.calls["put"] + rig.memory.calls["complete_upload"] == 0


class TestConditions:
    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_only_new_leaves_what_is_there(self, size: int) -> None:
        rig = Rig()
        rig.memory.seed("bucket", "key", b"old")
        with pytest.raises(StorePreconditionFailed):
            await upload(rig, pattern(size), destination(conditions=ONLY_NEW))
        await whole_object(rig, b"old")

    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_if_match_replaces_that_version(self, size: int) -> None:
        rig = Rig()
        etag = rig.memory.seed("bucket", "key", b"old").etag
        await upload(rig, pattern(size), destination(conditions=WriteConditions(if_match=etag)))
        await whole_object(rig, pattern(size))

    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_of_two_that_want_to_be_the_first_one_is(self, size: int) -> None:
        rig = Rig()
        results = await asyncio.gather(
            *(upload(rig, pattern(size, seed), destination(conditions=ONLY_NEW)) for seed in range(3)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, StorePreconditionFailed) for result in results) == 2
        (winner,) = [seed for seed, result in enumerate(results) if isinstance(result, Receipt)]
        await whole_object(rig, pattern(size, winner))


class TestWindow:
    @pytest.mark.parametrize("window", [1, 2, 4])
    async def test_so_many_parts_are_on_their_way_and_no_more(self, window: int) -> None:
        rig = Rig(window=window, policy=PartPolicy(part_size=1_000, put_limit=1_000))
        rig.store.seconds["put_part"] = 1.0
        await upload(rig, pattern(20_000))
        await whole_object(rig, pattern(20_000))
        assert rig.store.most_under_way["put_part"] == window

    async def test_a_stalled_store_stops_the_writer(self) -> None:
        rig = Rig(window=2, policy=PartPolicy(part_size=1_000, put_limit=1_000))
        gate = rig.store.hang("put_part", times=100)
        writer = await rig.uploads.open(destination())
        task = asyncio.create_task(writer.write(pattern(50_000)))
        await settle()
        # Two parts on their way, and the third is full.
        assert writer.size == 3_000
        assert rig.budget.granted == 3_000
        assert not task.done()
        await asyncio.sleep(1_000)
        assert writer.size == 3_000
        gate.open()
        await task
        await writer.commit()
        await whole_object(rig, pattern(50_000))

    async def test_large_parts_hold_half_the_budget_and_no_more(self) -> None:
        rig = Rig(budget=16 * BLOCK_SIZE, window=8, policy=PartPolicy(part_size=3 * BLOCK_SIZE, put_limit=BLOCK_SIZE))
        gate = rig.store.hang("put_part", times=100)
        writer = await rig.uploads.open(destination())
        task = asyncio.create_task(writer.write(pattern(40 * BLOCK_SIZE)))
        await settle()
        assert rig.store.most_under_way["put_part"] == 2
        assert rig.budget.granted <= rig.budget.size // 2 + 3 * BLOCK_SIZE
        gate.open()
        await task
        await writer.commit()
        await whole_object(rig, pattern(40 * BLOCK_SIZE))

    async def test_a_part_larger_than_that_goes_alone(self) -> None:
        rig = Rig(budget=16 * BLOCK_SIZE, window=8, policy=PartPolicy(part_size=12 * BLOCK_SIZE, put_limit=BLOCK_SIZE))
        await upload(rig, pattern(30 * BLOCK_SIZE), destination(30 * BLOCK_SIZE), chunk_size=100_000)
        await whole_object(rig, pattern(30 * BLOCK_SIZE))
        assert rig.memory.most_under_way["put_part"] == 1

    async def test_many_uploads_to_a_stalled_store_stay_within_the_budget(self, tmp_path: Path) -> None:
        rig = Rig(
            budget=16 * BLOCK_SIZE,
            window=3,
            spool=tmp_path,
            policy=PartPolicy(part_size=2 * BLOCK_SIZE, put_limit=2 * BLOCK_SIZE),
        )
        gate = rig.store.hang("put_part", times=1_000)
        size = 9 * BLOCK_SIZE + 77
        tasks = [
            asyncio.create_task(
                upload(rig, pattern(size, seed), destination(path=ObjectPath("bucket", str(seed))), chunk_size=100_000)
            )
            for seed in range(12)
        ]
        for _ in range(50):
            await steps(20)
            assert rig.budget.granted <= rig.budget.size
        await settle()
        assert rig.budget.granted <= rig.budget.size
        gate.open()
        await asyncio.gather(*tasks)
        for seed in range(12):
            await whole_object(rig, pattern(size, seed), ObjectPath("bucket", str(seed)))

    async def test_a_store_that_stalls_for_too_long_makes_new_uploads_busy(self) -> None:
        rig = Rig(budget=4 * BLOCK_SIZE, policy=PartPolicy(part_size=BLOCK_SIZE, put_limit=BLOCK_SIZE))
        gate = rig.store.hang("put_part", times=1_000)
        stalled = [asyncio.create_task(upload(rig, pattern(4 * BLOCK_SIZE))) for _ in range(2)]
        await asyncio.sleep(2 * GRANT_TIMEOUT)
        with pytest.raises(Busy):
            await upload(rig, b"x", destination(path=ObjectPath("bucket", "late")))
        gate.open()
        await asyncio.gather(*stalled, return_exceptions=True)
        await rig.check_clean()
        assert rig.memory.uploads == {}

    async def test_slow_uploads_are_spooled_and_fast_ones_go_by(self, tmp_path: Path) -> None:
        policy = PartPolicy(part_size=4 * BLOCK_SIZE, put_limit=4 * BLOCK_SIZE)
        rig = Rig(budget=8 * BLOCK_SIZE, spool=tmp_path, policy=policy)
        slow = [await rig.uploads.open(destination(path=ObjectPath("bucket", f"slow-{n}"))) for n in range(20)]
        for seed, writer in enumerate(slow):
            await writer.write(pattern(300_000, seed)[:200_000])
        await upload(rig, pattern(6 * BLOCK_SIZE), chunk_size=100_000)
        assert rig.memory.data("bucket", "key") == pattern(6 * BLOCK_SIZE)
        assert rig.spool.used > 0
        for seed, writer in enumerate(slow):
            await writer.write(pattern(300_000, seed)[200_000:])
            await writer.commit()
        for seed in range(20):
            await whole_object(rig, pattern(300_000, seed), ObjectPath("bucket", f"slow-{seed}"))


class TestPartFailure:
    @pytest.mark.parametrize("nth", [1, 2, 3])
    @pytest.mark.parametrize("after", [False, True])
    async def test_a_part_that_fails_fails_the_upload(self, nth: int, after: bool) -> None:
        rig = Rig()
        rig.store.fail("put_part", StoreTimeout(), nth=nth, after=after)
        with pytest.raises(StoreTimeout):
            await upload(rig, pattern(6_000))
        await nothing_stored(rig)

    async def test_the_first_failure_is_told(self) -> None:
        rig = Rig(window=3)
        rig.store.fail("put_part", StoreTimeout(), nth=2)
        rig.store.fail("put_part", StoreRefused(), nth=3, times=10)
        with pytest.raises(StoreTimeout):
            await upload(rig, pattern(6_000))
        await nothing_stored(rig)

    async def test_the_next_write_tells_it(self) -> None:
        rig = Rig()
        rig.store.fail("put_part", StoreTimeout())
        writer = await rig.uploads.open(destination())
        await writer.write(pattern(2_600))
        await settle()
        with pytest.raises(StoreTimeout):
            await writer.write(b"more")
        writer.abort()
        await nothing_stored(rig)

    async def test_commit_tells_it_and_aborts(self) -> None:
        rig = Rig()
        rig.store.fail("put_part", StoreTimeout())
        writer = await rig.uploads.open(destination())
        await writer.write(pattern(2_600))
        await settle()
        with pytest.raises(StoreTimeout):
            await writer.commit()
        await nothing_stored(rig)
        assert writer.state is State.ABORTED

    async def test_a_create_that_fails_is_told(self) -> None:
        rig = Rig()
        rig.store.fail("create_upload", StoreTimeout())
        with pytest.raises(StoreTimeout):
            await upload(rig, pattern(6_000))
        await nothing_stored(rig)

    async def test_a_store_that_breaks_its_promise_cannot_make_a_hole(self) -> None:
        class Broken(MemoryStore):
            async def put_part(self, upload: MultipartUpload, number: int, *arguments: Any, **options: Any) -> Any:
                if number == 2:
                    raise KeyError("a bug")
                return await super().put_part(upload, number, *arguments, **options)

        rig = Rig(Broken(), algorithm=ChecksumAlgorithm.NONE)
        with pytest.raises(StoreBroken):
            await upload(rig, pattern(6_000))
        await nothing_stored(rig)
        gc.collect(1)
        virtual_loop().faults.clear()


class TestCommitFailure:
    @pytest.mark.parametrize("fault", [StoreRefused(reason="AccessDenied"), StorePreconditionFailed(), WriteConflict()])
    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_a_plain_refusal_is_believed(self, fault: StoreError, size: int) -> None:
        rig = Rig()
        rig.store.fail("put", fault)
        rig.store.fail("complete_upload", fault)
        with pytest.raises(type(fault)):
            await upload(rig, pattern(size))
        await nothing_stored(rig)
        assert rig.store.calls["head"] == 0

    @pytest.mark.parametrize(
        "fault",
        [
            StoreTimeout(ambiguous=True),
            StoreBroken(ambiguous=True),
            StorePreconditionFailed(ambiguous=True),
            UploadNotFound(),
            UploadNotFound(ambiguous=True),
        ],
    )
    @pytest.mark.parametrize("size", [0, 100, 5_000])
    async def test_a_lost_answer_of_a_success_is_a_success(self, fault: StoreError, size: int) -> None:
        rig = Rig()
        rig.store.fail("put", fault, after=True)
        rig.store.fail("complete_upload", fault, after=True)
        receipt = await upload(rig, pattern(size), destination(conditions=ONLY_NEW))
        await whole_object(rig, pattern(size))
        assert receipt.etag == rig.memory.objects[PATH].info.etag
        assert receipt.checksum == checksum_of(pattern(size))
        assert rig.store.calls["head"] == 1

    @pytest.mark.parametrize("fault", [StoreTimeout(ambiguous=True), UploadNotFound()])
    @pytest.mark.parametrize("size", [0, 100, 5_000])
    async def test_a_lost_answer_of_a_failure_is_a_failure(self, fault: StoreError, size: int) -> None:
        rig = Rig()
        rig.store.fail("put", fault)
        rig.store.fail("complete_upload", fault)
        with pytest.raises(type(fault)):
            await upload(rig, pattern(size))
        await nothing_stored(rig)

    @pytest.mark.parametrize("fault", [StoreTimeout(ambiguous=True), StorePreconditionFailed(ambiguous=True)])
    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_an_object_of_the_same_size_that_is_not_ours_is_not_taken_for_it(
        self, fault: StoreError, size: int
    ) -> None:
        rig = Rig()
        rig.memory.seed("bucket", "key", pattern(size, seed=1))
        rig.store.fail("put", fault)
        rig.store.fail("complete_upload", fault)
        with pytest.raises(type(fault)):
            await upload(rig, pattern(size))
        await whole_object(rig, pattern(size, seed=1))

    async def test_a_multipart_etag_proves_it_where_there_is_no_checksum(self) -> None:
        rig = Rig(algorithm=ChecksumAlgorithm.NONE)
        rig.store.fail("complete_upload", StoreTimeout(ambiguous=True), after=True)
        receipt = await upload(rig, pattern(5_000))
        await whole_object(rig, pattern(5_000))
        assert receipt.etag == rig.memory.objects[PATH].info.etag

    async def test_without_proof_it_is_a_failure(self) -> None:
        rig = Rig(algorithm=ChecksumAlgorithm.NONE)
        rig.store.fail("put", StoreTimeout(ambiguous=True), after=True)
        with pytest.raises(StoreTimeout):
            await upload(rig, b"x")
        await rig.check_clean()

    @pytest.mark.parametrize("fault", [ObjectNotFound(), StoreTimeout(), StoreRefused()])
    async def test_a_look_that_fails_tells_of_the_commit(self, fault: StoreError) -> None:
        rig = Rig()
        rig.store.fail("complete_upload", StoreBroken(ambiguous=True, reason="first"), after=True)
        rig.store.fail("head", fault)
        with pytest.raises(StoreBroken) as told:
            await upload(rig, pattern(5_000))
        assert told.value.reason == "first"
        await rig.check_clean()

    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_a_store_that_holds_other_bytes_is_not_believed(self, size: int) -> None:
        class Lying(MemoryStore):
            async def put(self, *arguments: Any, **options: Any) -> StoredObject:
                stored = await super().put(*arguments, **options)
                return StoredObject(stored.etag, checksum_of(b"other"))

            async def complete_upload(self, *arguments: Any, **options: Any) -> StoredObject:
                stored = await super().complete_upload(*arguments, **options)
                return StoredObject(stored.etag, checksum_of(b"other"))

        rig = Rig(Lying())
        with pytest.raises(StoreBroken):
            await upload(rig, pattern(size))
        await rig.check_clean()


class TestUse:
    async def test_nothing_can_be_written_after_an_abort(self) -> None:
        rig = Rig()
        writer = await rig.uploads.open(destination())
        await writer.write(b"x")
        writer.abort()
        with pytest.raises(Withdrawn):
            await writer.write(b"x")
        with pytest.raises(Withdrawn):
            await writer.commit()
        await nothing_stored(rig)

    async def test_nothing_can_be_written_after_a_commit(self) -> None:
        rig = Rig()
        writer = await rig.uploads.open(destination())
        await writer.commit()
        with pytest.raises(Withdrawn):
            await writer.write(b"x")
        with pytest.raises(Withdrawn):
            await writer.commit()
        writer.abort()
        await whole_object(rig, b"")

    async def test_an_abort_may_be_repeated(self) -> None:
        rig = Rig()
        writer = await rig.uploads.open(destination(5_000))
        for _ in range(3):
            writer.abort()
        await nothing_stored(rig)
        assert rig.store.calls["abort_upload"] == 1

    async def test_an_abort_waits_for_nobody(self) -> None:
        rig = Rig()
        gate = rig.store.hang("put_part", times=10)
        writer = await rig.uploads.open(destination())
        await writer.write(pattern(3_600))
        await gate.reached.wait()
        writer.abort()
        assert writer.state is State.ABORTED
        await settle()
        assert rig.store.calls["abort_upload"] == 0, "a part is under way"
        gate.open()
        await nothing_stored(rig)
        assert rig.store.calls["abort_upload"] == 1

    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_a_commit_goes_on_when_its_caller_is_cancelled(self, size: int) -> None:
        rig = Rig()
        gate = rig.store.hang("put" if size == 100 else "complete_upload")
        task = asyncio.create_task(upload(rig, pattern(size)))
        await gate.reached.wait()
        task.cancel()
        await settle()
        assert task.cancelled()
        assert not await rig.cleanup.wait(10), "a shutdown must know of it"
        assert rig.store.calls["abort_upload"] == 0
        assert rig.budget.granted > 0 or size == 5_000, "the body is still being read"
        gate.open()
        await whole_object(rig, pattern(size))

    @pytest.mark.parametrize("size", [100, 5_000])
    async def test_a_commit_that_fails_after_its_caller_was_cancelled_is_undone(self, size: int) -> None:
        rig = Rig()
        operation: Operation = "put" if size == 100 else "complete_upload"
        rig.store.fail(operation, StoreBroken())
        gate = rig.store.hang(operation)
        task = asyncio.create_task(upload(rig, pattern(size)))
        await settle()
        task.cancel()
        await settle()
        gate.open()
        await nothing_stored(rig)

    async def test_an_upload_that_was_being_created_is_aborted_when_it_is_known(self) -> None:
        rig = Rig()
        gate = rig.store.hang("create_upload", after=True)
        opening = asyncio.create_task(rig.uploads.open(destination(5_000)))
        await gate.reached.wait()
        opening.cancel()
        await settle()
        assert len(rig.memory.uploads) == 1
        gate.open()
        await nothing_stored(rig)

    async def test_aborts_are_repeated_until_the_upload_is_gone(self) -> None:
        rig = Rig()
        rig.store.fail("abort_upload", StoreTimeout(), times=3)
        writer = await rig.uploads.open(destination(5_000))
        await writer.write(pattern(3_000))
        writer.abort()
        await nothing_stored(rig)

    async def test_a_waiting_write_is_told_of_the_abort(self) -> None:
        rig = Rig(window=1)
        gate = rig.store.hang("put_part", times=10)
        writer = await rig.uploads.open(destination())
        writing = asyncio.create_task(writer.write(pattern(6_000)))
        await gate.reached.wait()
        await settle()
        writer.abort()
        gate.open()
        with pytest.raises(Withdrawn):
            await writing
        assert rig.store.calls["put_part"] == 1
        await nothing_stored(rig)


SIZES = [100, 2_501, 6_000]


class Client:
    """One that may leave, and what a handler does when it has."""

    def __init__(self, rig: Rig, to: Destination, data: bytes) -> None:
        self._rig = rig
        self._to = to
        self._data = data
        self._writer: ObjectWriter | None = None
        self._left = False

    async def send(self) -> Receipt:
        self._writer = writer = await self._rig.uploads.open(self._to)
        if self._left:
            writer.abort()
        for start in range(0, len(self._data), 700):
            await writer.write(self._data[start : start + 700])
        return await writer.commit()

    def leave(self) -> None:
        self._left = True
        if self._writer is not None:
            self._writer.abort()


class TestAbortAtEveryStep:
    """The client leaves after any number of steps of the loop: the object is there whole, or there is nothing."""

    async def outcome(self, rig: Rig, data: bytes, finished: bool, path: ObjectPath = PATH) -> bool:
        await rig.check_clean()
        assert rig.memory.uploads == {}
        assert rig.memory.misuse == []
        kept = rig.memory.objects.get(path)
        assert kept is None or kept.data == data
        if finished:
            assert kept is not None
        return kept is not None

    @pytest.mark.parametrize("known", [False, True])
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("way", ["abort", "cancel", "cancel and abort"])
    async def test_of_the_whole_upload(self, size: int, way: str, known: bool) -> None:
        data = pattern(size)
        outcomes = set()
        for count in range(1_000):
            rig = Rig(window=2)
            client = Client(rig, destination(size if known else None), data)
            task = asyncio.create_task(client.send())
            await steps(count)
            done = task.done()
            if "cancel" in way:
                task.cancel()
            if "abort" in way:
                client.leave()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            client.leave()
            finished = isinstance(result, Receipt)
            assert finished or isinstance(result, Withdrawn | asyncio.CancelledError)
            outcomes.add(await self.outcome(rig, data, finished))
            if done:
                break
        assert done, "it never ended by itself"
        assert outcomes == {True, False}

    @pytest.mark.parametrize("operation", ["create_upload", "put_part", "complete_upload", "put", "head"])
    @pytest.mark.parametrize("after", [False, True])
    async def test_while_a_call_hangs(self, operation: str, after: bool) -> None:
        size = 100 if operation == "put" else 6_000
        data = pattern(size)
        for nth in (1, 2, 3):
            rig = Rig(window=2)
            if operation == "head":
                rig.store.fail("complete_upload", StoreTimeout(ambiguous=True), after=True)
            gate: Gate = rig.store.hang(operation, nth=nth, after=after)  # type: ignore[arg-type]
            writer = await rig.uploads.open(destination())

            async def transfer(writer: ObjectWriter = writer) -> Receipt:
                await writer.write(data)
                return await writer.commit()

            task = asyncio.create_task(transfer())
            await settle()
            if not gate.reached.is_set():
                await task
                continue
            writer.abort()
            await settle()
            gate.open()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            await self.outcome(rig, data, isinstance(result, Receipt))

    @pytest.mark.parametrize("size", [100, BLOCK_SIZE, 5 * BLOCK_SIZE])
    async def test_while_memory_is_scarce_and_slow_parts_are_spooled(
        self, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool, "GATHER_SECONDS", 0.0)
        data = pattern(size)
        policy = PartPolicy(part_size=2 * BLOCK_SIZE, put_limit=2 * BLOCK_SIZE)
        for count in range(1_000):
            rig = Rig(budget=4 * BLOCK_SIZE, spool=tmp_path, policy=policy, window=2)
            others = [await rig.uploads.open(destination(path=ObjectPath("bucket", str(n)))) for n in range(8)]
            for other in others:
                await other.write(pattern(100_000))
            await asyncio.sleep(PATIENCE)
            writer = await rig.uploads.open(destination())

            async def transfer(writer: ObjectWriter = writer) -> Receipt:
                for start in range(0, size, 200_000):
                    await writer.write(data[start : start + 200_000])
                return await writer.commit()

            task = asyncio.create_task(transfer())
            await steps(count)
            done = task.done()
            writer.abort()
            for other in others:
                other.abort()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            assert isinstance(result, Receipt | Withdrawn)
            await settle()  # The thread that spools may be a step behind.
            await self.outcome(rig, data, isinstance(result, Receipt))
            if done:
                break
        assert done

    async def test_while_a_part_fails(self) -> None:
        for nth in range(1, 4):
            for count in range(60):
                rig = Rig(window=2)
                rig.store.fail("put_part", StoreTimeout(), nth=nth)
                writer = await rig.uploads.open(destination())

                async def transfer(writer: ObjectWriter = writer) -> Receipt:
                    await writer.write(pattern(6_000))
                    return await writer.commit()

                task = asyncio.create_task(transfer())
                await steps(count)
                writer.abort()
                await asyncio.gather(task, return_exceptions=True)
                await nothing_stored(rig)


class TestMultipartEtag:
    @pytest.mark.parametrize("counts", [(1,), (5, 3), (1_000, 1_000, 7)])
    async def test_it_is_what_the_store_makes(self, counts: tuple[int, ...]) -> None:
        memory = MemoryStore()
        opened = await memory.create_upload(PATH, ObjectAttributes())
        parts = []
        for number, count in enumerate(counts, 1):
            rig = Rig()
            part = rig.part(count)
            await part.append(memoryview(pattern(count, number)))
            parts.append(await memory.put_part(opened, number, part.seal()))
            part.release()
        stored = await memory.complete_upload(opened, parts, size=sum(counts))
        assert multipart_etag([part.etag for part in parts]) == stored.etag

    async def test_of_etags_that_are_no_md5_there_is_none(self) -> None:
        memory = MemoryStore()
        opened = await memory.create_upload(PATH, ObjectAttributes())
        rig = Rig()
        part = rig.part(1)
        stored = await memory.put_part(opened, 1, part.seal())
        part.release()
        encrypted = type(stored)(1, 0, '"4b4cd3b8-etag-of-kms"', None)
        assert multipart_etag([stored.etag, encrypted.etag]) is None
        await memory.abort_upload(opened)
