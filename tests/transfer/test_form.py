"""Forms: fields and files in any order, cut anywhere, stored whole or not at all."""

from __future__ import annotations

import asyncio
from itertools import permutations
from pathlib import Path

import pytest

from s3proxy.errors import (
    BadForm,
    BucketNotFound,
    EmptyFile,
    InvalidKey,
    S3ProxyError,
    StoreBroken,
    StoreError,
    StoreTimeout,
)
from s3proxy.protocol.forms import FormParser
from s3proxy.protocol.parts import PartPolicy
from s3proxy.transfer.budget import BLOCK_SIZE
from s3proxy.transfer.form import FileResult, FormUpload
from s3proxy.transfer.part import Withdrawn
from tests.bodies import checksum_of, pattern
from tests.loop import steps, virtual_loop
from tests.transfer.rig import Rig

BOUNDARY = "----boundary"
HOLD = 4_000
"""Over one part and the put limit of the rig, so that held files become multipart uploads too."""


def field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file(data: bytes, name: str = "report.txt", content_type: str = "") -> bytes:
    line = f"\r\nContent-Type: {content_type}" if content_type else ""
    head = f'Content-Disposition: form-data; name="file_request"; filename="{name}"{line}\r\n\r\n'
    return head.encode() + data


def form(*parts: bytes) -> bytes:
    mark = f"--{BOUNDARY}".encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


TO_BUCKET, TO_KEY, TO_FOLDER = (
    field("bucket_name", "bucket"),
    field("object_name", "folder/key.png"),
    field("object_name", "folder/"),
)


def begin(rig: Rig, fields: dict[str, str] | None = None, hold_limit: int = HOLD) -> FormUpload:
    parser = FormParser(f"multipart/form-data; boundary={BOUNDARY}")
    return FormUpload(parser, rig.uploads, fields or {}, hold_limit)


async def send(
    rig: Rig, body: bytes, *, chunk_size: int = 100, fields: dict[str, str] | None = None
) -> list[FileResult]:
    """The whole form, and an abort on every way out, as the handler does it."""
    upload = begin(rig, fields)
    try:
        for start in range(0, len(body), chunk_size):
            await upload.feed(body[start : start + chunk_size])
        return await upload.finish()
    finally:
        upload.abort()
        upload.abort()


def stored(rig: Rig) -> dict[str, bytes]:
    assert all(path.bucket == "bucket" for path in rig.memory.objects)
    return {path.key: kept.data for path, kept in rig.memory.objects.items()}


async def check_clean(rig: Rig) -> None:
    await rig.check_clean()
    assert rig.memory.uploads == {}
    assert rig.memory.misuse == []


class TestOneFile:
    @pytest.mark.parametrize("order", list(permutations(range(3))))
    @pytest.mark.parametrize("chunk_size", [1, 17, 1_000, 100_000])
    @pytest.mark.parametrize("size", [1, 3_999, 4_000])
    async def test_the_fields_may_come_in_any_order(self, order: tuple[int, ...], chunk_size: int, size: int) -> None:
        rig = Rig()
        parts = (TO_BUCKET, TO_KEY, file(pattern(size)))
        results = await send(rig, form(*(parts[index] for index in order)), chunk_size=chunk_size)
        assert stored(rig) == {"folder/key.png": pattern(size)}
        ((result),) = results
        assert result.file_name == "report.txt"
        assert result.receipt is not None
        assert result.receipt.size == size
        assert result.receipt.checksum == checksum_of(pattern(size))
        await check_clean(rig)

    async def test_a_file_that_comes_after_its_fields_may_be_of_any_size(self) -> None:
        rig = Rig(policy=PartPolicy(part_size=1_000, put_limit=1_000))
        await send(rig, form(TO_BUCKET, TO_KEY, file(pattern(50_000))))
        assert stored(rig) == {"folder/key.png": pattern(50_000)}
        await check_clean(rig)

    @pytest.mark.parametrize("tail", [(), (field("other", "x"),), (TO_BUCKET,)])
    async def test_a_file_over_the_limit_wants_its_fields_first(self, tail: tuple[bytes, ...]) -> None:
        rig = Rig()
        with pytest.raises(BadForm, match="before the file"):
            await send(rig, form(TO_KEY, file(pattern(HOLD + 1)), *tail))
        assert stored(rig) == {}
        await check_clean(rig)

    async def test_destination_in_the_query(self) -> None:
        rig = Rig()
        fields = {"bucket_name": "bucket", "object_name": "a/b"}
        await send(rig, form(file(pattern(10_000))), fields=fields)
        assert stored(rig) == {"a/b": pattern(10_000)}
        await check_clean(rig)

    async def test_the_same_in_query_and_form_is_no_contradiction(self) -> None:
        rig = Rig()
        await send(rig, form(file(b"x"), TO_BUCKET, TO_KEY), fields={"bucket_name": "bucket"})
        assert stored(rig) == {"folder/key.png": b"x"}

    @pytest.mark.parametrize("name", ["bucket_name", "object_name"])
    @pytest.mark.parametrize("query", [False, True])
    async def test_two_destinations_are_none(self, name: str, query: bool) -> None:
        rig = Rig()
        fields = {name: "other"} if query else {}
        other = () if query else (field(name, "other"),)
        with pytest.raises(BadForm, match=name):
            await send(rig, form(TO_BUCKET, TO_KEY, file(b"x"), *other), fields=fields)
        assert stored(rig) == {}
        await check_clean(rig)

    @pytest.mark.parametrize("missing", ["bucket_name", "object_name"])
    @pytest.mark.parametrize("empty", [False, True])
    async def test_a_missing_or_empty_field_is_named(self, missing: str, empty: bool) -> None:
        rig = Rig()
        parts = {"bucket_name": TO_BUCKET, "object_name": TO_KEY}
        parts[missing] = field(missing if empty else "other", "")
        for order in permutations([*parts.values(), file(b"x")]):
            with pytest.raises(BadForm, match=missing):
                await send(rig, form(*order))
            assert stored(rig) == {}
            await check_clean(rig)

    async def test_no_file_is_an_empty_file(self) -> None:
        rig = Rig()
        with pytest.raises(EmptyFile):
            await send(rig, form(TO_BUCKET, TO_KEY))
        await check_clean(rig)

    @pytest.mark.parametrize("name", ["report.txt", ""])
    async def test_an_empty_file_is_refused(self, name: str) -> None:
        for order in permutations([TO_BUCKET, TO_KEY, file(b"", name)]):
            rig = Rig()
            with pytest.raises(EmptyFile):
                await send(rig, form(*order))
            assert stored(rig) == {}
            await check_clean(rig)

    async def test_an_empty_input_beside_the_file_does_no_harm(self) -> None:
        for parts in permutations([file(b"", ""), file(b"x")]):
            rig = Rig()
            await send(rig, form(TO_BUCKET, TO_KEY, *parts))
            assert stored(rig) == {"folder/key.png": b"x"}
            await check_clean(rig)

    async def test_other_fields_do_no_harm(self) -> None:
        rig = Rig()
        await send(rig, form(field("csrf", "1"), TO_BUCKET, field("csrf", "2"), TO_KEY, file(b"x"), field("z", "")))
        assert stored(rig) == {"folder/key.png": b"x"}

    @pytest.mark.parametrize("first", [False, True])
    async def test_two_files_need_a_folder(self, first: bool) -> None:
        rig = Rig()
        parts = [file(b"one"), file(b"two")]
        with pytest.raises(BadForm):
            await send(rig, form(*(parts if first else []), TO_BUCKET, TO_KEY, *([] if first else parts)))
        assert stored(rig) == {}
        await check_clean(rig)

    @pytest.mark.parametrize(
        ("given", "kept"), [("text/css", "text/css"), ("", "image/png"), ("text/a; charset=b", "text/a; charset=b")]
    )
    async def test_the_type_is_the_clients_or_that_of_the_key(self, given: str, kept: str) -> None:
        for order in permutations([TO_BUCKET, TO_KEY, file(b"x", content_type=given)]):
            rig = Rig()
            await send(rig, form(*order))
            (known,) = rig.memory.objects.values()
            assert known.info.attributes.content_type == kept

    @pytest.mark.parametrize(
        ("bucket", "key", "kind"),
        [
            ("nowhere", "key", BucketNotFound),
            ("..", "key", BucketNotFound),
            ("a/b", "key", BucketNotFound),
            ("bucket", "a/../b", InvalidKey),
            ("bucket", "k" * 1_025, InvalidKey),
        ],
    )
    @pytest.mark.parametrize("size", [10, 3_000])
    async def test_a_destination_that_cannot_be(
        self, bucket: str, key: str, kind: type[S3ProxyError], size: int
    ) -> None:
        fields = [field("bucket_name", bucket), field("object_name", key)]
        for order in permutations([*fields, file(pattern(size))]):
            rig = Rig()
            with pytest.raises(kind):
                await send(rig, form(*order))
            assert rig.memory.objects == {}
            await check_clean(rig)

    async def test_nothing_shows_before_the_form_is_complete(self) -> None:
        rig = Rig()
        upload = begin(rig)
        await upload.feed(form(TO_BUCKET, TO_KEY, file(pattern(5_000))))
        assert stored(rig) == {}
        await upload.finish()
        assert stored(rig) == {"folder/key.png": pattern(5_000)}
        upload.abort()
        await check_clean(rig)

    @pytest.mark.parametrize("size", [10, 3_000])
    async def test_a_form_cut_short_anywhere_stores_nothing(self, size: int) -> None:
        for order in permutations([TO_BUCKET, TO_KEY, file(pattern(size))]):
            body = form(*order)
            for end in range(0, len(body) - 4, 1 if size < 100 else 111):
                rig = Rig()
                with pytest.raises(BadForm):
                    await send(rig, body[:end], chunk_size=1_000)
                assert stored(rig) == {}
                await check_clean(rig)

    @pytest.mark.parametrize("operation", ["put", "create_upload", "put_part", "complete_upload"])
    async def test_a_store_that_fails_is_told(self, operation: str) -> None:
        size = 10 if operation == "put" else 3_000
        for order in permutations([TO_BUCKET, TO_KEY, file(pattern(size))]):
            rig = Rig()
            rig.store.fail(operation, StoreBroken(reason="test"))  # type: ignore[arg-type]
            with pytest.raises(StoreBroken, match="not working"):
                await send(rig, form(*order))
            assert stored(rig) == {}
            await check_clean(rig)

    @pytest.mark.parametrize("hold_limit", [2 * BLOCK_SIZE, 8 * BLOCK_SIZE])
    async def test_held_files_do_not_wait_for_each_others_memory(self, tmp_path: Path, hold_limit: int) -> None:
        policy = PartPolicy(part_size=2 * BLOCK_SIZE, put_limit=2 * BLOCK_SIZE)
        rig = Rig(budget=4 * BLOCK_SIZE, spool=tmp_path, policy=policy)
        size = hold_limit // 2 if hold_limit > 2 * BLOCK_SIZE else hold_limit
        forms = [
            (begin(rig, hold_limit=hold_limit), form(file(pattern(size, n)), TO_BUCKET, field("object_name", str(n))))
            for n in range(2)
        ]
        ends = [body.index(b"bucket_name") for _, body in forms]
        for (upload, body), end in zip(forms, ends, strict=True):
            await upload.feed(body[:end])
        await asyncio.gather(*(upload.feed(body[end:]) for (upload, body), end in zip(forms, ends, strict=True)))
        for upload, _ in forms:
            await upload.finish()
        assert stored(rig) == {str(n): pattern(size, n) for n in range(2)}
        assert virtual_loop().time() < 5
        await check_clean(rig)

    async def test_held_files_are_spooled_like_other_parts(self, tmp_path: Path) -> None:
        policy = PartPolicy(part_size=4 * BLOCK_SIZE, put_limit=4 * BLOCK_SIZE)
        rig = Rig(budget=4 * BLOCK_SIZE, spool=tmp_path, policy=policy)
        uploads = [begin(rig, hold_limit=8 * BLOCK_SIZE) for _ in range(6)]
        bodies = [
            form(file(pattern(3 * BLOCK_SIZE, n)), TO_BUCKET, field("object_name", str(n))) for n in range(len(uploads))
        ]
        for start in range(0, len(bodies[0]), 100_000):
            for upload, body in zip(uploads, bodies, strict=True):
                await upload.feed(body[start : start + 100_000])
                assert rig.budget.granted <= rig.budget.size
        for upload in uploads:
            await upload.finish()
        assert stored(rig) == {str(n): pattern(3 * BLOCK_SIZE, n) for n in range(len(uploads))}
        await check_clean(rig)


class TestFolder:
    FILES = (file(pattern(3_000, 1), "one.txt"), file(pattern(100, 2), "two.png"), file(pattern(5_000, 3), "three"))
    DATA = {  # noqa: RUF012 - read only
        "folder/one.txt": pattern(3_000, 1),
        "folder/two.png": pattern(100, 2),
        "folder/three": pattern(5_000, 3),
    }

    @pytest.mark.parametrize("chunk_size", [13, 1_000, 100_000])
    async def test_every_file_is_stored_under_it(self, chunk_size: int) -> None:
        rig = Rig()
        results = await send(rig, form(TO_BUCKET, TO_FOLDER, *self.FILES), chunk_size=chunk_size)
        assert stored(rig) == self.DATA
        assert [result.file_name for result in results] == ["one.txt", "two.png", "three"]
        assert [result.receipt.path.key for result in results if result.receipt] == list(self.DATA)
        types = {path.key: kept.info.attributes.content_type for path, kept in rig.memory.objects.items()}
        assert types["folder/two.png"] == "image/png"
        await check_clean(rig)

    async def test_each_is_there_at_its_own_end(self) -> None:
        rig = Rig()
        upload = begin(rig)
        body = form(TO_BUCKET, TO_FOLDER, *self.FILES)
        await upload.feed(body[: body.index(b"two.png")])
        assert list(stored(rig)) == ["folder/one.txt"]
        upload.abort()
        await check_clean(rig)
        assert list(stored(rig)) == ["folder/one.txt"]

    async def test_the_first_may_come_before_the_fields(self) -> None:
        rig = Rig()
        results = await send(rig, form(self.FILES[0], TO_FOLDER, TO_BUCKET, *self.FILES[1:]))
        assert stored(rig) == self.DATA
        assert {result.file_name for result in results} == {"one.txt", "two.png", "three"}
        assert all(result.receipt for result in results)
        await check_clean(rig)

    async def test_two_files_before_the_fields_are_too_many(self) -> None:
        rig = Rig()
        with pytest.raises(BadForm, match="before the file"):
            await send(rig, form(*self.FILES, TO_FOLDER, TO_BUCKET))
        assert stored(rig) == {}
        await check_clean(rig)

    @pytest.mark.parametrize(
        ("name", "key"),
        [("C:\\\\Users\\\\me\\\\a b.txt", "folder/a b.txt"), ("/etc/passwd", "folder/passwd"), ("ü", "folder/ü")],
    )
    async def test_a_name_is_its_last_component(self, name: str, key: str) -> None:
        rig = Rig()
        await send(rig, form(TO_BUCKET, TO_FOLDER, file(b"x", name)))
        assert stored(rig) == {key: b"x"}

    @pytest.mark.parametrize("nth", [1, 2, 3])
    @pytest.mark.parametrize("place", ["before the fields", "after the fields"])
    async def test_one_that_fails_leaves_the_others(self, nth: int, place: str) -> None:
        rig = Rig()
        files = [file(pattern(100, number), str(number)) for number in (1, 2, 3)]
        rig.store.fail("put", StoreTimeout(reason="test"), nth=nth)
        parts = (files[0], TO_BUCKET, TO_FOLDER) if place == "before the fields" else (TO_BUCKET, TO_FOLDER, files[0])
        results = await send(rig, form(*parts, *files[1:]))
        failed = [result for result in results if result.fault is not None]
        assert len(results) == 3
        assert [type(result.fault) for result in failed] == [StoreTimeout]
        names = {result.file_name for result in results if result.receipt is not None}
        assert {f"folder/{name}" for name in names} == set(stored(rig))
        assert len(names) == 2
        await check_clean(rig)

    @pytest.mark.parametrize("operation", ["create_upload", "put_part", "complete_upload"])
    @pytest.mark.parametrize("place", ["before the fields", "after the fields"])
    async def test_a_large_one_that_fails_leaves_the_others(self, operation: str, place: str) -> None:
        rig = Rig()
        rig.store.fail(operation, StoreTimeout(reason="test"))  # type: ignore[arg-type]
        first = (self.FILES[0], TO_BUCKET, TO_FOLDER)
        parts = first if place == "before the fields" else (TO_BUCKET, TO_FOLDER, self.FILES[0])
        small = [file(b"2", "two.png"), file(b"3", "three")]
        results = await send(rig, form(*parts, *small))
        assert {result.file_name: type(result.fault) for result in results} == {
            "one.txt": StoreTimeout,
            "two.png": type(None),
            "three": type(None),
        }
        assert set(stored(rig)) == {"folder/two.png", "folder/three"}
        await check_clean(rig)

    @pytest.mark.parametrize("place", ["before the fields", "after the fields"])
    async def test_a_name_that_is_no_key_fails_for_itself(self, place: str) -> None:
        rig = Rig()
        bad = file(pattern(3_000), "..")
        parts = (bad, TO_BUCKET, TO_FOLDER) if place == "before the fields" else (TO_BUCKET, TO_FOLDER, bad)
        results = await send(rig, form(*parts, file(b"x", "good")))
        assert {result.file_name: type(result.fault) for result in results} == {"..": InvalidKey, "good": type(None)}
        assert stored(rig) == {"folder/good": b"x"}
        await check_clean(rig)

    async def test_an_empty_one_fails_for_itself(self) -> None:
        rig = Rig()
        results = await send(rig, form(TO_BUCKET, TO_FOLDER, file(b"", "empty"), file(b"x", "full"), file(b"", "")))
        assert [(result.file_name, type(result.fault)) for result in results] == [
            ("empty", EmptyFile),
            ("full", type(None)),
        ]
        assert stored(rig) == {"folder/full": b"x"}
        await check_clean(rig)

    async def test_only_empty_inputs_are_an_empty_file(self) -> None:
        rig = Rig()
        with pytest.raises(EmptyFile):
            await send(rig, form(TO_BUCKET, TO_FOLDER, file(b"", "")))
        await check_clean(rig)

    async def test_a_missing_bucket_fails_each(self) -> None:
        rig = Rig()
        to = field("bucket_name", "nowhere")
        results = await send(rig, form(to, TO_FOLDER, *self.FILES))
        assert [type(result.fault) for result in results] == [BucketNotFound] * 3
        assert rig.memory.objects == {}
        await check_clean(rig)

    async def test_a_form_cut_short_keeps_the_files_that_ended(self) -> None:
        rig = Rig()
        body = form(TO_BUCKET, TO_FOLDER, *self.FILES)
        with pytest.raises(BadForm):
            await send(rig, body[: body.index(b"three")])
        assert set(stored(rig)) == {"folder/one.txt", "folder/two.png"}
        await check_clean(rig)


class TestAbortAtEveryStep:
    @pytest.mark.parametrize(
        "parts",
        [
            (TO_BUCKET, TO_KEY, file(pattern(3_000))),
            (file(pattern(3_000)), TO_BUCKET, TO_KEY),
            (file(pattern(100)), TO_KEY, TO_BUCKET),
            (TO_BUCKET, TO_FOLDER, *TestFolder.FILES),
            (TestFolder.FILES[0], TO_BUCKET, TO_FOLDER, *TestFolder.FILES[1:]),
            (TO_BUCKET, TO_FOLDER, TestFolder.FILES[2], TestFolder.FILES[0]),
        ],
        ids=["fields first", "file first", "small file first", "folder", "folder late", "folder of large files"],
    )
    @pytest.mark.parametrize("chunk_size", [500, 4_000, 100_000])
    async def test_what_is_stored_is_whole_and_nothing_is_left(self, parts: tuple[bytes, ...], chunk_size: int) -> None:
        body = form(*parts)
        whole = {"folder/key.png": [pattern(3_000), pattern(100)]}
        whole |= {key: [data] for key, data in TestFolder.DATA.items()}
        for count in range(1_000):
            rig = Rig(window=2)
            upload = begin(rig)

            left = asyncio.Event()

            async def transfer(upload: FormUpload = upload, left: asyncio.Event = left) -> list[FileResult]:
                for start in range(0, len(body), chunk_size):
                    if left.is_set():
                        raise Withdrawn
                    await upload.feed(body[start : start + chunk_size])
                return await upload.finish()

            task = asyncio.create_task(transfer())
            await steps(count)
            done = task.done()
            left.set()
            upload.abort()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            assert isinstance(result, list | Withdrawn | StoreError), repr(result)
            await check_clean(rig)
            assert all(data in whole[key] for key, data in stored(rig).items())
            if isinstance(result, list):
                assert {each.receipt.path.key for each in result if each.receipt} == set(stored(rig))
            if done:
                break
        assert done, "it never ended by itself"
        assert stored(rig)
