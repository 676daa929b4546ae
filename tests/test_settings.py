"""Settings: names, units and defaults of old, every fault told at once, and no secret told at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from settings import Settings, SettingsError, load_settings

ROOT = Path(__file__).parent.parent
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIASECRETKEYID",
    "AWS_SECRET_ACCESS_KEY": "the-secret-access-key",
    "AWS_SESSION_TOKEN": "the-session-token",
}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine, and no `.env` but the test's own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def faults(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    with pytest.raises(SettingsError) as fault:
        load(monkeypatch, **environment)
    return str(fault.value)


class TestReading:
    def test_nothing_needs_to_be_set(self) -> None:
        settings = load_settings()
        assert settings.port == 8000
        assert settings.s3_region == "us-east-1"
        assert settings.wants_embedded_store

    def test_the_six_names_of_the_original_service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = load(
            monkeypatch,
            AWS_ACCESS_KEY_ID="id",
            AWS_SECRET_ACCESS_KEY="secret",
            S3_REGION="eu-central-1",
            UPLOAD_MULTIPART_LIMIT_MB="20",
            UPLOAD_MULTIPART_CHUNK_SIZE="10",
            DOWNLOAD_CHUNK_SIZE="2",
        )
        assert settings.aws_access_key_id is not None
        assert settings.aws_access_key_id.get_secret_value() == "id"
        assert settings.aws_secret_access_key is not None
        assert settings.aws_secret_access_key.get_secret_value() == "secret"
        assert settings.s3_region == "eu-central-1"
        assert settings.upload_multipart_limit_mb == 20
        assert settings.upload_multipart_chunk_size == 10
        assert settings.download_chunk_size == 2
        assert not settings.wants_embedded_store

    def test_a_file_is_read_and_the_environment_wins(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("PORT=9001\nHOST=0.0.0.0\nNOT_OURS=1\n")
        settings = load(monkeypatch, PORT="9002")
        assert (settings.host, settings.port) == ("0.0.0.0", 9002)

    def test_names_may_be_written_in_any_case(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert load(monkeypatch, port="9003").port == 9003

    def test_an_empty_value_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = load(monkeypatch, S3_ENDPOINT_URL="", PORT="", AWS_ACCESS_KEY_ID="")
        assert settings.s3_endpoint_url is None
        assert settings.port == 8000
        assert settings.aws_access_key_id is None

    def test_an_endpoint_alone_is_a_store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not load(monkeypatch, S3_ENDPOINT_URL="http://localhost:9000").wants_embedded_store

    def test_they_cannot_be_changed(self) -> None:
        settings = load_settings()
        with pytest.raises(ValueError, match="frozen"):
            settings.port = 1  # type: ignore[misc]


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PORT", "65536"),
            ("PORT", "-1"),
            ("PORT", "http"),
            ("WORKERS", "0"),
            ("S3_ENDPOINT_URL", "localhost:9000"),
            ("S3_ENDPOINT_URL", "ftp://localhost"),
            ("S3_REGION", "EU Central"),
            ("S3_ADDRESSING_STYLE", "sideways"),
            ("S3_CHECKSUM", "md5"),
            ("S3_MAX_PARTS", "10001"),
            ("UPLOAD_MULTIPART_CHUNK_SIZE", "4"),
            ("UPLOAD_MULTIPART_CHUNK_SIZE", "5121"),
            ("UPLOAD_MULTIPART_LIMIT_MB", "5121"),
            ("UPLOAD_MULTIPART_LIMIT_MB", "0"),
            ("DOWNLOAD_CHUNK_SIZE", "0"),
            ("MEMORY_BUDGET_MB", "15"),
            ("SHUTDOWN_GRACE_SECONDS", "0"),
            ("SHUTDOWN_GRACE_SECONDS", "inf"),
            ("SHUTDOWN_GRACE_SECONDS", "nan"),
            ("LOG_LEVEL", "LOUD"),
            ("INLINE_TYPES", "some"),
        ],
    )
    def test_a_wrong_value_is_named_and_not_repeated(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        text = faults(monkeypatch, **{name: value})
        assert f"  {name}: " in text
        assert len(text.splitlines()) == 2

    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            ({"AWS_ACCESS_KEY_ID": "id"}, "AWS_SECRET_ACCESS_KEY"),
            ({"AWS_SECRET_ACCESS_KEY": "secret"}, "AWS_ACCESS_KEY_ID"),
            ({"S3_ENDPOINT_URL": "http://me:word@localhost:9000"}, "S3_ENDPOINT_URL"),
            ({"S3_CA_BUNDLE": "/nonexistent"}, "S3_CA_BUNDLE"),
            ({"SPOOL_DIR": "/nonexistent"}, "SPOOL_DIR"),
            (
                {"SPOOL_LIMIT_MB": "0", "MEMORY_BUDGET_MB": "16", "UPLOAD_MULTIPART_CHUNK_SIZE": "9"},
                "UPLOAD_MULTIPART_CHUNK_SIZE",
            ),
            (
                {"SPOOL_LIMIT_MB": "0", "MEMORY_BUDGET_MB": "16", "UPLOAD_MULTIPART_LIMIT_MB": "17"},
                "UPLOAD_MULTIPART_LIMIT_MB",
            ),
            ({"MEMORY_BUDGET_MB": "16", "DOWNLOAD_CHUNK_SIZE": "9"}, "DOWNLOAD_CHUNK_SIZE"),
        ],
    )
    def test_values_that_contradict_each_other_are_named(
        self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
    ) -> None:
        assert words in faults(monkeypatch, **environment)

    def test_the_edges_of_those_are_fine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load(
            monkeypatch,
            SPOOL_LIMIT_MB="0",
            MEMORY_BUDGET_MB="16",
            UPLOAD_MULTIPART_CHUNK_SIZE="8",
            UPLOAD_MULTIPART_LIMIT_MB="16",
            DOWNLOAD_CHUNK_SIZE="8",
        )

    def test_every_fault_is_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = faults(monkeypatch, PORT="x", WORKERS="0", S3_CHECKSUM="md5", LOG_LEVEL="?")
        for name in ("PORT", "WORKERS", "S3_CHECKSUM", "LOG_LEVEL"):
            assert f"  {name}: " in text

    def test_every_contradiction_is_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = faults(monkeypatch, AWS_ACCESS_KEY_ID="id", S3_CA_BUNDLE="/nonexistent", SPOOL_DIR="/nonexistent")
        for name in ("AWS_SECRET_ACCESS_KEY", "S3_CA_BUNDLE", "SPOOL_DIR"):
            assert name in text

    def test_no_value_is_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = faults(monkeypatch, PORT="hunter2", S3_ENDPOINT_URL="hunter2", S3_CHECKSUM="hunter2", **SECRETS)
        assert "hunter2" not in text
        assert not any(secret in text for secret in SECRETS.values())

    def test_the_server_does_not_start_and_says_why(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, str(ROOT / "server.py")],
            env={"PORT": "x", "WORKERS": "0", "PYTHONPATH": str(ROOT), **SECRETS},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.splitlines()[0] == "The settings are not valid:"
        assert len(done.stderr.splitlines()) == 3
        assert not any(secret in done.stderr for secret in SECRETS.values())


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, **SECRETS)
    for text in (repr(settings), str(settings), f"{settings}", str(settings.model_dump()), settings.model_dump_json()):
        assert not any(secret in text for secret in SECRETS.values())


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
