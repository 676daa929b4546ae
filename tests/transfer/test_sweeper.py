"""Aborting what the dead have left, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from pathlib import Path

import pytest

from s3proxy.errors import StoreRefused, StoreTimeout
from s3proxy.protocol.keys import ObjectPath
from s3proxy.store.contract import MultipartUpload, ObjectAttributes
from s3proxy.transfer.journal import Journal, journals
from s3proxy.transfer.sweeper import CREATE_SECONDS, SKEW_SECONDS, Sweeper
from tests.fakes import FaultyStore, MemoryStore
from tests.transfer.rig import PATH

AGE = 900.0


class Clock:
    """A time that tests set, in seconds after now."""

    def __init__(self) -> None:
        self.later = 0.0

    def __call__(self) -> float:
        return time.time() + self.later


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> FaultyStore:
    return FaultyStore(memory)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sweeper(store: FaultyStore, tmp_path: Path, clock: Clock) -> Sweeper:
    """A sweeper for which all that was begun is old enough."""
    clock.later = AGE + 1
    return Sweeper(store, tmp_path, name="here", age=AGE, clock=clock)


@pytest.fixture
def dead(tmp_path: Path) -> Journal:
    """The journal of a process that the test ends by `close`."""
    return Journal(tmp_path, store="here")


async def create(store: FaultyStore, path: ObjectPath = PATH) -> MultipartUpload:
    return await store.create_upload(path, ObjectAttributes())


async def begin(journal: Journal, store: FaultyStore, path: ObjectPath = PATH) -> MultipartUpload:
    entry = journal.begin(path)
    upload = await create(store, path)
    journal.know(entry, upload.upload_id)
    return upload


async def test_what_a_dead_process_left_is_aborted_and_told(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    uploads = [await begin(dead, store) for _ in range(3)]
    dead.close()
    with caplog.at_level(logging.WARNING):
        done = await sweeper.sweep()
    assert done.uploads == uploads
    assert memory.uploads == {}
    assert sweeper.swept == 3
    assert [vars(record)["fields"]["upload_id"] for record in caplog.records] == [each.upload_id for each in uploads]
    assert journals(sweeper._directory) == []


async def test_a_living_process_is_left_alone(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal
) -> None:
    await begin(dead, store)
    assert (await sweeper.sweep()).uploads == []
    assert len(memory.uploads) == 1
    dead.close()


async def test_what_somebody_else_began_is_left_alone(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal
) -> None:
    theirs = await create(store)
    await begin(dead, store)
    dead.close()
    await sweeper.sweep()
    assert list(memory.uploads) == [theirs.upload_id]


async def test_a_young_upload_waits_for_its_age(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal, clock: Clock
) -> None:
    await begin(dead, store)
    dead.close()
    clock.later = AGE - 10
    assert (await sweeper.sweep()).left == 1
    assert len(memory.uploads) == 1
    clock.later = AGE + 1
    assert len((await sweeper.sweep()).uploads) == 1
    assert memory.uploads == {}


async def test_a_wish_without_an_id_is_found_by_its_exact_key(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal
) -> None:
    dead.begin(PATH)
    await create(store)
    other = await create(store, ObjectPath("bucket", "key-longer"))
    dead.close()
    assert len((await sweeper.sweep()).uploads) == 1
    assert list(memory.uploads) == [other.upload_id]


@pytest.mark.parametrize("shift", [-SKEW_SECONDS - 5, CREATE_SECONDS + 5])
async def test_an_upload_of_the_key_at_another_time_is_somebody_elses(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal, shift: float
) -> None:
    dead.begin(PATH)
    theirs = await create(store)
    memory.uploads[theirs.upload_id].began += timedelta(seconds=shift)
    dead.close()
    assert (await sweeper.sweep()).uploads == []
    assert list(memory.uploads) == [theirs.upload_id]
    assert journals(sweeper._directory) == []


async def test_a_wish_never_takes_the_upload_of_a_living_process(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal, tmp_path: Path
) -> None:
    dead.begin(PATH)
    lost = await create(store)
    dead.close()
    living = Journal(tmp_path, store="here")
    theirs = await begin(living, store)
    assert (await sweeper.sweep()).uploads == [lost]
    assert list(memory.uploads) == [theirs.upload_id]
    living.close()


async def test_a_wish_waits_while_a_living_process_wishes_the_same(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal, tmp_path: Path
) -> None:
    dead.begin(PATH)
    await create(store)
    dead.close()
    living = Journal(tmp_path, store="here")
    wish = living.begin(PATH)
    assert (await sweeper.sweep()).left == 1
    living.end(wish)
    assert len((await sweeper.sweep()).uploads) == 1
    assert memory.uploads == {}
    living.close()


async def test_two_dead_wishes_do_not_wait_for_each_other(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal, tmp_path: Path
) -> None:
    another = Journal(tmp_path, store="here")
    for journal in (dead, another):
        journal.begin(PATH)
        await create(store)
        journal.close()
    assert len((await sweeper.sweep()).uploads) == 2
    assert memory.uploads == {}
    assert journals(tmp_path) == []


async def test_what_the_store_refuses_stays_for_the_next_time(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal
) -> None:
    await begin(dead, store)
    await begin(dead, store)
    dead.begin(PATH)
    dead.close()
    store.fail("abort_upload", StoreTimeout())
    store.fail("list_uploads", StoreRefused(reason="AccessDenied"))
    done = await sweeper.sweep()
    assert (len(done.uploads), done.left, done.faults) == (1, 2, 2)
    assert len((await sweeper.sweep()).uploads) == 1
    assert memory.uploads == {}
    assert sweeper.swept == 2
    assert journals(sweeper._directory) == []


async def test_a_bucket_that_is_gone_has_no_uploads(sweeper: Sweeper, dead: Journal) -> None:
    dead.begin(ObjectPath("no-such-bucket", "key"))
    dead.close()
    done = await sweeper.sweep()
    assert (done.uploads, done.left, done.faults) == ([], 0, 0)
    assert journals(sweeper._directory) == []


async def test_the_journal_of_another_store_is_not_ours(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, tmp_path: Path
) -> None:
    elsewhere = Journal(tmp_path, store="elsewhere")
    await begin(elsewhere, store)
    elsewhere.close()
    assert (await sweeper.sweep()).uploads == []
    assert len(memory.uploads) == len(journals(tmp_path)) == 1


async def test_a_dry_run_changes_nothing(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, dead: Journal
) -> None:
    upload = await begin(dead, store)
    dead.close()
    for _ in range(2):
        assert (await sweeper.sweep(dry_run=True)).uploads == [upload]
    assert sweeper.swept == 0
    assert list(memory.uploads) == [upload.upload_id]
    assert (await sweeper.sweep()).uploads == [upload]


async def test_it_runs_now_and_at_every_interval(
    sweeper: Sweeper, store: FaultyStore, memory: MemoryStore, tmp_path: Path
) -> None:
    running = asyncio.create_task(sweeper.run(60))
    for swept in (1, 2):
        journal = Journal(tmp_path, store="here")
        await begin(journal, store)
        journal.close()
        await asyncio.sleep(61)
        assert sweeper.swept == swept
    running.cancel()
    assert memory.uploads == {}
