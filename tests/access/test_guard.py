"""The guard: each way in, and 401 for everything else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import argon2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3proxy.access.access_guard import AccessGuard
from s3proxy.access.guard import Caller, Guard, OpenGuard
from s3proxy.access.policy import ANYONE, Action, Principal, Via
from s3proxy.access.snapshot import Policy
from s3proxy.errors import AccessUnavailable, QuotaExceeded, S3ProxyError, Unauthorized
from s3proxy.protocol.keys import ObjectPath
from tests.access.issuer import Issuer, jwk
from tests.access.people import (
    ADDRESS,
    KEY,
    OLD_KEY,
    PASSWORD,
    UNKNOWN_KEY,
    Clock,
    basic,
    bearer,
    caller,
    listening,
    people,
    policy_of,
)
from tests.loop import run

PEER = "10.1.2.3"
BEFORE_2027 = 1_798_000_000.0
IN_2027 = 1_799_000_000.0


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """The policy of `people`."""
    return policy_of(people(), tmp_path)


def guard_of(policy: Policy, now: Clock | None = None) -> AccessGuard:
    return AccessGuard(policy, clock=Clock(), wall_clock=now or Clock(BEFORE_2027))


async def outcome(guard: Guard, who: Caller) -> Principal | type[S3ProxyError]:
    """Who it is, or how they are turned away."""
    try:
        return await guard.identify(who)
    except S3ProxyError as fault:
        return type(fault)


def outcomes(guard: Guard, *callers: Caller) -> list[Principal | type[S3ProxyError]]:
    """The same for each, one after the other."""

    async def main() -> list[Principal | type[S3ProxyError]]:
        return [await outcome(guard, who) for who in callers]

    return run(main())


@pytest.mark.parametrize(
    ("headers", "peer", "name", "via"),
    [
        ([bearer(KEY)], ADDRESS, "alice", Via.KEY),
        ([("X-Api-Key", KEY)], ADDRESS, "alice", Via.KEY),
        ([basic("alice", KEY)], ADDRESS, "alice", Via.KEY),
        ([bearer(OLD_KEY)], ADDRESS, "alice", Via.KEY),
        ([basic("alice")], ADDRESS, "alice", Via.PASSWORD),
        ([basic("bob", "hunter2")], ADDRESS, "bob", Via.PASSWORD),
        ([("X-Remote-User", "carol")], PEER, "carol", Via.PROXY),
        ([("X-Remote-User", "bob")], PEER, "bob", Via.PROXY),
        ([("X-Remote-User", "carol"), bearer(KEY)], PEER, "alice", Via.KEY),
        ([("X-Remote-User", "carol"), basic("alice")], PEER, "alice", Via.PASSWORD),
        ([("X-Remote-User", "carol"), ("X-Api-Key", KEY)], PEER, "alice", Via.KEY),
        ([("X-Remote-User", "carol"), ("Authorization", "Negotiate YII=")], PEER, "carol", Via.PROXY),
        ([("X-Remote-User", "carol"), bearer(KEY)], ADDRESS, "alice", Via.KEY),
    ],
    ids=lambda value: str(value)[:60],
)
def test_each_way_in(policy: Policy, headers: list[tuple[str, str]], peer: str, name: str, via: Via) -> None:
    (principal,) = outcomes(guard_of(policy), caller(*headers, peer=peer))
    assert isinstance(principal, Principal)
    assert (principal.name, principal.via) == (name, via)


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ([], ADDRESS),
        ([], PEER),
        ([bearer(UNKNOWN_KEY)], ADDRESS),
        ([basic("bob", KEY)], ADDRESS),
        ([basic("", KEY)], ADDRESS),
        ([basic("alice", "")], ADDRESS),
        ([basic("alice", "hunter2")], ADDRESS),
        ([basic("Alice")], ADDRESS),
        ([basic("robot", "")], ADDRESS),
        ([basic("nobody")], ADDRESS),
        ([basic("anyone")], ADDRESS),
        ([bearer("a.b.c")], ADDRESS),
        ([("Authorization", "Negotiate YII=")], ADDRESS),
        ([("Authorization", "Negotiate YII=")], PEER),
        ([("X-Remote-User", "carol")], ADDRESS),
        ([("X-Remote-User", "alice")], PEER),
        ([("X-Remote-User", "")], PEER),
        ([("X-Remote-User", "carol"), ("X-Remote-User", "bob")], PEER),
        ([("X-Remote-User", "carol"), bearer(UNKNOWN_KEY)], PEER),
        ([("X-Remote-User", "carol"), basic("alice", "wrong")], PEER),
        ([("X-Remote-User", "carol"), ("Authorization", "Basic")], PEER),
        ([("X-Forwarded-For", PEER), ("X-Remote-User", "carol")], ADDRESS),
        ([("Cookie", f"key={KEY}")], ADDRESS),
        ([bearer(KEY), bearer(KEY)], ADDRESS),
        ([bearer(KEY), ("X-Api-Key", KEY)], ADDRESS),
        ([("Authorization", "")], ADDRESS),
        ([("Authorization", "x" * 8_192)], ADDRESS),
        ([("X-Api-Key", "\xff" * 8_192)], ADDRESS),
    ],
    ids=lambda value: str(value)[:60],
)
def test_everything_else_is_401(policy: Policy, headers: list[tuple[str, str]], peer: str) -> None:
    assert outcomes(guard_of(policy), caller(*headers, peer=peer, address=PEER)) == [Unauthorized]


def test_a_forwarded_address_makes_nobody_a_trusted_proxy(policy: Policy) -> None:
    who = caller(("X-Remote-User", "carol"), peer=ADDRESS, address=PEER)
    assert outcomes(guard_of(policy), who) == [Unauthorized]


def test_a_key_ends_when_it_says(policy: Policy) -> None:
    clock = Clock(BEFORE_2027)
    guard = guard_of(policy, clock)
    (principal,) = outcomes(guard, caller(bearer(OLD_KEY)))
    assert isinstance(principal, Principal)
    clock.now = IN_2027
    assert outcomes(guard, caller(bearer(OLD_KEY)), caller(basic("alice", OLD_KEY))) == [Unauthorized] * 2


@pytest.mark.parametrize("name", ["nobody", "robot", "alice", ""])
def test_a_wrong_password_costs_one_verification_whoever_it_is_for(
    policy: Policy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = []
    verify = argon2.PasswordHasher.verify

    def counted(hasher: argon2.PasswordHasher, hashed: str | bytes, text: str | bytes) -> bool:
        costs.append(argon2.extract_parameters(str(hashed)))
        return verify(hasher, hashed, text)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    assert outcomes(guard_of(policy), caller(basic(name, "wrong"))) == [Unauthorized]
    assert costs == [argon2.extract_parameters(policy.passwords["alice"])]


def test_a_stranger_who_guesses_somebodys_password_learns_nothing(policy: Policy) -> None:
    async def main() -> None:
        guard = guard_of(policy)
        await guard.identify(caller(basic("alice")))
        assert await outcome(guard, caller(basic("nobody", PASSWORD))) is Unauthorized
        assert len(guard._passwords._recent) == 1

    run(main())


def test_after_ten_failures_an_address_waits(policy: Policy) -> None:
    wrong, right = caller(basic("alice", "wrong")), caller(basic("alice"))
    guard = guard_of(policy)
    assert outcomes(guard, *[wrong] * 10) == [Unauthorized] * 10
    assert outcomes(guard, wrong, right, caller(bearer(UNKNOWN_KEY)), caller(bearer("a.b.c"))) == [QuotaExceeded] * 4
    elsewhere = caller(basic("alice"), address="203.0.113.1")
    good_key, nothing = caller(bearer(KEY)), caller()
    principals = outcomes(guard, elsewhere, good_key, nothing)
    assert [getattr(one, "name", one) for one in principals] == ["alice", "alice", Unauthorized]


def test_a_throttled_password_is_not_even_verified(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guard_of(policy)
    outcomes(guard, *[caller(bearer(UNKNOWN_KEY))] * 10)

    def never(*_: object) -> bool:
        raise AssertionError("verified")

    monkeypatch.setattr(argon2.PasswordHasher, "verify", never)
    assert outcomes(guard, caller(basic("alice"))) == [QuotaExceeded]


def test_a_scheme_that_is_not_ours_is_a_failure_unless_a_trusted_proxy_passed_it_on(policy: Policy) -> None:
    headers = ("Authorization", "Negotiate YII=")
    stranger, through_proxy = caller(headers), caller(headers, peer=PEER)
    assert outcomes(guard_of(policy), *[through_proxy] * 11)[-1] is Unauthorized
    assert outcomes(guard_of(policy), *[stranger] * 11)[-1] is QuotaExceeded


def test_to_ask_without_a_credential_is_no_failure(policy: Policy) -> None:
    guard = guard_of(policy)
    assert outcomes(guard, *[caller()] * 100) == [Unauthorized] * 100
    (principal,) = outcomes(guard, caller(basic("alice")))
    assert isinstance(principal, Principal)


def test_why_is_logged_and_never_what(policy: Policy) -> None:
    tries = [basic("alice", "hunter2secret"), bearer(UNKNOWN_KEY), bearer("aaa.bbb.ccc"), basic("bob", KEY)]
    with listening() as records:
        assert set(outcomes(guard_of(policy), *(caller(header) for header in tries))) == {Unauthorized}
    assert len(records.lines) == len(tries)
    assert all(fields["reason"] and fields["address"] == ADDRESS for fields in records.fields())
    logged = str([(line.getMessage(), vars(line)) for line in records.lines])
    for secret in ("hunter2secret", UNKNOWN_KEY, KEY, "aaa", *(value.split()[1] for _, value in tries)):
        assert secret not in logged


def test_what_the_client_reads_is_the_same_for_every_refusal(policy: Policy) -> None:
    async def message(who: Caller) -> tuple[str, str]:
        with pytest.raises(Unauthorized) as caught:
            await guard.identify(who)
        return caught.value.message, str(caught.value.__cause__)

    async def main() -> None:
        tries = [caller(), caller(bearer(UNKNOWN_KEY)), caller(basic("nobody")), caller(basic("alice", "x"))]
        told = [await message(who) for who in tries]
        assert {detail for detail, _ in told} == {Unauthorized.summary}
        assert [reason for _, reason in told] == [
            "no credential",
            "unknown API key",
            "wrong name or password",
            "wrong name or password",
        ]

    guard = guard_of(policy)
    run(main())


def test_a_new_policy_takes_effect_at_once(policy: Policy, tmp_path: Path) -> None:
    async def main() -> None:
        guard = guard_of(policy)
        tries = [caller(bearer(KEY)), caller(basic("alice")), caller(("X-Remote-User", "carol"), peer=PEER)]
        before = [await outcome(guard, who) for who in tries]
        assert [isinstance(principal, Principal) for principal in before] == [True] * 3
        guard.policy = policy_of("[principals.dave]", tmp_path)
        assert [await outcome(guard, who) for who in tries] == [Unauthorized] * 3
        guard.policy = policy
        assert [await outcome(guard, who) for who in tries] == before

    run(main())


def test_a_password_that_changes_while_it_is_verified_is_refused(policy: Policy, tmp_path: Path) -> None:
    async def main() -> None:
        guard = guard_of(policy)
        asking = asyncio.create_task(outcome(guard, caller(basic("alice"))))
        await asyncio.sleep(0)
        guard.policy = policy_of("[principals.alice]", tmp_path)
        assert await asking is Unauthorized

    run(main())


def test_the_challenge_says_what_is_configured(policy: Policy, tmp_path: Path) -> None:
    both = 'Basic realm="s3proxy", charset="UTF-8", Bearer realm="s3proxy"'
    assert guard_of(policy).challenge == both
    only_tokens = policy_of("[oidc]\nissuer = 'https://x'\naudience = 'a'", tmp_path)
    assert guard_of(only_tokens).challenge == 'Bearer realm="s3proxy"'


def test_the_open_guard_takes_everybody_for_anyone() -> None:
    guard = OpenGuard()
    assert guard.challenge is None
    assert outcomes(guard, caller(), caller(bearer(UNKNOWN_KEY)), caller(("Authorization", "\xff"))) == [ANYONE] * 3
    run(guard.close())


def oidc(issuer: Issuer) -> str:
    return (
        people()
        + f"""
[oidc]
issuer = "{issuer.url}"
audience = "s3proxy"
algorithms = ["ES256"]
groups_claim = "groups"
groups = {{ "s3-admins" = "staff" }}
"""
    )


def test_tokens_are_let_in_with_the_grants_of_their_groups(issuer: Issuer, tmp_path: Path) -> None:
    async def main() -> None:
        guard = guard_of(policy_of(oidc(issuer), tmp_path))
        carol = await guard.identify(caller(bearer(issuer.token(groups=["s3-admins"]))))
        assert (carol.name, carol.via, carol.groups) == ("carol", Via.OIDC, ("staff",))
        assert carol.may(Action.READ, ObjectPath("photos", "x"))
        bob = await guard.identify(caller(bearer(issuer.token(sub="bob"))))
        assert (bob.name, bob.grants) == ("bob", ())
        assert await outcome(guard, caller(bearer(issuer.token(sub="alice")))) is Unauthorized
        await guard.close()

    asyncio.run(main())


def test_a_token_is_judged_by_the_policy_in_force_and_the_keys_outlive_it(issuer: Issuer, tmp_path: Path) -> None:
    async def main() -> None:
        text = oidc(issuer)
        guard = guard_of(policy_of(text, tmp_path))
        who = caller(bearer(issuer.token(groups=["s3-admins"])))
        assert (await guard.identify(who)).groups == ("staff",)
        issuer.down = True
        guard.policy = policy_of(text.replace('"s3-admins" = "staff"', '"s3-admins" = "guests"'), tmp_path)
        assert (await guard.identify(who)).groups == ("guests",)
        guard.policy = policy_of(text.replace('audience = "s3proxy"', 'audience = "x"'), tmp_path)
        assert await outcome(guard, who) is Unauthorized
        guard.policy = policy_of(people(), tmp_path)
        assert await outcome(guard, who) is Unauthorized
        await guard.close()

    asyncio.run(main())


def test_an_issuer_that_is_down_lets_nobody_in_and_blames_nobody(issuer: Issuer, tmp_path: Path) -> None:
    async def main() -> None:
        guard = guard_of(policy_of(oidc(issuer), tmp_path))
        issuer.down = True
        for _ in range(20):
            assert await outcome(guard, caller(bearer(issuer.token()))) is AccessUnavailable
        assert isinstance(await outcome(guard, caller(basic("alice"))), Principal)
        await guard.close()

    asyncio.run(main())


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Authorization", "X-Api-Key", "X-Remote-User", "X-Remote-Groups"]),
            st.binary(max_size=60).map(lambda octets: octets.decode("latin-1"))
            | st.builds(
                lambda scheme, rest: f"{scheme} {rest}",
                st.sampled_from(["Basic", "Bearer", "bearer s3p_", "Digest"]),
                st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789+/._-= ", max_size=60),
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_401_and_nothing_worse(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    text = people() + "[oidc]\nissuer = 'https://id'\naudience = 'a'\n"
    known: Any = {"issuer": "https://id", "jwks_uri": "https://id/k", "keys": [jwk("one")]}
    guard = AccessGuard(policy_of(text, tmp_path), fetch=lambda _: known)
    (answer,) = outcomes(guard, caller(*headers))
    assert answer is Unauthorized


@pytest.mark.parametrize("way", ["Authorization", "X-Api-Key"])
def test_one_flipped_bit_of_a_key_is_never_accepted(policy: Policy, way: str) -> None:
    value = KEY if way == "X-Api-Key" else f"Bearer {KEY}"
    start = len(value) - len(KEY)
    flipped = [
        value[:position] + chr(ord(value[position]) ^ 1 << bit) + value[position + 1 :]
        for position in range(start, len(value))
        for bit in range(8)
    ]
    guard = guard_of(policy)
    assert set(outcomes(guard, *(caller((way, text), address=text) for text in flipped))) == {Unauthorized}
