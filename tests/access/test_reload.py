"""The access file changes while the service runs; a broken one changes nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from s3proxy.access.file import load
from s3proxy.access.reload import Reloader
from s3proxy.access.snapshot import Policy
from tests.access.people import KEY, listening, people
from tests.loop import run

GOOD = "[principals.alice]\n"
OTHER = "[principals.alice]\n[principals.bob]\n"
BROKEN = f'[principals.alice]\nkeys = ["{KEY}"]\n'


class Door:
    """What a policy is put in force at."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def names(self) -> set[str]:
        return set(self.policy.principals)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good access file."""
    place = tmp_path / "access.toml"
    place.write_text(GOOD)
    return place


def write(path: Path, text: str) -> None:
    """As `cat >` does."""
    path.write_text(text)


def replace(path: Path, text: str | None) -> None:
    """As editors and configuration systems do; None takes the file away."""
    if text is None:
        path.unlink()
        return
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def test_a_change_takes_effect_at_the_next_look(path: Path) -> None:
    async def main() -> None:
        door = Door(load(path))
        reloader = Reloader(path, door)
        await reloader.look()
        assert (door.names, reloader.reloads) == ({"alice"}, 0)
        replace(path, OTHER)
        await reloader.look()
        await reloader.look()
        assert (door.names, reloader.reloads, reloader.failures) == ({"alice", "bob"}, 1, 0)

    run(main())


def test_a_file_is_looked_at_every_two_seconds(path: Path) -> None:
    async def main() -> None:
        door = Door(load(path))
        reloader = Reloader(path, door)
        reloader.start()
        replace(path, OTHER)
        await asyncio.sleep(1.9)
        assert door.names == {"alice"}
        await asyncio.sleep(0.2)
        assert door.names == {"alice", "bob"}
        await reloader.close()
        replace(path, GOOD)
        await asyncio.sleep(10)
        assert door.names == {"alice", "bob"}

    run(main())


def test_a_file_that_changed_before_the_first_look_is_noticed(path: Path) -> None:
    async def main() -> None:
        door = Door(load(path))
        replace(path, OTHER)
        reloader = Reloader(path, door)
        await reloader.look()
        assert door.names == {"alice", "bob"}

    run(main())


def test_a_file_that_is_written_in_place_is_noticed(path: Path) -> None:
    async def main() -> None:
        door = Door(load(path))
        reloader = Reloader(path, door)
        await reloader.look()
        write(path, OTHER)
        await reloader.look()
        assert door.names == {"alice", "bob"}

    run(main())


def test_a_link_that_is_turned_elsewhere_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes updates what it mounts: the file is a link through `..data`, which is replaced."""
    for version, text in (("v1", GOOD), ("v2", OTHER)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "access.toml").write_text(text)
        os.utime(tmp_path / version / "access.toml", (0, 0))
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "access.toml"
    path.symlink_to("..data/access.toml")

    async def main() -> None:
        door = Door(load(path))
        reloader = Reloader(path, door)
        await reloader.look()
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        await reloader.look()
        assert door.names == {"alice", "bob"}

    run(main())


@pytest.mark.parametrize("broken", [BROKEN, "", "[[[", None], ids=str)
def test_a_broken_file_keeps_the_last_good_one_and_says_so_once(path: Path, broken: str | None) -> None:
    async def main() -> None:
        door = Door(load(path))
        reloader = Reloader(path, door)
        await reloader.look()
        replace(path, broken)
        for _ in range(5):
            await reloader.look()
        assert (door.names, reloader.broken, reloader.failures, reloader.reloads) == ({"alice"}, True, 1, 0)
        replace(path, OTHER)
        await reloader.look()
        assert (door.names, reloader.broken, reloader.failures, reloader.reloads) == ({"alice", "bob"}, False, 1, 1)

    with listening() as records:
        run(main())
    assert [line.levelname for line in records.lines] == ["ERROR", "INFO"]
    assert str(path) in records.fields()[0]["faults"]
    assert KEY not in str(records.fields())


def test_the_old_file_put_back_ends_the_alarm(path: Path) -> None:
    async def main() -> None:
        door = Door(load(path))
        policy = door.policy
        reloader = Reloader(path, door)
        replace(path, BROKEN)
        await reloader.look()
        assert (reloader.broken, reloader.failures) == (True, 1)
        replace(path, GOOD)
        await reloader.look()
        assert (reloader.broken, reloader.reloads) == (False, 0)
        assert door.policy is policy

    run(main())


def test_a_reload_that_is_asked_for_reads_the_file_whatever_it_looks_like(path: Path) -> None:
    async def main() -> None:
        door = Door(load(path))
        texts = iter([OTHER, BROKEN, GOOD])

        def read(path: Path) -> Policy:
            path.write_text(next(texts))
            return load(path)

        reloader = Reloader(path, door, load=read)
        await reloader.reload()
        assert door.names == {"alice", "bob"}
        await asyncio.gather(reloader.reload(), reloader.reload())
        assert (door.names, reloader.reloads, reloader.failures) == ({"alice"}, 2, 1)

    run(main())


def test_a_fault_of_ours_neither_ends_the_watch_nor_changes_who_may_what(path: Path) -> None:
    async def main() -> None:
        door = Door(load(path))
        faults: list[Exception] = [ZeroDivisionError("s3cret"), MemoryError("s3cret")]

        def read(path: Path) -> Policy:
            if faults:
                raise faults.pop()
            return load(path)

        reloader = Reloader(path, door, load=read)
        reloader.start()
        await asyncio.sleep(2.5)
        assert (door.names, reloader.broken, reloader.failures) == ({"alice"}, True, 1)
        await reloader.reload()
        assert reloader.failures == 2
        replace(path, OTHER)
        await asyncio.sleep(2.5)
        assert door.names == {"alice", "bob"}
        assert not reloader.broken
        await reloader.close()

    with listening() as records:
        run(main())
    assert "s3cret" not in str([vars(line) for line in records.lines])


def test_a_reloader_that_was_never_started_can_be_closed(path: Path) -> None:
    async def main() -> None:
        await Reloader(path, Door(load(path))).close()

    run(main())


def test_people_is_a_good_file(path: Path) -> None:
    replace(path, people())
    assert load(path).principals
