"""S1 to S6 and S22: the store is not there, refuses, or answers nonsense."""

from __future__ import annotations

from tests.faults import client, kinds
from tests.faults.acts import LARGE, MIDDLING, SMALL, get, post, put
from tests.faults.calls import Operation
from tests.faults.client import Answer, exchange
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import Row
from tests.faults.stage import BUCKET, Scene


def unready(scene: Scene) -> Answer:
    """With no store, every call ends soon, this process lives and says that it is not ready."""
    assert scene.alive().status == 200, "/healthz"
    assert scene.request("GET", "/readyz").status == 503, "/readyz"
    assert scene.request("GET", scene.path).status in (502, 503, 504), "GET"
    assert scene.put(SMALL).status in (502, 503, 504), "small PUT"
    return scene.put(LARGE)


def field_upload_then(scene: Scene) -> Answer:
    """A form whose bucket does not exist, in the original service's words."""
    answer = exchange(
        scene.port,
        "POST",
        "/files",
        scene.headers(Content_Type=client.FORM_TYPE),
        client.form(
            client.field("bucket_name", "nosuchbucket"),
            client.field("object_name", scene.key),
            client.file(scene.body(LARGE)),
        ),
    )
    scene.new = b""
    assert answer.detail == "Bucket nosuchbucket does not exist.", answer.detail
    return answer


def _refusals() -> list[Row]:
    """Every refusal at every call of an upload: nothing is stored, nothing is left, and the status says whose fault."""
    rows = []
    table: tuple[tuple[str, int, str, int], ...] = (
        ("S2", 503, "SlowDown", 503),
        ("S4", 500, "InternalError", 502),
        ("S5", 403, "AccessDenied", 502),
        ("S5", 400, "ExpiredToken", 502),
        ("S22", 403, "RequestTimeTooSkewed", 502),
    )
    for number, status, code, ours in table:
        calls: tuple[tuple[Operation, int], ...] = (
            ("put", SMALL),
            ("put", MIDDLING),
            ("create", LARGE),
            ("part", LARGE),
        )
        for operation, size in calls:
            kind = f"small {operation}" if size == SMALL else operation
            rows.append(
                Row(
                    number=number,
                    sentence=f"{kind} refused with {code} stores nothing",
                    act=put(size),
                    rules=(Rule(operation, kinds.error(status, code), ALWAYS),),
                    statuses=(ours,),
                    after=("old",),
                    retry_after=ours == 503,
                    fast=status == 403 and code == "AccessDenied",
                )
            )
        rows.append(
            Row(
                number=number,
                sentence=f"complete refused with {code} stores nothing",
                act=put(LARGE),
                rules=(Rule("complete", kinds.error(status, code), ALWAYS),),
                statuses=(ours,),
                after=("old",),
                retry_after=ours == 503,
            )
        )
    return rows


def _pages() -> list[Row]:
    """What is no answer of S3 at all, at every call of an upload."""
    calls: tuple[tuple[Operation, int], ...] = (
        ("put", MIDDLING),
        ("create", LARGE),
        ("part", LARGE),
        ("complete", LARGE),
    )
    return [
        Row(
            number="S22",
            sentence=f"{what} in answer to {operation} is no success",
            act=put(size),
            rules=(Rule(operation, fault, ALWAYS),),
            statuses=(502,),
            after=("old",),
            fast=operation == "complete",
        )
        for what, fault in (("a page", kinds.page()), ("a page with 502", kinds.page(502)))
        for operation, size in calls
    ]


ROWS: tuple[Row, ...] = (
    Row(
        number="S1",
        sentence="refused connections fail in seconds and the process lives",
        act=unready,
        fault="store refuses connections",
        settings={"S3_ENDPOINT_URL": "http://127.0.0.1:1"},
        statuses=(502, 503, 504),
        after=("old",),
        seconds=30,
    ),
    Row(
        number="S1",
        sentence="a store whose name is unknown fails in seconds",
        act=unready,
        fault="store's name is unknown",
        settings={"S3_ENDPOINT_URL": "http://store.invalid"},
        statuses=(502, 503, 504),
        after=("old",),
        seconds=40,
    ),
    *_refusals(),
    Row(
        number="S2",
        sentence="SlowDown once is waited out",
        act=put(LARGE),
        rules=(Rule("create", kinds.error(503, "SlowDown")),),
        fast=True,
    ),
    Row(
        number="S3",
        sentence="a part that fails twice is sent again",
        act=put(LARGE),
        rules=(Rule("part", kinds.error(500, "InternalError"), 2),),
        calls={"part": 5, "complete": 1},
        fast=True,
    ),
    Row(
        number="S3",
        sentence="a form whose part fails twice is stored",
        act=post(LARGE),
        rules=(Rule("part", kinds.error(500, "InternalError"), 2),),
    ),
    Row(
        number="S4",
        sentence="a form whose part always fails stores nothing",
        act=post(LARGE),
        rules=(Rule("part", kinds.error(500, "InternalError"), ALWAYS, 2),),
        statuses=(502,),
        after=("old",),
    ),
    Row(
        number="S4",
        sentence="a chunked body whose part is reset always stores nothing",
        act=put(LARGE, chunked=True),
        rules=(Rule("part", kinds.reset(), ALWAYS, 2),),
        statuses=(502,),
        after=("old",),
    ),
    Row(
        number="S5",
        sentence="a form that S3 refuses is answered as the original did",
        act=post(LARGE),
        rules=(Rule("create", kinds.error(403, "AccessDenied"), ALWAYS),),
        statuses=(400,),
        after=("old",),
        fast=True,
    ),
    Row(
        number="S5",
        sentence="a part refused while the abort is refused too leaves one upload",
        act=put(LARGE),
        rules=(
            Rule("part", kinds.error(403, "AccessDenied"), ALWAYS),
            Rule("abort", kinds.error(403, "AccessDenied"), 2),
        ),
        statuses=(502,),
        after=("old",),
    ),
    Row(
        number="S5",
        sentence="a bucket that vanishes is 404 before a byte is sent",
        act=put(LARGE),
        rules=(Rule("create", kinds.error(404, "NoSuchBucket"), ALWAYS),),
        statuses=(404,),
        after=("old",),
        calls={"part": 0},
        fast=True,
    ),
    Row(
        number="S5",
        sentence="a form into no bucket is answered as the original did",
        act=field_upload_then,
        statuses=(404,),
        after=("old",),
    ),
    Row(
        number="S6",
        sentence="a part that S3 timed out on is sent again",
        act=put(LARGE),
        rules=(Rule("part", kinds.error(400, "RequestTimeout")),),
        fast=True,
    ),
    Row(
        number="S6",
        sentence="a small object that S3 timed out on is sent again",
        act=put(MIDDLING),
        rules=(Rule("put", kinds.error(400, "RequestTimeout")),),
    ),
    Row(
        number="S6",
        sentence="a part damaged on its way is sent again",
        act=put(LARGE),
        rules=(Rule("part", kinds.error(400, "BadDigest")),),
        calls={"part": 4},
        fast=True,
    ),
    Row(
        number="S6",
        sentence="a part damaged on its way again and again is sent once more and no success",
        act=put(LARGE),
        rules=(Rule("part", kinds.error(400, "BadDigest"), ALWAYS, 3),),
        statuses=(502,),
        after=("old",),
        calls={"part": 4},
    ),
    Row(
        number="S6",
        sentence="a small object damaged on its way is sent again",
        act=put(SMALL),
        rules=(Rule("put", kinds.error(400, "BadDigest"), 2),),
        calls={"put": 3},
    ),
    *_pages(),
    Row(
        number="S22",
        sentence="a page in answer to a download is an error",
        act=lambda scene: get(LARGE)(scene),
        rules=(Rule("get", kinds.page(502), ALWAYS),),
        statuses=(502,),
    ),
    Row(
        number="S22",
        sentence="a page in answer to a listing is an error",
        act=lambda scene: scene.request("GET", f"/files/{BUCKET}/"),
        rules=(Rule("list", kinds.page(), ALWAYS),),
        statuses=(502,),
        after=("old",),
    ),
    Row(
        number="S22",
        sentence="a store that holds other bytes than it was sent is no success",
        act=put(LARGE),
        rules=(Rule("complete", kinds.wrong_checksum()),),
        statuses=(502,),
        after=("new",),
    ),
    Row(
        number="S22",
        sentence="a redirect to another region is no success",
        act=put(LARGE),
        rules=(Rule(None, kinds.error(301, "PermanentRedirect"), ALWAYS),),
        statuses=(502,),
        after=("old",),
        fast=True,
    ),
)
