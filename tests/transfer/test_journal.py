"""What is written down before, during and after an upload, and what is read of it once the writer is gone."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from s3proxy.protocol.keys import ObjectPath
from s3proxy.transfer.journal import ROLL_SIZE, Entry, Journal, claim, journals, peek
from tests.transfer.rig import PATH


def read(directory: Path) -> list[Entry]:
    """What the journals there have open, of the living and the dead."""
    entries: list[Entry] = []
    for path in journals(directory):
        remains = peek(path)
        assert remains is not None
        entries += remains.entries.values()
        remains.close()
    return entries


def test_an_upload_is_open_from_the_wish_to_the_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entry = journal.begin(PATH)
    assert [(found.path, found.upload_id) for found in read(tmp_path)] == [(PATH, None)]
    journal.know(entry, "id")
    assert [found.upload_id for found in read(tmp_path)] == ["id"]
    journal.end(entry)
    journal.end(entry)
    assert read(tmp_path) == []
    journal.close()


@pytest.mark.parametrize("key", ["ümläut-日本語-🙂", "quote'double\"back\\slash", "line\u2028separator"])
def test_any_key_is_read_back(tmp_path: Path, key: str) -> None:
    journal = Journal(tmp_path)
    journal.begin(ObjectPath("bucket", key))
    assert [found.path.key for found in read(tmp_path)] == [key]
    journal.close()


def test_a_process_without_uploads_has_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    assert journals(tmp_path) == []


def test_only_the_dead_can_be_claimed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, store="here")
    journal.begin(PATH)
    (path,) = journals(tmp_path)
    assert claim(path) is None
    journal.close()
    remains = claim(path)
    assert remains is not None
    assert remains.store == "here"
    assert claim(path) is None
    remains.close()


def test_an_end_in_good_order_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.end(journal.begin(PATH))
    journal.close()
    journal.close()
    assert journals(tmp_path) == []


def test_a_long_journal_starts_anew_with_what_is_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    stays = journal.begin(PATH)
    (first,) = journals(tmp_path)
    while journals(tmp_path) == [first]:
        journal.end(journal.begin(ObjectPath("bucket", "k" * 1_000)))
        assert first.stat().st_size < ROLL_SIZE + 2_000 if first.exists() else True
    journal.know(stays, "id")
    (second,) = journals(tmp_path)
    assert second.stat().st_size < 5_000
    assert [found.upload_id for found in read(tmp_path)] == ["id"]
    assert claim(second) is None
    journal.close()


def test_the_old_file_of_a_living_process_cannot_be_claimed(tmp_path: Path) -> None:
    path = tmp_path / "uploads-1-0.journal"
    path.touch()
    remains = claim(path)
    assert remains is not None
    remains.remove()
    remains.close()
    assert claim(path) is None


def test_what_is_left_can_be_claimed_while_its_process_lives(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(2):
        entry = journal.begin(PATH)
        journal.know(entry, f"id-{number}")
        journal.leave(entry)
        journal.leave(entry)
    claimed = [remains for path in journals(tmp_path) if (remains := claim(path)) is not None]
    assert len(claimed) == 1
    assert [entry.upload_id for entry in claimed[0].entries.values()] == ["id-0", "id-1"]
    # A sweeper has that file; what is left now goes to another.
    journal.leave(journal.begin(PATH))
    assert len(journals(tmp_path)) == 3
    claimed[0].close()
    journal.close()


def test_half_a_line_costs_nothing_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(PATH)
    journal.close()
    (path,) = journals(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"n": 2, "buck')
    assert [found.path for found in read(tmp_path)] == [PATH]


def test_links_are_no_journals(tmp_path: Path) -> None:
    (tmp_path / "other").write_text('{"n": 1, "bucket": "bucket", "key": "key", "time": 0}\n')
    (tmp_path / "uploads-1-0.journal").symlink_to("other")
    assert journals(tmp_path) == []


def test_a_journal_is_for_its_owner_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(PATH)
    assert journals(tmp_path)[0].stat().st_mode & 0o777 == 0o600
    journal.close()


def test_a_missing_disk_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "nowhere")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            entry = journal.begin(PATH)
            journal.know(entry, "id")
            journal.leave(entry)
    assert len(caplog.records) == 1
    journal.close()


def test_after_a_full_disk_everything_open_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    first = journal.begin(PATH)
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr("os.write", full)
        return write(descriptor, data[:10])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", half)
    journal.begin(PATH)
    journal.know(first, "first")
    monkeypatch.setattr("os.write", write)
    journal.begin(PATH)
    assert sorted((found.number, found.upload_id) for found in read(tmp_path)) == [(1, "first"), (2, None), (3, None)]
    journal.close()
