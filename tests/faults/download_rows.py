"""S17 to S19: a download that the store breaks off."""

from __future__ import annotations

from tests.faults import kinds
from tests.faults.acts import CRASH, LARGE, SMALL, broken, get, whole
from tests.faults.client import Answer
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import Row
from tests.faults.stage import MIB, Scene


def replaced_midway(scene: Scene) -> Answer:
    """GET an object that is replaced when the service asks for more of it."""
    old, scene.new = scene.body(6 * MIB), b""
    scene.truth.put(scene.key, old)
    other = b"replaced" * MIB

    def replace() -> None:
        scene.truth.put(scene.key, other)

    swap = Rule("get", kinds.first(replace, "object replaced"), nth=2)
    scene.proxy.install([Rule("get", kinds.cut(300_000)), swap])
    answer = scene.request("GET", scene.path)
    scene.new = other
    assert not answer.whole, "nothing shows that the object is not whole"
    assert old.startswith(answer.body), "bytes of two objects were mixed"
    return answer


def look_refused(scene: Scene) -> None:
    """HEAD has no body, and S3's refusal no code."""
    answer = scene.request("HEAD", scene.path_of("sentinel"))
    assert (answer.status, answer.code) == (502, "store_refused"), f"{answer.status} {answer.code}"


ROWS: tuple[Row, ...] = (
    *(
        Row(
            number="S17",
            sentence=f"a download refused with {code} is {ours}",
            act=get(size),
            rules=(Rule("get", kinds.error(status, code), ALWAYS),),
            statuses=(ours,),
            retry_after=ours == 503,
            fast=code == "NoSuchKey",
        )
        for status, code, ours, size in (
            (500, "InternalError", 502, SMALL),
            (503, "SlowDown", 503, LARGE),
            (403, "AccessDenied", 502, SMALL),
            (404, "NoSuchKey", 404, SMALL),
            (404, "NoSuchBucket", 404, LARGE),
        )
    ),
    Row(
        number="S17",
        sentence="a download whose first connection is reset arrives whole",
        act=whole(get(LARGE)),
        rules=(Rule("get", kinds.reset(), 2),),
    ),
    Row(
        number="S17",
        sentence="a download whose store hangs is 504",
        act=get(LARGE),
        rules=(Rule("get", kinds.hang(), ALWAYS),),
        statuses=(504,),
        seconds=CRASH,
    ),
    Row(
        number="S17",
        sentence="a look at an object that is refused is 502",
        act=look_refused,
        rules=(Rule("head", kinds.error(403, "AccessDenied"), ALWAYS),),
        after=("old",),
    ),
    Row(
        number="S18",
        sentence="a download broken off ten times arrives whole",
        act=whole(get(LARGE)),
        rules=(Rule("get", kinds.cut(400_000), 10),),
        fast=True,
    ),
    Row(
        number="S18",
        sentence="a download reset ten times arrives whole",
        act=whole(get(LARGE)),
        rules=(Rule("get", kinds.cut(400_000, rst=True), 10),),
    ),
    Row(
        number="S18",
        sentence="a small download cut short arrives whole",
        act=whole(get(SMALL)),
        rules=(Rule("get", kinds.cut(50_000)),),
        fast=True,
    ),
    Row(
        number="S18",
        sentence="a download that stalls is taken up again",
        act=whole(get(LARGE)),
        rules=(Rule("get", kinds.stall(700_000), 2),),
    ),
    Row(
        number="S18",
        sentence="a download that stays broken ends in a visible error",
        act=broken(get(LARGE)),
        rules=(Rule("get", kinds.cut(900_000), 2), Rule("get", kinds.error(500, "InternalError"), ALWAYS, 3)),
        statuses=(200,),
        seconds=90,
    ),
    Row(
        number="S19",
        sentence="a download whose object is replaced ends in a visible error",
        act=replaced_midway,
        fault="object replaced between two reads",
        fast=True,
    ),
)
