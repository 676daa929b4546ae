"""Several stores as one: whose object is where, what a mount keeps in, and what one store's trouble is to another.

That a `MountedStore` keeps the contract is in `test_contract.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.buckets import Buckets, BucketsFile
from s3proxy.errors import (
    BucketNotFound,
    InvalidKey,
    ObjectNotFound,
    StoreBroken,
    StoreRefused,
    StoreTimeout,
)
from s3proxy.protocol.checksums import ChecksumAlgorithm
from s3proxy.protocol.keys import ObjectPath
from s3proxy.store.contract import Listing, ObjectAttributes, ObjectStore
from s3proxy.store.embedded import EmbeddedStore
from s3proxy.store.mounted import MountedStore
from s3proxy.store.s3 import S3Store
from s3proxy.transfer.cleanup import Cleanup
from s3proxy.transfer.journal import Journal, journals
from s3proxy.transfer.sweeper import Sweeper
from tests.bodies import BytesBody, checksum_of, read_some
from tests.fakes import FaultyStore, MemoryStore
from tests.store.conftest import CREDENTIALS, s3_options

ROOT = Path(__file__).parent.parent.parent
PLAIN = ObjectAttributes()
KMS_KEY = "arn:aws:kms:us-east-1:111122223333:key/1234"


def mount(stores: dict[str, ObjectStore], *, only: bool = False, **buckets: Any) -> MountedStore:
    """A store of these buckets."""
    content = {"only": only, "stores": {name: {} for name in stores if name}, "buckets": buckets}
    return MountedStore(stores, Buckets(BucketsFile.model_validate(content)))


async def put(store: ObjectStore, bucket: str, key: str, data: bytes = b"data") -> None:
    await store.put(ObjectPath(bucket, key), BytesBody(data), PLAIN)


async def get(store: ObjectStore, bucket: str, key: str) -> bytes:
    stream = await store.open(ObjectPath(bucket, key))
    data = await read_some(stream, 1_000)
    stream.close()
    return data


async def keys(store: ObjectStore, bucket: str, prefix: str = "") -> list[str]:
    return [row.key for row in (await store.list(bucket, prefix=prefix)).objects]


class TestWhere:
    async def test_an_object_is_under_the_prefix_in_the_bucket_of_its_store(self) -> None:
        home, minio = MemoryStore("real"), MemoryStore("real")
        store = mount({"": home, "minio": minio}, shown={"store": "minio", "bucket": "real", "prefix": "team-a/"})
        await put(store, "shown", "deep/key")
        assert minio.data("real", "team-a/deep/key") == b"data"
        assert home.objects == {}

    async def test_a_bucket_not_named_is_the_environments_own(self) -> None:
        home = MemoryStore("other")
        await put(mount({"": home}, shown={}), "other", "key")
        assert home.data("other", "key") == b"data"

    async def test_with_only_a_bucket_not_named_does_not_exist(self) -> None:
        store = mount({"": MemoryStore("other", "shown")}, only=True, shown={})
        path = ObjectPath("other", "key")
        with pytest.raises(ObjectNotFound):
            await store.head(path)
        for call in (store.open(path), store.delete(path), store.list("other"), store.create_upload(path, PLAIN)):
            with pytest.raises(BucketNotFound):
                await call

    async def test_an_upload_is_the_clients_outside_and_the_stores_inside(self) -> None:
        minio = MemoryStore("real")
        store = mount({"minio": minio}, only=True, shown={"store": "minio", "bucket": "real", "prefix": "a/"})
        path = ObjectPath("shown", "key")
        upload = await store.create_upload(path, PLAIN)
        assert upload.path == path
        assert minio.uploads[upload.upload_id].path == ObjectPath("real", "a/key")
        ((listed, _),) = await store.list_uploads("shown", "k")
        assert listed == upload
        part = await store.put_part(upload, 1, BytesBody(b"part"))
        await store.complete_upload(upload, [part], size=4)
        assert minio.data("real", "a/key") == b"part"

    async def test_two_views_of_one_place_show_the_same_objects(self) -> None:
        store = mount({"": MemoryStore("real")}, real={}, view={"bucket": "real", "read_only": True})
        await put(store, "real", "key")
        assert await get(store, "view", "key") == b"data"

    async def test_a_url_leads_to_the_real_place(self) -> None:
        store = mount({"": MemoryStore("real")}, shown={"bucket": "real", "prefix": "a/"})
        url = await store.presign(ObjectPath("shown", "key"), seconds=60, response={})
        assert "/real/a/key?" in url


RESOLVED = {"a/../b/": "b/"}


class Outside(MemoryStore):
    """Takes keys for paths, as a careless store on a file system would, and answers what lies there."""

    async def list(self, bucket: str, *, prefix: str = "", **arguments: Any) -> Listing:
        return await super().list(bucket, prefix=RESOLVED.get(prefix, prefix), **arguments)


class TestPrefix:
    async def test_the_same_key_in_two_mounts_never_meets(self) -> None:
        home, minio = MemoryStore("real"), MemoryStore("real")
        mounts: dict[str, Any] = {
            "one": {"bucket": "real", "prefix": "a/"},
            "two": {"bucket": "real", "prefix": "b/"},
            "three": {"store": "minio", "bucket": "real", "prefix": "a/"},
        }
        store = mount({"": home, "minio": minio}, **mounts)
        for name in mounts:
            await put(store, name, "key", name.encode())
        for name in mounts:
            assert await get(store, name, "key") == name.encode()
            assert await keys(store, name) == ["key"]
        await store.delete(ObjectPath("one", "key"))
        assert await keys(store, "one") == []
        assert await get(store, "two", "key") == b"two"

    @pytest.mark.parametrize("key", ["../b/secret", "..", "x/../../b/secret", "./key", "a/.", "."])
    async def test_no_key_with_a_dot_segment_leaves_a_mount(self, key: str) -> None:
        minio = MemoryStore("real")
        store = mount({"": minio}, shown={"bucket": "real", "prefix": "a/"})
        path = ObjectPath("shown", key)
        for call in (
            store.head(path),
            store.open(path),
            store.delete(path),
            store.put(path, BytesBody(b""), PLAIN),
            store.create_upload(path, PLAIN),
            store.presign(path, seconds=1, response={}),
        ):
            with pytest.raises(InvalidKey):
                await call
        assert not minio.calls

    @pytest.mark.parametrize("prefix", ["", "../", "../b/", "b/", "/", "..", "a/", "/b/", "x/../../b/"])
    @pytest.mark.parametrize("delimiter", ["", "/", "a", "."])
    async def test_no_listing_prefix_leaves_a_mount(self, prefix: str, delimiter: str) -> None:
        minio = MemoryStore("real")
        store = mount({"": minio}, shown={"bucket": "real", "prefix": "a/"})
        for key in ("a", "a/1", "a/../b/secret", "a/b/2", "ab/secret", "b/secret", "secret"):
            minio.seed("real", key, b"")
        page = await store.list("shown", prefix=prefix, delimiter=delimiter)
        assert {row.key for row in page.objects} <= {"1", "../b/secret", "b/2"}
        assert all(name.startswith(prefix) for name in page.prefixes)

    async def test_what_a_store_answers_from_outside_is_not_shown(self) -> None:
        careless = Outside("real")
        careless.seed("real", "b/secret", b"")
        store = mount({"": careless}, shown={"bucket": "real", "prefix": "a/"})
        with pytest.raises(StoreBroken):
            await store.list("shown", prefix="../b/")

    async def test_a_key_without_room_after_the_prefix_is_refused_before_anything(self) -> None:
        minio = MemoryStore("real")
        store = mount({"": minio}, shown={"bucket": "real", "prefix": "ä/"})
        await put(store, "shown", "k" * 1021)
        calls = minio.calls.total()
        with pytest.raises(InvalidKey, match="1021"):
            await put(store, "shown", "k" * 1022)
        with pytest.raises(InvalidKey, match="1021"):
            await store.head(ObjectPath("shown", "é" * 511))
        assert minio.calls.total() == calls

    async def test_the_marker_a_console_makes_for_a_folder_has_no_name_in_it(self) -> None:
        minio = MemoryStore("real")
        minio.seed("real", "a/", b"")
        minio.seed("real", "a/key", b"")
        store = mount({"": minio}, shown={"bucket": "real", "prefix": "a/"})
        assert await keys(store, "shown") == ["key"]

    @given(st.lists(st.text("ab/.", min_size=1, max_size=6), max_size=6), st.text("ab/.", max_size=3))
    def test_a_mount_is_a_bucket_of_its_own(self, names: list[str], prefix: str) -> None:
        async def check() -> None:
            minio, alone = MemoryStore("real"), MemoryStore("shown")
            store = mount(
                {"": minio}, shown={"bucket": "real", "prefix": "a/"}, beside={"bucket": "real", "prefix": "b/"}
            )
            for name in names:
                try:
                    await put(store, "shown", name)
                except InvalidKey:
                    continue
                await put(alone, "shown", name)
            assert await keys(store, "shown", prefix) == await keys(alone, "shown", prefix)
            assert await keys(store, "beside") == []

        asyncio.run(check())


class TestDefaults:
    KEPT: dict[str, Any] = {  # noqa: RUF012 - a constant
        "storage_class": "STANDARD_IA",
        "encryption": "aws:kms",
        "kms_key_id": KMS_KEY,
        "metadata": {"source": "upload", "team": "a"},
        "cache_control": "private",
    }
    GIVEN = ObjectAttributes(content_type="image/png", metadata={"team": "b"})
    EXPECTED = ObjectAttributes(
        content_type="image/png",
        cache_control="private",
        metadata={"source": "upload", "team": "b"},
        storage_class="STANDARD_IA",
        encryption="aws:kms",
        kms_key_id=KMS_KEY,
    )

    async def test_they_are_added_where_the_client_said_nothing(self) -> None:
        memory = MemoryStore("shown")
        store = mount({"": memory}, shown=self.KEPT)
        await store.put(ObjectPath("shown", "small"), BytesBody(b""), self.GIVEN)
        upload = await store.create_upload(ObjectPath("shown", "large"), self.GIVEN)
        assert memory.objects[ObjectPath("shown", "small")].given == self.EXPECTED
        assert memory.uploads[upload.upload_id].attributes == self.EXPECTED

    async def test_what_the_client_said_stays(self) -> None:
        memory = MemoryStore("shown")
        given = ObjectAttributes(cache_control="no-store")
        await mount({"": memory}, shown=self.KEPT).put(ObjectPath("shown", "key"), BytesBody(b""), given)
        assert memory.objects[ObjectPath("shown", "key")].given.cache_control == "no-store"


class TestTrouble:
    async def test_a_store_that_hangs_does_not_hold_anothers_calls(self) -> None:
        home, minio = MemoryStore("home"), FaultyStore(MemoryStore("slow"))
        store = mount({"": home, "minio": minio}, slow={"store": "minio"})
        gates = [minio.hang(name) for name in ("put", "head", "list")]
        path = ObjectPath("slow", "key")
        calls = [
            asyncio.ensure_future(work) for work in (put(store, "slow", "k"), store.head(path), store.list("slow"))
        ]
        for gate in gates:
            await gate.reached.wait()
        async with asyncio.timeout(5):
            await put(store, "home", "key")
            assert await get(store, "home", "key") == b"data"
            assert await keys(store, "home") == ["key"]
        assert not any(call.done() for call in calls)
        for gate in gates:
            gate.open()
        await asyncio.wait(calls)
        assert calls[0].exception() is None
        assert isinstance(calls[1].exception(), (ObjectNotFound, type(None)))

    async def test_a_store_beside_that_is_down_is_named_in_the_log_only(self, caplog: pytest.LogCaptureFixture) -> None:
        minio = FaultyStore(MemoryStore())
        store = mount({"": MemoryStore(), "minio": minio}, shown={"store": "minio"})
        minio.fail("check", StoreBroken(reason="ConnectionRefused"))
        with caplog.at_level(logging.WARNING):
            await store.check()
        assert [record.fields for record in caplog.records] == [{"store": "minio", "reason": "ConnectionRefused"}]  # type: ignore[attr-defined]

    async def test_a_store_beside_that_hangs_does_not_hold_the_check(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("s3proxy.store.mounted.CHECK_SECONDS", 0.01)
        minio = FaultyStore(MemoryStore())
        gate = minio.hang("check")
        await mount({"": MemoryStore(), "minio": minio}, shown={"store": "minio"}).check()
        gate.open()

    async def test_the_environments_store_decides(self) -> None:
        home = FaultyStore(MemoryStore())
        home.fail("check", StoreTimeout())
        with pytest.raises(StoreTimeout):
            await mount({"": home, "minio": MemoryStore()}, shown={"store": "minio"}).check()

    async def test_where_no_bucket_leads_there_one_of_the_others_is_enough(self) -> None:
        one, two = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
        store = mount({"one": one, "two": two}, only=True, first={"store": "one"}, second={"store": "two"})
        one.fail("check", StoreBroken())
        await store.check()
        one.fail("check", StoreBroken())
        two.fail("check", StoreTimeout())
        with pytest.raises(StoreBroken):
            await store.check()

    async def test_all_are_closed(self) -> None:
        home, minio = MemoryStore(), MemoryStore()
        await mount({"": home, "minio": minio}, shown={"store": "minio"}).close()
        assert home.closed
        assert minio.closed


class TestUndoing:
    async def test_cleanup_aborts_in_the_right_store(self) -> None:
        minio = MemoryStore("real")
        store = mount({"": MemoryStore(), "minio": minio}, shown={"store": "minio", "bucket": "real", "prefix": "a/"})
        upload = await store.create_upload(ObjectPath("shown", "key"), PLAIN)
        assert await Cleanup(store).abort(upload)
        assert minio.uploads == {}

    @pytest.mark.parametrize("known", [True, False])
    async def test_a_sweep_finds_the_store_by_the_clients_path(self, tmp_path: Path, known: bool) -> None:
        minio = MemoryStore("real")
        store = mount({"": MemoryStore(), "minio": minio}, shown={"store": "minio", "bucket": "real", "prefix": "a/"})
        journal = Journal(tmp_path, store="s")
        path = ObjectPath("shown", "key")
        entry = journal.begin(path)
        upload = await store.create_upload(path, PLAIN)
        if known:
            journal.know(entry, upload.upload_id)
        journal.leave(entry)
        journal.close()
        done = await Sweeper(store, tmp_path, name="s", age=0).sweep()
        assert done.uploads == [upload]
        assert minio.uploads == {}
        assert journals(tmp_path) == []

    @pytest.mark.parametrize("known", [True, False])
    async def test_uploads_of_a_bucket_mounted_no_more_are_left_for_later(self, tmp_path: Path, known: bool) -> None:
        journal = Journal(tmp_path, store="s")
        entry = journal.begin(ObjectPath("gone", "key"))
        if known:
            journal.know(entry, "an-id")
        journal.leave(entry)
        journal.close()
        done = await Sweeper(mount({"": MemoryStore()}, only=True, shown={}), tmp_path, name="s", age=0).sweep()
        assert (done.uploads, done.left) == ([], 1)
        assert journals(tmp_path) != []


@pytest.fixture(scope="module")
def second_endpoint() -> Iterator[str]:
    """Another S3."""
    with EmbeddedStore() as store:  # moto keeps one state a process.
        yield store.endpoint_url


@pytest.fixture
def client(s3_client: Any) -> Any:
    """boto3 beside the store."""
    return s3_client


class TestOverS3:
    """`S3Store`s on moto."""

    async def test_two_stores_with_buckets_of_one_name(
        self, s3_endpoint: str, second_endpoint: str, client: Any
    ) -> None:
        other = boto3.session.Session(region_name="us-east-1", **CREDENTIALS).client("s3", endpoint_url=second_endpoint)
        client.create_bucket(Bucket="two-stores")
        other.create_bucket(Bucket="two-stores")
        stores: dict[str, ObjectStore] = {
            "": S3Store(s3_options(s3_endpoint)),
            "minio": S3Store(s3_options(second_endpoint, checksum=ChecksumAlgorithm.NONE)),
        }
        store = mount(stores, here={"bucket": "two-stores"}, there={"store": "minio", "bucket": "two-stores"})
        await put(store, "here", "key", b"here")
        await put(store, "there", "key", b"there")
        assert client.get_object(Bucket="two-stores", Key="key")["Body"].read() == b"here"
        assert other.get_object(Bucket="two-stores", Key="key")["Body"].read() == b"there"
        assert await get(store, "here", "key") == b"here"
        assert await get(store, "there", "key") == b"there"
        await store.check()
        await store.close()
        other.close()

    async def test_a_store_without_checksums_is_sent_none(self, s3_endpoint: str, client: Any) -> None:
        sent: list[str] = []
        client.create_bucket(Bucket="no-checksums")
        store = S3Store(s3_options(s3_endpoint, checksum=ChecksumAlgorithm.NONE))
        store._client.meta.events.register("before-send.s3", lambda request, **_: sent.extend(request.headers))
        path, data = ObjectPath("no-checksums", "key"), b"x" * 200_000
        await store.put(path, BytesBody(data), PLAIN, checksum=checksum_of(data))
        upload = await store.create_upload(path, PLAIN)
        part = await store.put_part(upload, 1, BytesBody(data), checksum=checksum_of(data))
        assert part.checksum is None
        await store.complete_upload(upload, [part], size=len(data), checksum=checksum_of(data))
        await store.close()
        assert not [name for name in sent if name.lower().startswith(("x-amz-checksum", "x-amz-sdk-checksum"))]

    @pytest.mark.parametrize("size", [1_000, 200_000])
    @pytest.mark.parametrize(
        ("encryption", "kms_key_id"), [("AES256", None), ("aws:kms", KMS_KEY), ("aws:kms", None), (None, None)]
    )
    @pytest.mark.parametrize("multipart", [False, True])
    async def test_an_object_is_kept_as_the_bucket_says(
        self,
        s3_store: S3Store,
        client: Any,
        size: int,
        encryption: str | None,
        kms_key_id: str | None,
        multipart: bool,
    ) -> None:
        client.create_bucket(Bucket="kept")
        rules = {"storage_class": "STANDARD_IA", "encryption": encryption, "kms_key_id": kms_key_id}
        store = mount({"": s3_store}, shown={"bucket": "kept", "prefix": "a/", "metadata": {"source": "u"}, **rules})
        path, data = ObjectPath("shown", f"{size}-{encryption}-{multipart}"), b"x" * size
        if multipart:
            upload = await store.create_upload(path, PLAIN)
            part = await store.put_part(upload, 1, BytesBody(data), checksum=checksum_of(data))
            await store.complete_upload(upload, [part], size=size, checksum=checksum_of(data))
        else:
            await store.put(path, BytesBody(data), PLAIN, checksum=checksum_of(data))
        found = client.head_object(Bucket="kept", Key="a/" + path.key)
        assert found["StorageClass"] == "STANDARD_IA"
        assert found.get("ServerSideEncryption") == encryption
        assert found.get("SSEKMSKeyId") == kms_key_id
        assert found["Metadata"] == {"source": "u"}
        assert (await store.head(path)).size == size

    async def test_cron_sweeps_what_is_in_another_store(
        self, s3_endpoint: str, second_endpoint: str, tmp_path: Path
    ) -> None:
        other = boto3.session.Session(region_name="us-east-1", **CREDENTIALS).client("s3", endpoint_url=second_endpoint)
        other.create_bucket(Bucket="swept")
        mine = other.create_multipart_upload(Bucket="swept", Key="a/key")["UploadId"]
        theirs = other.create_multipart_upload(Bucket="swept", Key="key")["UploadId"]
        journal = Journal(tmp_path, store=s3_endpoint + "/")
        entry = journal.begin(ObjectPath("shown", "key"))
        journal.know(entry, mine)
        journal.leave(entry)
        journal.close()
        buckets = tmp_path / "buckets.toml"
        buckets.write_text(
            f"[stores.minio]\nendpoint_url = {json.dumps(second_endpoint)}\n"
            "[buckets.shown]\nstore = 'minio'\nbucket = 'swept'\nprefix = 'a/'\n"
        )
        environment = {
            "PATH": "/usr/bin:/bin",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "S3_ENDPOINT_URL": s3_endpoint,
            "SPOOL_DIR": str(tmp_path),
            "SWEEP_AGE_SECONDS": "0",
            "BUCKETS_FILE": str(buckets),
        }
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "s3proxy.sweep"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"aborted shown/key {mine}" in done.stdout
        left = other.list_multipart_uploads(Bucket="swept")["Uploads"]
        assert [upload["UploadId"] for upload in left] == [theirs]
        other.close()


class TestUrls:
    """`ObjectStore.presign` of `S3Store`."""

    RESPONSE = {  # noqa: RUF012 - a constant
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Disposition": "attachment; filename=\"a b.txt\"; filename*=UTF-8''%C3%BC",
        "Cache-Control": "no-store",
    }

    async def test_anyone_can_fetch_the_object_with_the_headers_asked_for(self, s3_store: S3Store, client: Any) -> None:
        client.create_bucket(Bucket="signed")
        path = ObjectPath("signed", "a b/ü+%~.txt")
        await s3_store.put(path, BytesBody(b"data"), PLAIN)
        url = await s3_store.presign(path, seconds=60, response=self.RESPONSE)

        def fetch() -> tuple[bytes, dict[str, str]]:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read(), {name: answer.headers[name] for name in self.RESPONSE}

        body, headers = await asyncio.to_thread(fetch)
        assert body == b"data"
        assert headers == self.RESPONSE

    @pytest.mark.parametrize("key", ["key", "a b/ü+%~.txt", "x//y?z#'()*!"])
    @pytest.mark.parametrize("token", [{}, {"aws_session_token": "to/ken+="}])
    @pytest.mark.parametrize("style", ["path", "virtual"])
    async def test_it_is_signed_as_boto3_would(self, key: str, token: dict[str, str], style: str) -> None:
        credentials = CREDENTIALS | token
        endpoint = "http://s3.localhost:9"
        store = S3Store(s3_options(endpoint, credentials=credentials, addressing_style=style, region="eu-west-1"))
        client = boto3.session.Session(region_name="eu-west-1", **credentials).client(
            "s3", endpoint_url=endpoint, config=Config(signature_version="s3v4", s3={"addressing_style": style})
        )
        ours, theirs = {""}, {"other"}
        for _ in range(5):  # The second may end between the two.
            ours = set(
                (await store.presign(ObjectPath("bucket", key), seconds=90.4, response=self.RESPONSE)).split("&")
            )
            arguments = {f"Response{name.replace('-', '')}": value for name, value in self.RESPONSE.items()}
            url = client.generate_presigned_url(
                "get_object", Params={"Bucket": "bucket", "Key": key, **arguments}, ExpiresIn=90
            )
            theirs = set(url.split("&"))
            if ours == theirs:
                break
        assert {part.partition("?")[2] or part for part in ours} == {part.partition("?")[2] or part for part in theirs}
        await store.close()
        client.close()

    async def test_without_credentials_there_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        store = S3Store(s3_options("http://127.0.0.1:9", credentials=None))
        with pytest.raises(StoreRefused) as fault:
            await store.presign(ObjectPath("bucket", "key"), seconds=60, response={})
        assert fault.value.reason == "NoCredentials"
        await store.close()
