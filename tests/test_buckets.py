"""The buckets file: what it says, every fault of it told at once, and no value of it told at all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s3proxy.buckets import BucketRules, Buckets, BucketsFile, BucketsFileError, StoreEntry, load
from s3proxy.errors import BucketNotFound, Forbidden, InvalidKey, TypeNotAllowed
from s3proxy.store.build import build_store, load_buckets
from s3proxy.store.mounted import MountedStore
from s3proxy.store.s3 import S3Store
from settings import Settings

ROOT = Path(__file__).parent.parent

EXAMPLE = """
only = true

[stores.minio]
endpoint_url = "https://minio.example.org/"
region = "us-west-2"
addressing_style = "path"
access_key_id = "AKIASECRETKEYID"
secret_access_key = "the-secret-access-key"
checksum = "none"
threads = 4

[buckets.incoming]
store = "minio"
bucket = "acme-incoming-prod"
prefix = "team-a/"
types = ["image/*", "Application/PDF"]
extensions = [".jpg", ".PDF"]
storage_class = "STANDARD_IA"
encryption = "aws:kms"
kms_key_id = "arn:aws:kms:us-east-1:111122223333:key/1234"
metadata = { Source = "upload" }
cache_control = "private, max-age=60"
redirect = "large"

[buckets.archive]
read_only = true
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "buckets.toml"
    path.write_text(text)
    return path


def buckets(**content: Any) -> Buckets:
    return Buckets(BucketsFile.model_validate(content))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """With the example as buckets file, and nothing else of this machine."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "home")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "home")
    monkeypatch.setenv("BUCKETS_FILE", str(write(tmp_path, EXAMPLE)))
    monkeypatch.chdir(tmp_path)
    return Settings()


class TestReading:
    def test_the_example_is_read(self, tmp_path: Path) -> None:
        file = load(write(tmp_path, EXAMPLE))
        assert file.only
        assert file.stores["minio"].endpoint_url == "https://minio.example.org"
        incoming = file.buckets["incoming"]
        assert (incoming.store, incoming.bucket, incoming.prefix) == ("minio", "acme-incoming-prod", "team-a/")
        assert incoming.types == ("image/*", "application/pdf")
        assert incoming.extensions == (".jpg", ".pdf")
        assert incoming.metadata == {"source": "upload"}
        assert file.buckets["archive"].read_only

    def test_the_example_of_the_guide_is_read(self, tmp_path: Path) -> None:
        guide = (ROOT / "docs" / "buckets.md").read_text()
        file = load(write(tmp_path, guide.partition("```toml\n")[2].partition("```")[0]))
        assert file.buckets.keys() == {"photos", "incoming", "archive"}
        for name in [*BucketRules.model_fields, *StoreEntry.model_fields]:
            assert re.search(rf"(^|`){name}( =|`)", guide, re.MULTILINE), name

    def test_an_empty_file_says_nothing(self, tmp_path: Path) -> None:
        assert load(write(tmp_path, "")) == BucketsFile()

    @pytest.mark.parametrize(
        ("text", "where"),
        [
            ("onyl = true", "onyl"),
            ("[stores.minio]\nurl = 'x'", "stores.minio.url"),
            ("[buckets.incoming]\nreadonly = true", "buckets.incoming.readonly"),
            ("[buckets.incoming]\nstore = 'nowhere'", "buckets.incoming.store"),
            ("[buckets.incoming]\nprefix = 'team-a'", "buckets.incoming.prefix"),
            ("[buckets.incoming]\nprefix = 'a/../b/'", "buckets.incoming.prefix"),
            ("[buckets.incoming]\nprefix = './'", "buckets.incoming.prefix"),
            ("[buckets.incoming]\nbucket = 'a/b'", "buckets.incoming.bucket"),
            ("[buckets.'in/coming']", "buckets.in/coming"),
            ("[buckets.incoming]\ntypes = []", "buckets.incoming.types"),
            ("[buckets.incoming]\ntypes = ['jpeg']", "buckets.incoming.types"),
            ("[buckets.incoming]\nextensions = ['jpg']", "buckets.incoming.extensions"),
            ("[buckets.incoming]\nencryption = 'rot13'", "buckets.incoming.encryption"),
            ("[buckets.incoming]\nencryption = 'AES256'\nkms_key_id = 'k'", "buckets.incoming"),
            ("[buckets.incoming]\nkms_key_id = 'k'", "buckets.incoming"),
            ("[buckets.incoming]\nmetadata = {'a b' = 'c'}", "buckets.incoming.metadata"),
            ("[buckets.incoming]\nmetadata = {a = 'ü'}", "buckets.incoming.metadata"),
            (f"[buckets.incoming]\nmetadata = {{a = '{'x' * 2048}'}}", "buckets.incoming"),
            ('[buckets.incoming]\ncache_control = "a\\nb"', "buckets.incoming.cache_control"),
            ("[buckets.incoming]\nredirect = 'always'", "buckets.incoming.redirect"),
            ("[stores.minio]\nendpoint_url = 'minio:9000'", "stores.minio.endpoint_url"),
            ("[stores.minio]\nendpoint_url = 'https://user:pass@minio'", "stores.minio.endpoint_url"),
            ("[stores.minio]\nca_bundle = '/nowhere/ca.pem'", "stores.minio.ca_bundle"),
            ("[stores.minio]\naccess_key_id = 'k'", "stores.minio"),
            ("[stores.minio]\nsession_token = 't'", "stores.minio"),
            ("[stores.minio]\nprofile = 'p'\naccess_key_id = 'k'\nsecret_access_key = 's'", "stores.minio"),
            ("[stores.minio]\nchecksum = 'crc32'", "stores.minio.checksum"),
            ("[stores.minio]\nthreads = 1", "stores.minio.threads"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, text: str, where: str) -> None:
        with pytest.raises(BucketsFileError, match=rf"(?m)^  (the file: )?{where}"):
            load(write(tmp_path, text))

    def test_every_fault_is_told_at_once(self, tmp_path: Path) -> None:
        text = "[stores.minio]\nthreads = 1\n[buckets.incoming]\nprefix = 'a'\nreadonly = true\n"
        with pytest.raises(BucketsFileError) as fault:
            load(write(tmp_path, text))
        assert len(str(fault.value).splitlines()) == 4

    @pytest.mark.parametrize(
        "text",
        [
            "[stores.minio]\nsecret_access_key = 's3cr3t'\naccess_key_id = 5\n",
            "[stores.minio]\nsecret_access_key = ['s3cr3t']\n",
            "[stores.minio]\nsecret_access_key = 's3cr3t'\nsession_token = 's3cr3t'\n",
            "[stores.minio]\nendpoint_url = 'https://user:s3cr3t@minio'\n",
            "[stores.minio]\nsecret_access_key = s3cr3t\n",
            "[stores.minio]\nsecret_access_key = 's3cr3t\n",
            "stores.minio = 's3cr3t'\n",
        ],
    )
    def test_no_secret_is_told(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(BucketsFileError) as fault:
            load(write(tmp_path, text))
        assert "s3cr3t" not in str(fault.value)
        assert fault.value.__cause__ is None

    def test_no_secret_shows(self, tmp_path: Path) -> None:
        shown = repr(load(write(tmp_path, EXAMPLE)))
        assert "AKIASECRETKEYID" not in shown
        assert "the-secret-access-key" not in shown

    def test_what_is_no_toml_is_told_with_its_place(self, tmp_path: Path) -> None:
        with pytest.raises(BucketsFileError, match="line 2"):
            load(write(tmp_path, "only = true\nonly =\n"))

    def test_what_is_no_text_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "buckets.toml"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(BucketsFileError, match="UTF-8"):
            load(path)

    def test_a_file_that_is_gone_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(BucketsFileError, match="cannot be read"):
            load(tmp_path / "none.toml")


class TestRules:
    def test_without_a_file_every_bucket_takes_anything(self) -> None:
        rules = Buckets().rules("anything")
        rules.check_write("key", None)
        rules.check_delete()
        assert rules.redirect == "never"

    def test_with_only_no_other_bucket_exists(self) -> None:
        some = buckets(only=True, buckets={"named": {}})
        assert some.rules("named") == BucketRules(redirect="never")
        with pytest.raises(BucketNotFound):
            some.rules("other")

    def test_without_only_other_buckets_are_as_ever(self) -> None:
        assert buckets(buckets={"named": {"read_only": True}}).rules("other") == BucketRules(redirect="never")

    def test_what_is_reached_under_another_name_has_no_way_around_its_rules(self) -> None:
        rows: dict[str, Any] = {"shown": {"bucket": "real", "read_only": True}}
        with pytest.raises(BucketNotFound):
            buckets(buckets=rows).rules("real")
        assert not buckets(buckets=rows | {"real": {}}).rules("real").read_only

    def test_the_same_name_in_another_store_is_another_bucket(self) -> None:
        some = buckets(stores={"minio": {}}, buckets={"shown": {"store": "minio", "bucket": "real"}})
        assert some.rules("real") == BucketRules(redirect="never")

    def test_only_stores_that_buckets_lead_to_count(self) -> None:
        stores: dict[str, Any] = {"minio": {}, "idle": {}}
        assert buckets(stores=stores, buckets={"one": {"store": "minio"}}).stores == {"", "minio"}
        assert buckets(only=True, stores=stores, buckets={"one": {"store": "minio"}}).stores == {"minio"}

    def test_a_bucket_may_redirect_otherwise_than_the_rest(self) -> None:
        some = Buckets(
            BucketsFile.model_validate({"buckets": {"one": {"redirect": "never"}, "two": {}}}), redirect="large"
        )
        assert [some.rules(name).redirect for name in ("one", "two", "other")] == ["never", "large", "large"]

    def test_nothing_is_written_or_removed_where_one_may_only_read(self) -> None:
        rules = BucketRules(read_only=True)
        with pytest.raises(Forbidden, match="read-only"):
            rules.check_write("key", "text/plain")
        with pytest.raises(Forbidden, match="read-only"):
            rules.check_delete()

    @pytest.mark.parametrize(
        "content_type",
        ["image/png", "IMAGE/PNG", "image/svg+xml; charset=utf-8", "application/pdf", "Application/Pdf ;a=b"],
    )
    def test_types_that_are_taken(self, content_type: str) -> None:
        BucketRules(types=("image/*", "application/pdf")).check_write("key", content_type)

    @pytest.mark.parametrize(
        "content_type",
        [
            None,
            "",
            "text/html",
            "image",
            "image/",
            "x-image/png",
            "application/pdfx",
            "text/html;image/png",
            "image/png, text/html",
            "image/png;a=b, text/html",
        ],
    )
    def test_types_that_are_not_taken(self, content_type: str | None) -> None:
        with pytest.raises(TypeNotAllowed, match=r"image/\*, application/pdf"):
            BucketRules(types=("image/*", "application/pdf")).check_write("key", content_type)

    @pytest.mark.parametrize("key", ["a.jpg", "A.JPG", "b/c.tar.gz", "x.pdf.jpg"])
    def test_extensions_that_are_taken(self, key: str) -> None:
        BucketRules(extensions=(".jpg", ".tar.gz")).check_write(key, None)

    @pytest.mark.parametrize("key", ["a", "a.jpg.exe", "a.jpg/", "a.gz", "ajpg"])
    def test_extensions_that_are_not_taken(self, key: str) -> None:
        with pytest.raises(TypeNotAllowed, match=r"\.jpg"):
            BucketRules(extensions=(".jpg", ".tar.gz")).check_write(key, None)

    def test_a_key_must_have_room_after_the_prefix(self) -> None:
        rules = BucketRules(prefix="ä/")
        rules.check_write("k" * 1021, None)
        with pytest.raises(InvalidKey, match="1021"):
            rules.check_write("k" * 1022, None)


class TestBuilding:
    def test_without_a_file_there_is_one_store_and_nothing_before_it(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("BUCKETS_FILE")
        assert type(build_store(Settings())) is S3Store

    def test_a_store_has_the_environments_options_but_for_its_own(self, settings: Settings) -> None:
        store = build_store(settings)
        assert isinstance(store, MountedStore)
        assert store._stores.keys() == {"", "minio"}
        minio, home = store._stores["minio"], store._stores[""]
        assert isinstance(minio, S3Store)
        assert isinstance(home, S3Store)
        assert minio._options.endpoint_url == "https://minio.example.org"
        assert (minio._options.region, minio._options.threads, minio._options.checksum) == ("us-west-2", 4, "none")
        assert minio._options.credentials == {
            "aws_access_key_id": "AKIASECRETKEYID",
            "aws_secret_access_key": "the-secret-access-key",
        }
        assert minio._options.read_timeout == home._options.read_timeout
        assert home._options.credentials == {"aws_access_key_id": "home", "aws_secret_access_key": "home"}

    def test_a_profile_is_looked_up_at_the_start(self, settings: Settings, tmp_path: Path) -> None:
        write(tmp_path, "[stores.minio]\nprofile = 'minio'\n[buckets.incoming]\nstore = 'minio'\n")
        with pytest.raises(BucketsFileError, match=r"stores\.minio\.profile"):
            load_buckets(settings)
        (tmp_path / "config").write_text("[profile minio]\naws_access_key_id = p\naws_secret_access_key = s\n")
        store = build_store(settings)
        assert isinstance(store, MountedStore)
        minio = store._stores["minio"]
        assert isinstance(minio, S3Store)
        assert minio._session.get_credentials().access_key == "p"

    @pytest.mark.parametrize("own", ["endpoint_url = ''", "endpoint_url = 'https://s3.example.org'"])
    def test_another_endpoint_does_not_inherit_a_ca_bundle(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
    ) -> None:
        monkeypatch.setenv("S3_ENDPOINT_URL", "http://localhost:1")
        monkeypatch.setenv("S3_CA_BUNDLE", str(write(tmp_path, "")))
        stores = f"[stores.other]\n{own}\n[stores.same]\n"
        write(tmp_path, stores + "[buckets.one]\nstore = 'other'\n[buckets.two]\nstore = 'same'\n")
        store = build_store(Settings())
        assert isinstance(store, MountedStore)
        other, same = store._stores["other"], store._stores["same"]
        assert isinstance(other, S3Store)
        assert isinstance(same, S3Store)
        assert other._options.ca_bundle is None
        assert other._options.endpoint_url in (None, "https://s3.example.org")
        assert same._options.ca_bundle is not None
        assert same._options.endpoint_url == "http://localhost:1"


def test_a_sweep_with_a_broken_file_says_so_and_fails(tmp_path: Path) -> None:
    path = write(tmp_path, "onyl = true")
    environment = {"BUCKETS_FILE": str(path), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "s3proxy.sweep"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "onyl" in done.stderr
    assert "Traceback" not in done.stderr
