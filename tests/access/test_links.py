"""Share links: worth exactly what was signed, as long as nobody takes it back, and as often as it says."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.access.link_token import MAX_SIZE, Terms, seal, unseal
from s3proxy.access.links import LISTED, Link, Links
from s3proxy.access.policy import Action, Grant, Pattern, Principal, Quota, Via
from s3proxy.errors import AccessUnavailable, BadRequest, Forbidden, InvalidKey, NotFound, Unauthorized
from s3proxy.ledger.records import LinkRecord
from s3proxy.protocol.keys import ObjectPath
from tests.access.virtual import virtual
from tests.loop import run, settle

NOW = 1_772_366_400.0
OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32

REPORT = ObjectPath("docs", "alice/2026/report.pdf")
INBOX = ObjectPath("docs", "alice/inbox/")
SECRET = ObjectPath("docs", "board/salaries.pdf")

ALL = frozenset(Action)


@dataclass
class Rules:
    """Keeps `RulesLike`."""

    secrets: tuple[bytes, ...] = (NEW, OLD)
    longest: float = 86_400.0


def principal(name: str = "alice", *actions: Action, on: str = "docs/{principal}/**", **others: Any) -> Principal:
    """Somebody who may do these things (all, by default) there."""
    grant = Grant(frozenset(actions) or ALL, Pattern.parse(on, name))
    return Principal(**({"name": name, "via": Via.KEY, "grants": (grant,)} | others))


@dataclass
class House:
    """Keeps `PolicyLike`: who lives here, and the rules for links."""

    people: dict[str, Principal] = field(default_factory=lambda: {"alice": principal()})
    links: Rules | None = field(default_factory=Rules)
    asked: list[tuple[str, Via, tuple[str, ...]]] = field(default_factory=list)

    def resolve(self, name: str, via: Via, groups: tuple[str, ...]) -> Principal | None:
        self.asked.append((name, via, groups))
        return self.people.get(name)


class Book:
    """Keeps `LedgerLike`, in memory; a claim takes a while, and nothing works when told so."""

    def __init__(self) -> None:
        self.links: dict[str, LinkRecord] = {}
        self.works = True

    async def add_link(self, record: LinkRecord) -> None:
        self._answer()
        self.links[record.id] = record

    async def link(self, link_id: str) -> LinkRecord | None:
        self._answer()
        return self.links.get(link_id)

    async def claim(self, link_id: str, now: float) -> bool:
        self._answer()
        found = self.links[link_id]
        if found.uses_allowed is not None and found.uses >= found.uses_allowed:
            return False
        self.links[link_id] = replace(found, uses=found.uses + 1)
        await asyncio.sleep(1)
        return True

    async def refund(self, link_id: str) -> None:
        self._answer()
        self.links[link_id] = replace(self.links[link_id], uses=self.links[link_id].uses - 1)

    async def revoke(self, link_id: str) -> None:
        self._answer()
        self.links[link_id] = replace(self.links[link_id], revoked=True)

    async def links_of(self, issuer: str, now: float, limit: int) -> Sequence[LinkRecord]:
        self._answer()
        return [link for link in self.links.values() if link.issuer == issuer][:limit]

    def _answer(self) -> None:
        if not self.works:
            raise AccessUnavailable


class Office:
    """Links with all they need in our hands."""

    def __init__(self) -> None:
        self.house = House()
        self.book = Book()
        self.now = NOW
        self.links = Links(lambda: self.house, self.book, lambda: self.now)

    async def download(self, **others: Any) -> tuple[Link, str]:
        wish: dict[str, Any] = {"issuer": principal(), "action": Action.READ, "path": REPORT, "seconds": 3_600}
        return await self.links.issue(**(wish | others))

    async def upload(self, **others: Any) -> tuple[Link, str]:
        return await self.download(**({"action": Action.WRITE} | others))

    async def is_refused(self, token: str) -> bool:
        (answer,) = await asyncio.gather(self.links.identify(token), return_exceptions=True)
        if not isinstance(answer, Unauthorized):
            assert isinstance(answer, tuple), answer
            return False
        return answer.message == Unauthorized.summary  # One and the same answer.


class TestIdentify:
    @virtual
    async def test_a_download_link_reads_its_object_and_does_nothing_else(self) -> None:
        office = Office()
        _, token = await office.download()
        bearer, link = await office.links.identify(token)
        assert bearer.may(Action.READ, REPORT)
        assert not any(bearer.may(action, REPORT) for action in ALL - {Action.READ})
        for key in (REPORT.key + "x", REPORT.key[:-1], "alice/2026/", "alice/2026/other.pdf"):
            assert not any(bearer.may(action, ObjectPath("docs", key)) for action in ALL)
        assert not bearer.may(Action.READ, replace(REPORT, bucket="docs2"))
        assert not any(bearer.may_all(action, REPORT) for action in ALL)
        assert (link.path, link.action, link.is_prefix) == (REPORT, Action.READ, False)

    @virtual
    async def test_an_upload_link_writes_its_object_and_does_not_read_it(self) -> None:
        office = Office()
        _, token = await office.upload()
        bearer, _ = await office.links.identify(token)
        assert bearer.may(Action.WRITE, REPORT)
        assert not any(bearer.may(action, REPORT) for action in ALL - {Action.WRITE})

    @virtual
    async def test_a_prefix_link_writes_all_under_it_and_nothing_beside(self) -> None:
        office = Office()
        _, token = await office.upload(path=INBOX, is_prefix=True)
        bearer, link = await office.links.identify(token)
        assert link.is_prefix
        assert bearer.may_all(Action.WRITE, INBOX)
        assert bearer.may(Action.WRITE, ObjectPath("docs", "alice/inbox/a/b.txt"))
        assert not bearer.may(Action.WRITE, ObjectPath("docs", "alice/inbox"))
        assert not bearer.may(Action.WRITE, REPORT)

    @virtual
    async def test_who_comes_has_the_issuer_s_name_and_the_link_s_id(self) -> None:
        office = Office()
        link, token = await office.download(issuer=principal(via=Via.OIDC, groups=("staff",)))
        bearer, found = await office.links.identify(token)
        assert (bearer.name, bearer.via, bearer.link, bearer.groups) == ("alice", Via.LINK, link.id, ())
        assert found == link
        assert office.house.asked == [("alice", Via.OIDC, ("staff",))]

    @pytest.mark.parametrize(
        ("of_issuer", "of_link", "smaller"), [(None, None, None), (5, None, 5), (None, 7, 7), (5, 7, 5), (9, 7, 7)]
    )
    @virtual
    async def test_the_smaller_size_counts_and_the_rest_of_the_quota_is_the_issuer_s(
        self, of_issuer: int | None, of_link: int | None, smaller: int | None
    ) -> None:
        office = Office()
        office.house.people["alice"] = principal(quota=Quota(object_size=of_issuer, bandwidth=3))
        _, token = await office.upload(object_size=of_link)
        bearer, _ = await office.links.identify(token)
        assert bearer.quota == Quota(object_size=smaller, bandwidth=3)

    @virtual
    async def test_it_expires_to_the_second(self) -> None:
        office = Office()
        _, token = await office.download(seconds=60)
        office.now = NOW + 59.9
        assert not await office.is_refused(token)
        office.now = NOW + 60
        assert await office.is_refused(token)

    @virtual
    async def test_it_ends_with_its_issuer(self) -> None:
        office = Office()
        _, token = await office.download()
        del office.house.people["alice"]
        assert await office.is_refused(token)

    @pytest.mark.parametrize("lost", [Action.READ, Action.SHARE])
    @virtual
    async def test_it_ends_with_its_issuer_s_right(self, lost: Action) -> None:
        office = Office()
        _, token = await office.download()
        office.house.people["alice"] = principal("alice", *(ALL - {lost}))
        assert await office.is_refused(token)

    @virtual
    async def test_a_prefix_link_ends_when_its_issuer_may_no_longer_do_it_everywhere_there(self) -> None:
        office = Office()
        _, token = await office.upload(path=INBOX, is_prefix=True)
        office.house.people["alice"] = principal(on="docs/alice/inbox/*")
        assert await office.is_refused(token)

    @virtual
    async def test_it_ends_when_the_ledger_does_not_know_it(self) -> None:
        office = Office()
        _, token = await office.download()
        office.book.links.clear()
        assert await office.is_refused(token)

    @virtual
    async def test_a_ledger_that_fails_lets_nobody_in(self) -> None:
        office = Office()
        _, token = await office.download()
        office.book.works = False
        with pytest.raises(AccessUnavailable):
            await office.links.identify(token)

    @virtual
    async def test_no_link_is_worth_anything_where_none_are_configured(self) -> None:
        office = Office()
        _, token = await office.download()
        office.house.links = None
        assert await office.is_refused(token)

    @virtual
    async def test_the_log_says_why_and_has_no_token(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        office = Office()
        link, token = await office.download()
        await office.links.revoke(principal(), link.id)
        assert await office.is_refused(token)
        (record,) = caplog.records
        assert record.__dict__["fields"] == {"link": link.id, "reason": "revoked"}
        assert token not in repr(record.__dict__) + repr(link) + repr(office.book.links)


class TestSecrets:
    @virtual
    async def test_the_first_signs_and_all_verify(self) -> None:
        office = Office()
        office.house.links = Rules(secrets=(OLD,))
        _, by_old = await office.download()
        office.house.links = Rules(secrets=(NEW, OLD))
        _, by_new = await office.download()
        assert not await office.is_refused(by_old)
        office.house.links = Rules(secrets=(NEW,))
        assert await office.is_refused(by_old)
        assert not await office.is_refused(by_new)

    @virtual
    async def test_another_s_signature_is_none(self) -> None:
        office = Office()
        link, _ = await office.download()
        assert await office.is_refused(seal(link, FOREIGN))

    @given(st.text() | st.binary().map(lambda octets: octets.decode("latin-1")) | st.from_regex(r"1\.[\w-]*\.[\w-]*"))
    def test_any_text_is_no_token(self, text: str) -> None:
        assert run(Office().is_refused(text))

    def test_no_bit_of_a_token_can_be_flipped(self) -> None:
        token = seal(TERMS, NEW)
        for position, character in enumerate(token):
            for bit in range(7):
                forged = token[:position] + chr(ord(character) ^ 1 << bit) + token[position + 1 :]
                assert unseal(forged, (NEW, OLD)) is None

    @pytest.mark.parametrize("change", ["{}=", "{}.", " {}", "{}\n", ".{}", "1.{}"])
    def test_a_token_has_one_spelling(self, change: str) -> None:
        assert unseal(change.format(seal(TERMS, NEW)), (NEW,)) is None

    def test_one_that_is_too_long_is_not_looked_at(self) -> None:
        assert unseal(seal(replace(TERMS, types=("x" * MAX_SIZE,)), NEW), (NEW,)) is None

    @given(
        st.builds(
            Terms,
            id=st.text(),
            action=st.sampled_from([Action.READ, Action.WRITE]),
            path=st.builds(ObjectPath, st.text(max_size=63), st.text(st.characters(codec="utf-8"), max_size=256)),
            is_prefix=st.booleans(),
            expires=st.integers(0, 2**40),
            object_size=st.none() | st.integers(1, 2**53),
            types=st.lists(st.sampled_from(["image/*", "application/pdf"])).map(tuple),
            uses=st.none() | st.integers(1, 100),
        )
    )
    def test_what_is_sealed_is_read_back(self, terms: Terms) -> None:
        token = seal(terms, OLD)
        assert unseal(token, (NEW, OLD)) == terms
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")

    @virtual
    async def test_a_stranger_learns_no_names_from_a_token(self) -> None:
        office = Office()
        issuer = principal(on="docs/**", groups=("staff",))
        _, token = await office.download(issuer=issuer, path=SECRET)
        middle = token.split(".")[1]
        said = base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)).decode()
        assert SECRET.key in json.loads(said)
        assert "alice" not in said
        assert "staff" not in said

    def test_what_a_later_release_signs_is_not_understood(self) -> None:
        token = seal(replace(TERMS, action="dance"), NEW)  # type: ignore[arg-type]
        assert unseal(token, (NEW,)) is None


class TestIssue:
    @virtual
    async def test_it_is_good_for_as_long_as_asked(self) -> None:
        link, _ = await Office().download(seconds=90)
        assert link.expires == NOW + 90

    @pytest.mark.parametrize("missing", [Action.READ, Action.SHARE])
    @virtual
    async def test_who_may_not_share_or_not_do_it_gets_none(self, missing: Action) -> None:
        office = Office()
        with pytest.raises(Forbidden):
            await office.download(issuer=principal("alice", *(ALL - {missing})))
        assert office.book.links == {}

    @virtual
    async def test_nobody_shares_what_is_another_s(self) -> None:
        with pytest.raises(Forbidden):
            await Office().download(path=SECRET)

    @virtual
    async def test_a_prefix_needs_the_right_to_all_under_it(self) -> None:
        with pytest.raises(Forbidden):
            await Office().upload(issuer=principal(on="docs/alice/*/*"), path=INBOX, is_prefix=True)

    @virtual
    async def test_a_whole_bucket_is_the_empty_prefix(self) -> None:
        office = Office()
        office.house.people["alice"] = principal(on="docs/**")
        _, token = await office.upload(issuer=principal(on="docs/**"), path=ObjectPath("docs", ""), is_prefix=True)
        bearer, _ = await office.links.identify(token)
        assert bearer.may(Action.WRITE, SECRET)
        assert not bearer.may(Action.WRITE, ObjectPath("other", "key"))

    @virtual
    async def test_who_came_by_a_link_makes_none(self) -> None:
        office = Office()
        _, token = await office.download()
        bearer, _ = await office.links.identify(token)
        with pytest.raises(Forbidden):
            await office.download(issuer=bearer)

    @virtual
    async def test_there_are_none_where_none_are_configured(self) -> None:
        office = Office()
        office.house.links = None
        with pytest.raises(Forbidden):
            await office.download()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"seconds": 0},
            {"seconds": -1},
            {"seconds": 86_401},
            {"seconds": math.inf},
            {"seconds": math.nan},
            {"object_size": 0},
            {"object_size": -1},
            {"object_size": 2**64},
            {"uses": 0},
            {"types": ["pdf"]},
            {"types": ["*/*"]},
            {"types": ["*/pdf"]},
            {"types": ["image/*; q=1"]},
            {"types": ["image/png,text/html"]},
            {"types": ["image/png"] + [f"image/{number}" for number in range(20)]},
            {"action": Action.DELETE},
            {"action": Action.LIST},
            {"action": Action.SHARE},
            {"action": Action.READ, "uses": 1},
            {"action": Action.READ, "types": ["image/*"]},
            {"action": Action.READ, "object_size": 1},
            {"action": Action.READ, "path": INBOX, "is_prefix": True},
            {"path": ObjectPath("docs", "alice/inbox"), "is_prefix": True},
            {"path": ObjectPath("no/bucket", "alice/key")},
        ],
    )
    @virtual
    async def test_a_wish_that_means_nothing_is_refused(self, wrong: dict[str, Any]) -> None:
        office = Office()
        with pytest.raises(BadRequest):
            await office.upload(**wrong)
        assert office.book.links == {}

    @pytest.mark.parametrize("key", ["", "alice/../board/salaries.pdf", "alice/\n", "alice/" + "k" * 1024])
    @virtual
    async def test_a_key_that_means_nothing_is_refused(self, key: str) -> None:
        with pytest.raises(InvalidKey):
            await Office().upload(path=ObjectPath("docs", key))


class TestUses:
    @virtual
    async def test_a_single_use_is_for_one_at_a_time(self) -> None:
        office = Office()
        link, token = await office.upload(uses=1)
        results = await asyncio.gather(*(office.links.claim(link) for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results].count(Unauthorized) == 4
        assert await office.is_refused(token)

    @virtual
    async def test_an_upload_that_stored_nothing_gives_its_use_back(self) -> None:
        office = Office()
        link, token = await office.upload(uses=1)
        await office.links.claim(link)
        await office.links.refund(link)
        assert not await office.is_refused(token)
        await office.links.claim(link)

    @virtual
    async def test_who_is_cancelled_while_it_claims_has_not_claimed(self) -> None:
        office = Office()
        link, token = await office.upload(uses=1)
        claiming = asyncio.create_task(office.links.claim(link))
        await settle()
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        await asyncio.sleep(2)
        assert office.book.links[link.id].uses == 0
        assert not await office.is_refused(token)


class TestRevoke:
    @virtual
    async def test_its_issuer_ends_it_at_once_and_may_do_so_twice(self) -> None:
        office = Office()
        link, token = await office.download()
        await office.links.revoke(principal(), link.id)
        await office.links.revoke(principal(), link.id)
        assert await office.is_refused(token)

    @virtual
    async def test_an_issuer_who_lost_every_right_still_may(self) -> None:
        office = Office()
        link, _ = await office.download()
        await office.links.revoke(principal(grants=()), link.id)
        assert office.book.links[link.id].revoked

    @virtual
    async def test_who_may_share_the_same_may_too(self) -> None:
        office = Office()
        link, _ = await office.download()
        await office.links.revoke(principal("root", on="*/**"), link.id)
        assert office.book.links[link.id].revoked

    @pytest.mark.parametrize(
        "by",
        [
            principal("bob"),
            principal("bob", Action.READ, Action.WRITE, on="*/**"),
            principal("alice", Action.READ, via=Via.LINK, link="that one"),
            principal("root", on="*/**", via=Via.LINK, link="that one"),
        ],
    )
    @virtual
    async def test_anybody_else_is_told_that_there_is_none(self, by: Principal) -> None:
        office = Office()
        link, _ = await office.download()
        for link_id in (link.id, "no such link"):
            with pytest.raises(NotFound):
                await office.links.revoke(by, link_id)
        assert not office.book.links[link.id].revoked


class TestList:
    @virtual
    async def test_one_sees_one_s_own(self) -> None:
        office = Office()
        link, _ = await office.download()
        assert [record.id for record in await office.links.list(principal())] == [link.id]
        assert await office.links.list(principal("bob")) == []

    @virtual
    async def test_it_ends_somewhere(self) -> None:
        office = Office()
        link, _ = await office.download()
        office.book.links |= {str(number): office.book.links[link.id] for number in range(2 * LISTED)}
        assert len(await office.links.list(principal())) == LISTED

    @virtual
    async def test_who_came_by_a_link_sees_none(self) -> None:
        office = Office()
        _, token = await office.download()
        bearer, _ = await office.links.identify(token)
        with pytest.raises(Forbidden):
            await office.links.list(bearer)


TERMS = Terms(id="one", action=Action.READ, path=REPORT, is_prefix=False, expires=int(NOW) + 60)


@pytest.mark.parametrize(
    ("types", "content_type", "taken"),
    [
        ((), "", True),
        ((), "anything at all", True),
        (("application/pdf",), "application/pdf", True),
        (("application/pdf",), "Application/PDF ; version=1.7", True),
        (("application/pdf",), "application/pdfx", False),
        (("application/pdf",), "", False),
        (("application/pdf",), "; application/pdf", False),
        (("image/*",), "image/png", True),
        (("image/*",), "IMAGE/svg+xml;charset=utf-8", True),
        (("image/*",), "image/", False),
        (("image/*",), "image/*", False),
        (("image/*",), "imagex/png", False),
        (("image/*", "text/plain"), "text/plain", True),
        (("image/*", "text/plain"), "text/html", False),
        (("image/*",), "image/png, text/html", False),
        (("image/*",), "image/png;, text/html", False),
        (("image/*",), "image/png text/html", False),
        (("image/*",), "image/png/text/html", False),
    ],
)
def test_a_link_takes_the_types_it_says(types: tuple[str, ...], content_type: str, taken: bool) -> None:
    link = Link(
        id="one", action=Action.WRITE, path=REPORT, is_prefix=False, expires=1, types=types, issuer="", via=Via.KEY,
        groups=(),
    )  # fmt: skip
    assert link.takes(content_type) is taken
