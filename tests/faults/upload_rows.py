"""S7 to S16 and S23: answers to an upload are lost, late or ambiguous."""

from __future__ import annotations

from tests.faults import kinds
from tests.faults.acts import CRASH, LARGE, MIDDLING, SMALL, post, put
from tests.faults.client import Answer
from tests.faults.program import until
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import WHOLE_OR_NOTHING, Row
from tests.faults.stage import MIB, READ_TIMEOUT, Scene


def abort_behind_our_back(scene: Scene) -> Answer:
    """PUT while somebody else aborts the upload before its Complete."""

    def abort() -> None:
        for upload in scene.truth.uploads():
            scene.truth.abort(*upload)

    # moto answers 500 here, S3 404.
    gone = kinds.first(abort, "upload aborted by others", kinds.error(404, "NoSuchUpload"))
    scene.proxy.install([Rule("complete", gone, ALWAYS)])
    return scene.put(LARGE)


def client_leaves_with_parts_on_their_way(scene: Scene) -> None:
    """A client leaves while the store is slow to take its parts; the abort has to come after them."""
    connection = scene.begin_put(LARGE * 2, 11 * MIB)
    # Wholly sent, that is: a part that is cut off is none, and its end may be noticed after the abort has begun.
    assert until(lambda: sum(scene.proxy.record.injected.values()) == 2, 5), "parts are on their way"
    connection.reset()
    assert until(lambda: ("end", "abort") in scene.proxy.record.journal, 10), "the upload is aborted"
    journal = scene.proxy.record.journal
    last = max(place for place, event in enumerate(journal) if event == ("end", "part"))
    assert journal.index(("begin", "abort")) > last, "aborted while a part was on its way"


def client_leaves_with_parts_that_hang(scene: Scene) -> None:
    """A client leaves while the store is silent about its parts: no thread goes on with them for nobody."""
    connection = scene.begin_put(LARGE * 2, 11 * MIB)
    assert until(lambda: scene.proxy.record.calls["part"] == 2, 5), "parts are on their way"
    connection.reset()
    # One read timeout and the pause before a retry that is not made.
    assert until(lambda: ("end", "abort") in scene.proxy.record.journal, CRASH / 2), "the upload is aborted"


def orphan_swept_beside_its_upload(scene: Scene) -> Answer:
    """The uploads of a Create whose first answer was lost: the nameless one is swept, and not the one in use."""
    connection = scene.begin_put(LARGE, MIB)
    assert until(lambda: len(scene.truth.uploads()) == 2, 5), "there are two uploads"
    assert until(lambda: len(scene.truth.uploads()) == 1, 10), "one of them is swept"
    connection.send(scene.new[MIB:])
    return connection.answer()


SWEEPING = {"SWEEP_AGE_SECONDS": "0", "SWEEP_INTERVAL_SECONDS": "0.3"}

ROWS: tuple[Row, ...] = (
    Row(
        number="S7",
        sentence="a part whose answer is lost is sent again under its number",
        act=put(LARGE),
        rules=(Rule("part", kinds.lost_answer()),),
        calls={"part": 4, "complete": 1},
        fast=True,
    ),
    Row(
        number="S7",
        sentence="an object whose answer is lost is stored",
        act=put(MIDDLING),
        rules=(Rule("put", kinds.lost_answer()),),
    ),
    Row(
        number="S7",
        sentence="a small object whose answers are all lost is found",
        act=put(SMALL),
        rules=(Rule("put", kinds.lost_answer(), ALWAYS),),
    ),
    Row(
        number="S7",
        sentence="an object that must be new and whose answer is lost is found",
        act=put(MIDDLING, If_None_Match="*"),
        before="absent",
        rules=(Rule("put", kinds.lost_answer()),),
    ),
    Row(
        number="S7",
        sentence="an empty object that must be new and whose answer is lost is found",
        act=put(0, If_None_Match="*"),
        before="absent",
        rules=(Rule("put", kinds.lost_answer()),),
    ),
    Row(
        number="S8",
        sentence="a part that hangs is 504 and undone",
        act=put(LARGE),
        rules=(Rule("part", kinds.hang(), ALWAYS),),
        statuses=(504,),
        after=("old",),
        seconds=CRASH,
    ),
    Row(
        number="S8",
        sentence="a create that hangs is 504",
        act=put(LARGE),
        rules=(Rule("create", kinds.hang(), ALWAYS),),
        statuses=(504,),
        after=("old",),
        seconds=CRASH,
    ),
    Row(
        number="S8",
        sentence="a small object that hangs is 504",
        act=put(SMALL),
        rules=(Rule("put", kinds.hang(), ALWAYS),),
        statuses=(504,),
        after=("old",),
        seconds=CRASH,
    ),
    Row(
        number="S8",
        sentence="a part that hangs once is sent again",
        act=put(LARGE),
        rules=(Rule("part", kinds.hang()),),
        seconds=CRASH,
    ),
    Row(
        number="S9",
        sentence="a complete whose answer is lost is a success",
        act=put(LARGE),
        rules=(Rule("complete", kinds.lost_answer()),),
        fast=True,
    ),
    Row(
        number="S9",
        sentence="a form whose complete's answer is lost is a success",
        act=post(LARGE),
        rules=(Rule("complete", kinds.lost_answer()),),
    ),
    Row(
        number="S10",
        sentence="a create whose answer is lost leaves one orphan until it is old enough",
        act=put(LARGE),
        rules=(Rule("create", kinds.lost_answer()),),
        left=1,
        fast=True,
    ),
    Row(
        number="S10",
        sentence="a create whose answer is lost leaves an orphan that is swept while the upload goes on",
        act=orphan_swept_beside_its_upload,
        rules=(Rule("create", kinds.lost_answer()),),
        settings={**SWEEPING, "CLIENT_TIMEOUT_SECONDS": "20"},
        calls={"complete": 1},
    ),
    Row(
        number="S10",
        sentence="a create of which every answer is lost is no success and all its uploads are swept",
        act=put(LARGE),
        rules=(Rule("create", kinds.lost_answer(), ALWAYS),),
        settings=SWEEPING,
        statuses=(502,),
        after=("old",),
        calls={"create": 3},
    ),
    Row(
        number="S11",
        sentence="NoSuchUpload after a lost complete is resolved by looking",
        act=put(LARGE),
        rules=(
            Rule("complete", kinds.lost_answer()),
            Rule("complete", kinds.error(404, "NoSuchUpload"), ALWAYS),
        ),
        fast=True,
    ),
    Row(
        number="S11",
        sentence="every answer to a complete lost is resolved by looking",
        act=put(LARGE, chunked=True),
        rules=(Rule("complete", kinds.lost_answer(), ALWAYS),),
    ),
    Row(
        number="S11",
        sentence="without checksums a lost complete is resolved by the ETag of its parts",
        act=put(LARGE),
        rules=(Rule("complete", kinds.lost_answer(), ALWAYS),),
        settings={"S3_CHECKSUM": "none"},
    ),
    Row(
        number="S7",
        sentence="without checksums an object whose answers are all lost is whole and no success",
        act=put(MIDDLING),
        rules=(Rule("put", kinds.lost_answer(), ALWAYS),),
        settings={"S3_CHECKSUM": "none"},
        statuses=(502,),
        after=("new",),
    ),
    Row(
        number="S11",
        sentence="a complete that must be new and meets its own object is a success",
        act=put(LARGE, If_None_Match="*"),
        before="absent",
        rules=(
            Rule("complete", kinds.lost_answer()),
            Rule("complete", kinds.error(412, "PreconditionFailed"), ALWAYS),
        ),
    ),
    Row(
        number="S11",
        sentence="a lost complete that cannot be looked at is no success",
        act=put(LARGE),
        rules=(
            Rule("complete", kinds.lost_answer(), ALWAYS),
            Rule("head", kinds.error(403, "AccessDenied"), ALWAYS),
        ),
        statuses=(502,),
        after=WHOLE_OR_NOTHING,
    ),
    Row(
        number="S12",
        sentence="NoSuchUpload over the old object is no success",
        act=abort_behind_our_back,
        fault="upload aborted by others",
        statuses=(502,),
        after=("old",),
        fast=True,
    ),
    Row(
        number="S12",
        sentence="NoSuchUpload without an object is no success",
        act=abort_behind_our_back,
        fault="upload aborted by others",
        before="absent",
        statuses=(502,),
        after=("absent",),
    ),
    Row(
        number="S12",
        sentence="a part of an upload that is gone is no success",
        act=put(LARGE),
        rules=(Rule("part", kinds.error(404, "NoSuchUpload"), ALWAYS),),
        statuses=(502,),
        after=("old",),
    ),
    Row(
        number="S13",
        sentence="an error within 200 once is tried again",
        act=put(LARGE),
        rules=(Rule("complete", kinds.false_success("InternalError")),),
        fast=True,
    ),
    Row(
        number="S13",
        sentence="an error within 200 always is no success",
        act=put(LARGE),
        rules=(Rule("complete", kinds.false_success("InternalError"), ALWAYS),),
        statuses=(502,),
        after=("old",),
        fast=True,
    ),
    Row(
        number="S13",
        sentence="an error within 200 of a complete that was done is a success",
        act=put(LARGE),
        rules=(Rule("complete", kinds.false_success("InternalError", after=True), ALWAYS),),
    ),
    Row(
        number="S14",
        sentence="a complete that sends white space for longer than a read timeout is waited for",
        act=put(LARGE),
        rules=(Rule("complete", kinds.whitespace(1.5 * READ_TIMEOUT)),),
    ),
    Row(
        number="S14",
        sentence="a complete that is silent for longer than a read timeout is waited for",
        act=put(LARGE),
        rules=(Rule("complete", kinds.delay(1.5 * READ_TIMEOUT)),),
    ),
    Row(
        number="S15",
        sentence="an abort that fails is tried again",
        act=put(LARGE),
        rules=(
            Rule("part", kinds.error(403, "AccessDenied"), ALWAYS),
            Rule("abort", kinds.error(500, "InternalError"), 4),
        ),
        statuses=(502,),
        after=("old",),
        fast=True,
    ),
    Row(
        number="S16",
        sentence="an abort waits for parts on their way",
        act=client_leaves_with_parts_on_their_way,
        rules=(Rule("part", kinds.delay(1), ALWAYS),),
        after=("old",),
        fast=True,
    ),
    Row(
        number="S16",
        sentence="a part that hangs is not tried again for a client that has left",
        act=client_leaves_with_parts_that_hang,
        rules=(Rule("part", kinds.hang(), ALWAYS),),
        after=("old",),
        calls={"part": 2},
    ),
    Row(
        number="S23",
        sentence="a store that knows no checksums is served without",
        act=put(LARGE),
        rules=(
            Rule("put", kinds.refuse_checksums(), ALWAYS),
            Rule("create", kinds.refuse_checksums(), ALWAYS),
            Rule("part", kinds.refuse_checksums(), ALWAYS),
            Rule("complete", kinds.refuse_checksums(), ALWAYS),
        ),
        settings={"S3_CHECKSUM": "none"},
    ),
)
