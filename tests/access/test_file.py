"""The access file: every fault at once, no secret in what is said about it, and what it means."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3proxy.access import api_key
from s3proxy.access.file import AccessFileError, Policy, load
from s3proxy.access.policy import Action, Quota, Via
from s3proxy.protocol.keys import ObjectPath
from tests.access.people import KEY, OLD_KEY, password_hash, people, policy_of

MIB = 1024 * 1024
SECRET = base64.b64encode(b"s" * 32).decode()

OIDC = """
[[oidc]]
issuer = "https://id.example.org"
audience = "s3proxy"
algorithms = ["RS256", "EdDSA"]
name_claim = "email"
groups_claim = "realm_access.roles"
groups = { "s3-admins" = "staff" }
default_groups = ["guests"]
leeway_seconds = 5
[[oidc]]
issuer = "http://localhost:8080/realms/x"
audience = "other"
"""


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """The policy of `people`."""
    return policy_of(people(), tmp_path)


def quota_of(policy: Policy, name: str, via: Via, *groups: str) -> Quota:
    """The quota of somebody who is there."""
    principal = policy.resolve(name, via, groups)
    assert principal is not None
    return principal.quota


def faults_of(text: str, directory: Path) -> str:
    """What is said about a file."""
    with pytest.raises(AccessFileError) as caught:
        policy_of(text, directory)
    return str(caught.value)


def path(text: str) -> ObjectPath:
    return ObjectPath(*text.split("/", 1))


def test_a_principal_has_its_own_grants_and_those_of_its_groups(policy: Policy) -> None:
    alice = policy.resolve("alice", Via.KEY)
    assert alice is not None
    assert (alice.name, alice.via, alice.groups) == ("alice", Via.KEY, ())
    assert alice.may(Action.WRITE, path("home/alice/a/b"))
    assert alice.may(Action.READ, path("photos/2026/a.jpg"))
    assert not alice.may(Action.WRITE, path("photos/2026/a.jpg"))
    assert not alice.may(Action.READ, path("home/bob/a"))
    assert not alice.may(Action.READ, path("public/a"))


def test_quotas_are_in_bytes_and_ones_own_comes_before_the_groups_and_everybodys(policy: Policy) -> None:
    assert quota_of(policy, "alice", Via.KEY) == Quota(
        object_size=100 * MIB, daily_bytes=1000 * MIB, transfers=4, requests_per_second=10, bandwidth=MIB
    )
    assert quota_of(policy, "bob", Via.PASSWORD) == Quota(transfers=16)
    assert quota_of(policy, "carol", Via.PROXY, "guests", "staff") == Quota(transfers=3)
    assert quota_of(policy, "carol", Via.PROXY) == Quota(transfers=16)


def test_keys_passwords_and_ends_are_kept(policy: Policy) -> None:
    assert policy.keys[api_key.digest(KEY)].principal == "alice"
    old = policy.keys[api_key.digest(OLD_KEY)]
    assert (old.expires, old.label) == (datetime(2027, 1, 1, tzinfo=UTC).timestamp(), "ci")
    assert policy.passwords["alice"] == password_hash()


def test_a_name_that_somebody_vouches_for_has_what_its_groups_have(policy: Policy) -> None:
    carol = policy.resolve("carol", Via.PROXY, ["staff", "gone", "staff"])
    assert carol is not None
    assert carol.groups == ("staff", "gone", "staff")
    assert carol.may(Action.LIST, path("photos/x"))
    assert not carol.may(Action.READ, path("home/carol/x"))
    nobody = policy.resolve("carol", Via.PROXY)
    assert nobody is not None
    assert nobody.grants == ()


def test_a_principals_name_means_the_name_that_is_vouched_for(tmp_path: Path) -> None:
    text = people() + '[groups.own]\ngrants = [ { allow = ["write"], on = "home/{principal}/**" } ]\n'
    carol = policy_of(text, tmp_path).resolve("carol", Via.PROXY, ["own"])
    assert carol is not None
    assert carol.may(Action.WRITE, path("home/carol/x"))
    assert not carol.may(Action.WRITE, path("home/alice/x"))


def test_a_name_of_the_file_is_nobody_elses_unless_it_says_so(policy: Policy) -> None:
    assert policy.resolve("alice", Via.PROXY, ["staff"]) is None
    bob = policy.resolve("bob", Via.PROXY, ["staff"])
    assert bob is not None
    assert bob.groups == ("staff",)
    assert bob.may(Action.READ, path("photos/x"))


def test_groups_count_only_where_somebody_vouches_for_them(policy: Policy) -> None:
    bob = policy.resolve("bob", Via.PASSWORD, ["staff"])
    assert bob is not None
    assert bob.groups == ()
    assert bob.grants == ()


@pytest.mark.parametrize(
    ("name", "via"),
    [
        ("carol", Via.KEY),
        ("carol", Via.PASSWORD),
        ("carol", Via.OIDC),  # No issuer is configured.
        ("bob", Via.OIDC),
        ("alice", Via.LINK),
        ("alice", Via.OPEN),
        ("anyone", Via.OPEN),
        ("a/b", Via.PROXY),
        ("..", Via.PROXY),
        ("", Via.PROXY),
        ("*", Via.PROXY),
        ("{principal}", Via.PROXY),
        ("carol\n", Via.PROXY),
        ("cárol", Via.PROXY),
        ("x" * 129, Via.PROXY),
    ],
)
def test_nobody_is_nobody(policy: Policy, name: str, via: Via) -> None:
    assert policy.resolve(name, via, ["staff"]) is None


def test_issuers_are_a_table_or_several(tmp_path: Path) -> None:
    one, other = policy_of(people() + OIDC, tmp_path).issuers
    assert (one.issuer, one.algorithms, one.name_claim) == ("https://id.example.org", ("RS256", "EdDSA"), "email")
    assert (one.groups_claim, one.leeway, one.groups.ours(["s3-admins", "x"])) == (
        "realm_access.roles",
        5,
        ("guests", "staff"),
    )
    assert (other.algorithms, other.name_claim, other.leeway) == (("RS256", "ES256"), "sub", 30)
    table = OIDC.split("[[oidc]]")[1]
    assert policy_of(f"{people()}[oidc]{table}", tmp_path).issuers == (one,)


def test_links_have_secrets_and_a_longest_life_in_seconds(tmp_path: Path) -> None:
    links = policy_of(f'{people()}[links]\nsecrets = ["{SECRET}"]\nlongest_days = 0.5', tmp_path).links
    assert links is not None
    assert (links.secrets, links.longest) == ((b"s" * 32,), 43_200)
    assert "sss" not in repr(links)


def test_a_policy_shows_no_hash_in_a_repr(policy: Policy) -> None:
    assert "argon2" not in repr(policy)
    assert api_key.digest(KEY).hex() not in repr(policy)
    assert repr(api_key.digest(KEY)) not in repr(policy)


def test_the_digest_tells_versions_apart(tmp_path: Path) -> None:
    one, same, other = (policy_of(people() + tail, tmp_path).digest for tail in ("", "", "\n"))
    assert one == same != other


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[principals.'a b']", "principals.a b"),
        ("[principals.a]\nkey = []", "principals.a.key"),
        ("[principals.a]\nkeys = ['sha256:00']", "principals.a.keys.0"),
        ("[principals.a]\nkeys = [3]", "principals.a.keys.0"),
        ("[principals.a]\nkeys = [{ label = 'x' }]", "principals.a.keys.0.hash"),
        (f"[principals.a]\nkeys = [{{ hash = 'sha256:{'0' * 64}', expires = 2027-01-01 }}]", "keys.0.expires"),
        (f"[principals.a]\nkeys = [{{ hash = 'sha256:{'0' * 64}', expires = 2027-01-01T00:00:00 }}]", "keys.0.expires"),
        ("[principals.a]\npassword = 'hunter2'", "principals.a.password"),
        ("[principals.a]\nalso = ['key']", "principals.a.also.0"),
        ("[principals.a]\ngroups = ['gone']", "principals.a.groups: no group 'gone'"),
        ("[principals.a]\ngrants = [{ allow = [], on = 'b/**' }]", "grants.0.allow"),
        ("[principals.a]\ngrants = [{ allow = ['reed'], on = 'b/**' }]", "grants.0.allow.0"),
        ("[principals.a]\ngrants = [{ allow = ['read'], on = 'b' }]", "grants.0.on"),
        ("[principals.a]\ngrants = [{ allow = ['read'], on = 'b/{user}/**' }]", "grants.0.on"),
        ("[principals.a.quota]\nobject_mb = 0", "quota.object_mb"),
        ("[principals.a.quota]\nobject_mb = 1.5", "quota.object_mb"),
        ("[principals.a.quota]\ntransfers = true", "quota.transfers"),
        ("[principals.a.quota]\nrequests_per_second = inf", "quota.requests_per_second"),
        ("[groups.a]\nkeys = []", "groups.a.keys"),
        ("[oidc]\nissuer = 'https://x'\naudience = 'a'\nalgorithms = ['none']", "oidc.0.algorithms.0"),
        ("[oidc]\nissuer = 'https://x'\naudience = 'a'\nalgorithms = ['HS256']", "oidc.0.algorithms.0"),
        ("[oidc]\nissuer = 'https://x'\naudience = 'a'\nalgorithms = []", "oidc.0.algorithms"),
        ("[oidc]\nissuer = 'http://x'\naudience = 'a'", "oidc.0.issuer"),
        ("[oidc]\nissuer = 'file:///etc'\naudience = 'a'", "oidc.0.issuer"),
        ("[oidc]\nissuer = 'https://me:pw@x'\naudience = 'a'", "oidc.0.issuer"),
        ("[oidc]\nissuer = 'https://x'", "oidc.0.audience"),
        ("[oidc]\nissuer = 'https://x'\naudience = 'a'\ngroups = { x = 'gone' }", "oidc.0.groups.x: no group 'gone'"),
        ("[oidc]\nissuer = 'https://x'\naudience = 'a'\ndefault_groups = ['gone']", "oidc.0.default_groups: no group"),
        ("[[oidc]]\nissuer = 'https://x'\naudience = 'a'\n" * 2, "oidc: the same issuer"),
        ("[proxy]\naddresses = []", "proxy.addresses"),
        ("[proxy]\naddresses = ['0.0.0.0/0']", "proxy.addresses.0"),
        ("[proxy]\naddresses = ['::/0']", "proxy.addresses.0"),
        ("[proxy]\naddresses = ['nginx']", "proxy.addresses.0"),
        ("[proxy]\naddresses = ['10.0.0.1']\nheader = 'Authorization'", "proxy.header"),
        ("[proxy]\naddresses = ['10.0.0.1']\nheader = 'X User'", "proxy.header"),
        ("[proxy]\naddresses = ['10.0.0.1']\ngroups = { x = 'gone' }", "proxy.groups.x: no group 'gone'"),
        ("[links]\nsecrets = []", "links.secrets"),
        ("[links]\nsecrets = ['c2hvcnQ=']", "links.secrets.0"),
        ("[links]\nsecrets = ['hunter2!']", "links.secrets.0"),
        ("[links]\nlongest_days = 1", "links.secrets"),
        ("[principals.a]\n[colour]\n", "colour"),
        ("", "nobody"),
        ("[groups.a]", "nobody"),
        ("[[[", "TOML"),
        ("principals = 3", "principals"),
        ("a = " + "9" * 5_000, "TOML"),
        ("a = " + "[" * 5_000, "TOML"),
    ],
    ids=lambda text: text[:50],
)
def test_a_fault_is_told_with_its_place(text: str, place: str, tmp_path: Path) -> None:
    assert place in faults_of(text, tmp_path)


def test_a_key_of_two_principals_is_a_fault(tmp_path: Path) -> None:
    key = api_key.written_hash(KEY)
    text = faults_of(f'[principals.a]\nkeys = ["{key}"]\n[principals.b]\nkeys = ["{key}"]', tmp_path)
    assert "the same key is there twice" in text
    assert key not in text


def test_all_faults_are_told_at_once_and_no_secret_is(tmp_path: Path) -> None:
    text = faults_of(
        f"""
        [principals.alice]
        keys = ["{KEY}", {{ hash = "sha256:{KEY}", secret = "{KEY}" }}]
        password = "hunter2"
        token = "hunter2"
        [links]
        secrets = ["{SECRET}x"]
        longest_days = "hunter2"
        [oidc]
        issuer = "https://hunter2@x"
        """,
        tmp_path,
    )
    for place in ("keys.0", "keys.1.hash", "keys.1.secret", "password", "token", "secrets.0", "longest_days", "issuer"):
        assert place in text
    for secret in (KEY, "hunter2", SECRET):
        assert secret not in text


def test_all_names_of_groups_that_are_not_there_are_told_at_once(tmp_path: Path) -> None:
    text = faults_of("[principals.a]\ngroups = ['x', 'y']\n[principals.b]\ngroups = ['z']", tmp_path)
    assert re.findall("no group '(.)'", text) == ["x", "y", "z"]


def test_the_example_of_the_documentation_is_a_good_file(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "access.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    text = "".join(block for block in blocks if "also =" not in block).replace("$argon2id$…", password_hash())
    for digit in "12":
        text = text.replace("sha256:…", "sha256:" + digit * 64, 1)
    assert policy_of(text, tmp_path).issuers
    assert "also =" in page


def test_a_file_that_is_missing_a_directory_or_too_long_is_an_access_file_error(tmp_path: Path) -> None:
    for place in (tmp_path / "gone.toml", tmp_path):
        with pytest.raises(AccessFileError, match=re.escape(str(place))):
            load(place)
    long = tmp_path / "long.toml"
    with long.open("wb") as file:
        file.truncate(16 * MIB + 1)
    with pytest.raises(AccessFileError, match="over 16 MiB"):
        load(long)


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_a_policy_or_an_access_file_error(tmp_path: Path, octets: bytes) -> None:
    place = tmp_path / "any.toml"
    place.write_bytes(octets)
    with pytest.raises(AccessFileError):
        load(place)


@given(st.integers(0, len(people()) - 1), st.sampled_from("\0\"'[]{}=#\n9é") | st.none())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_one_mistake_leaves_a_policy_or_an_access_file_error(
    tmp_path: Path, position: int, character: str | None
) -> None:
    text = people()
    text = text[:position] + (character or "") + text[position + 1 :]
    told = ""
    try:
        policy_of(text, tmp_path)
    except AccessFileError as fault:
        told = str(fault)
    assert password_hash()[-20:] not in told
