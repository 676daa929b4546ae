"""Passwords: slow for who guesses, fast for who was right a moment ago."""

from __future__ import annotations

import argon2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.access import password
from s3proxy.access.password import HASHER, PasswordVerifier
from s3proxy.errors import AccessUnavailable
from tests.access.people import CHEAP, PASSWORD, Clock, password_hash
from tests.loop import run, settle, virtual_loop


class Counting:
    """Counts what is really verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._verify = argon2.PasswordHasher.verify
        monkeypatch.setattr(argon2.PasswordHasher, "verify", self)

    def __call__(self, hashed: str, text: str) -> bool:
        self.count += 1
        return self._verify(HASHER, hashed, text)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """How often argon2 ran."""
    return Counting(monkeypatch)


def test_the_right_password_fits_and_no_other() -> None:
    async def main() -> None:
        verifier = PasswordVerifier()
        assert await verifier.fits(password_hash(), PASSWORD)
        for wrong in ("", PASSWORD + " ", PASSWORD.upper(), password_hash(), "\0"):
            assert not await verifier.fits(password_hash(), wrong)
        verifier.close()

    run(main())


def test_a_right_password_is_verified_once_in_five_minutes(verified: Counting) -> None:
    async def main() -> None:
        clock = Clock()
        verifier = PasswordVerifier(clock=clock)
        for _ in range(10):
            assert await verifier.fits(password_hash(), PASSWORD)
        assert verified.count == 1
        clock.now += password.REMEMBERED
        assert await verifier.fits(password_hash(), PASSWORD)
        assert verified.count == 2

    run(main())


def test_a_wrong_password_is_verified_each_time(verified: Counting) -> None:
    async def main() -> None:
        verifier = PasswordVerifier()
        for _ in range(3):
            assert not await verifier.fits(password_hash(), "wrong")
        assert verified.count == 3

    run(main())


def test_another_hash_is_verified_anew(verified: Counting) -> None:
    async def main() -> None:
        verifier = PasswordVerifier()
        assert await verifier.fits(CHEAP.hash(PASSWORD), PASSWORD)
        assert await verifier.fits(CHEAP.hash(PASSWORD), PASSWORD)
        assert not await verifier.fits(CHEAP.hash("other"), PASSWORD)
        assert verified.count == 3

    run(main())


def test_who_asks_the_same_at_once_waits_for_one_answer(verified: Counting) -> None:
    async def main() -> None:
        loop = virtual_loop()
        verifier = PasswordVerifier(waiting=1)
        loop.hold_threads()
        asking = [loop.create_task(verifier.fits(password_hash(), PASSWORD)) for _ in range(20)]
        await settle()
        asking[0].cancel()  # Who began it goes away.
        loop.release_threads()
        await settle()
        assert [await task for task in asking[1:]] == [True] * 19
        assert verified.count == 1

    run(main())


def test_one_more_than_can_wait_is_told_to_come_again() -> None:
    async def main() -> None:
        loop = virtual_loop()
        verifier = PasswordVerifier(waiting=2)
        loop.hold_threads()
        asking = [loop.create_task(verifier.fits(password_hash(), text)) for text in ("a", "b")]
        await settle()
        with pytest.raises(AccessUnavailable):
            await verifier.fits(password_hash(), "c")
        loop.release_threads()
        assert [await task for task in asking] == [False, False]
        assert not await verifier.fits(password_hash(), "c")

    run(main())


def test_a_verification_that_fails_for_another_reason_says_nothing_of_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(*_: object) -> bool:
        raise argon2.exceptions.VerificationError("Memory allocation error")

    monkeypatch.setattr(argon2.PasswordHasher, "verify", no_memory)

    async def main() -> None:
        with pytest.raises(AccessUnavailable):
            await PasswordVerifier().fits(password_hash(), PASSWORD)

    run(main())


def test_a_decoy_costs_what_its_model_costs_and_fits_nothing() -> None:
    model = HASHER.hash("x")
    made = password.parse_hash(password.decoy(model))
    assert argon2.extract_parameters(made) == argon2.extract_parameters(model)
    assert made != password.decoy(model)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        HASHER.verify(made, "x")


def test_new_hashes_are_what_the_file_takes() -> None:
    assert password.parse_hash(HASHER.hash("x"))
    assert password.parse_hash(argon2.PasswordHasher().hash("x"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$",
        password_hash().replace("argon2id", "argon2i"),
        password_hash().replace("v=19", "v=16"),
        password_hash().replace("m=8", "m=99999999"),
        password_hash() + "$",
        password_hash() + "\n",
        password_hash()[:-30],
        password_hash()[:-2],
    ],
)
def test_what_is_no_argon2id_hash_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="hash-password") as caught:
        password.parse_hash(text)
    assert not text or text not in str(caught.value)


@given(st.text(max_size=120) | st.from_regex(r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[\w+/]{11,30}\$[\w+/]{22,50}"))
@settings(deadline=None)
def test_any_text_is_a_hash_or_a_value_error(text: str) -> None:
    try:
        password.parse_hash(text)
    except ValueError:
        return
