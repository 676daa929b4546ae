"""P1 to P8: signals to the process."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

from tests.faults import kinds
from tests.faults.acts import LARGE
from tests.faults.client import Answer, Client, pieces_of
from tests.faults.program import until
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import Omitted, Row
from tests.faults.stage import MIB, Scene


def half_sent(scene: Scene, size: int = LARGE) -> Client:
    """An upload of which half is sent, its first part at the store."""
    connection = scene.begin_put(size, size // 2)
    assert until(lambda: scene.proxy.record.calls["part"] or scene.proxy.record.calls["create"], 5), "an upload began"
    return connection


def ends(scene: Scene, seconds: float) -> None:
    """The process ends by itself, in good order."""
    started = time.monotonic()
    code = scene.server.program.exit_code(seconds)
    assert code is not None, f"still running after {seconds} s"
    assert code == 0, f"exit code {code} after {time.monotonic() - started:.1f} s"


def stop_idle(scene: Scene) -> None:
    """SIGTERM with nothing to do."""
    scene.server.program.terminate()
    ends(scene, 2)


def stop_and_finish(scene: Scene) -> Answer:
    """SIGTERM at half of an upload that ends in time; its connection is the last."""
    idle = scene.open()
    idle.ask("GET", "/readyz", scene.headers())
    assert idle.answer().status == 200, "/readyz before"
    connection = half_sent(scene)
    scene.server.program.terminate()
    assert until(lambda: _refused(scene.port), 3), "new connections are still taken"
    idle.ask("GET", "/readyz", scene.headers())
    unready = idle.answer()
    assert unready.status == 503, f"/readyz says {unready.status} while draining"
    assert unready.headers.get("connection") == "close", "an idle connection is kept while draining"
    connection.send(scene.new[len(scene.new) // 2 :])
    answer = connection.answer()
    ends(scene, 5)
    return answer


def _refused(port: int) -> bool:
    try:
        Client(port).socket.close()
    except OSError:
        return True
    return False


def stop_too_slow(scene: Scene) -> Answer:
    """SIGTERM during an upload that goes on for longer than the grace."""
    connection = half_sent(scene, 40 * MIB)
    scene.server.program.terminate()
    sender = threading.Thread(target=_trickle, args=(connection, scene.new[20 * MIB :]))
    sender.start()
    answer = connection.answer()
    connection.reset()
    sender.join()
    ends(scene, 10)
    return answer


def _trickle(connection: Client, data: bytes) -> None:
    """Send at about 1 MiB/s until the connection ends."""
    try:
        for piece in pieces_of(data, 65536):
            connection.socket.sendall(piece)
            time.sleep(1 / 16)
    except OSError:
        pass  # The answer came, and whoever read it has closed the connection.


def stop_during_complete(scene: Scene) -> Answer:
    """SIGTERM while S3 joins the parts."""
    connection = scene.begin_put(LARGE, LARGE)
    assert until(lambda: scene.proxy.record.calls["complete"], 10), "the upload is completed"
    scene.server.program.terminate()
    answer = connection.answer()
    ends(scene, 5)
    return answer


def stop_twice(scene: Scene) -> None:
    """A second SIGTERM does not wait for the grace."""
    half_sent(scene, 40 * MIB)
    scene.server.program.terminate()
    assert until(lambda: "draining" in scene.server.program.output(), 3), "it drains"
    scene.server.program.terminate()
    ends(scene, 3)


def stop_with_hung_store(scene: Scene) -> None:
    """SIGTERM while a thread hangs in a call to the store."""
    connection = scene.begin_put(LARGE, LARGE)
    assert until(lambda: scene.proxy.record.injected, 5), "a part hangs"
    scene.server.program.terminate()
    connection.answer()
    # The grace, the lingering, ten seconds for aborts, and one more.
    ends(scene, 1 + 2 + 10 + 2)


def kill_one_of_two(scene: Scene) -> Answer:
    """SIGKILL to a process with uploads under way; the other one serves, and it is replaced."""
    program = scene.server.program
    before = set(program.workers)
    bodies = [random.Random(n).randbytes(8 * MIB) for n in range(20)]
    connections = []
    for n, body in enumerate(bodies):
        connection = scene.open()
        connection.ask("PUT", scene.path_of(f"killed-{n}"), {"Content-Length": str(len(body))})
        connection.send(body[: 6 * MIB])
        connections.append(connection)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    statuses = []
    for n, (connection, body) in enumerate(zip(connections, bodies, strict=True)):
        connection.send(body[6 * MIB :])
        answer = connection.answer()
        statuses.append(answer.status)
        stored = scene.truth.get(f"killed-{n}")
        assert stored in (None, body), f"upload {n} left a mixture"
        assert answer.status != 200 or stored == body, f"upload {n} was a success and is not there"
        scene.truth.remove(f"killed-{n}")
    assert set(statuses) <= {0, 200}, f"{statuses}"
    assert until(lambda: len(set(program.workers) - {victim}) == 2, 15), "the dead process is not replaced"
    return scene.put(LARGE)


def slow_beside_sweepers(scene: Scene) -> Answer:
    """An upload that takes many sweeps, in one of two processes."""
    connection = half_sent(scene)
    for piece in pieces_of(scene.new[len(scene.new) // 2 :], 256 * 1024):
        connection.send(piece)
        time.sleep(0.1)
    return connection.answer()


ROWS: tuple[Row, ...] = (
    Row(number="P1", sentence="SIGTERM ends an idle process at once", act=stop_idle, settings={}, after=("old",)),
    Row(
        number="P2",
        sentence="SIGTERM lets an upload finish and takes no more",
        act=stop_and_finish,
        fault="SIGTERM at half of an upload",
        settings={"CLIENT_TIMEOUT_SECONDS": "5", "KEEPALIVE_TIMEOUT_SECONDS": "10"},
        fast=True,
    ),
    Row(
        number="P3",
        sentence="an upload longer than the grace is told 503 and undone",
        act=stop_too_slow,
        fault="SIGTERM during a slow upload",
        settings={"SHUTDOWN_GRACE_SECONDS": "1"},
        statuses=(503,),
        after=("old",),
        retry_after=True,
    ),
    Row(
        number="P4",
        sentence="SIGTERM waits for a complete",
        act=stop_during_complete,
        rules=(Rule("complete", kinds.delay(2)),),
        fault="SIGTERM during Complete",
        settings={},
    ),
    Row(
        number="P5",
        sentence="a second SIGTERM ends the draining and undoes the uploads",
        act=stop_twice,
        fault="two SIGTERMs",
        settings={"SHUTDOWN_GRACE_SECONDS": "20", "CLIENT_TIMEOUT_SECONDS": "20"},
        after=("old",),
    ),
    Row(
        number="P6",
        sentence="SIGTERM with a thread that hangs ends by the deadline",
        act=stop_with_hung_store,
        rules=(Rule("part", kinds.hang(), ALWAYS),),
        fault="SIGTERM, part hangs",
        settings={
            "SHUTDOWN_GRACE_SECONDS": "1",
            "S3_READ_TIMEOUT_SECONDS": "60",
            "CLIENT_TIMEOUT_SECONDS": "20",
        },
        after=("old",),
        left=1,
    ),
    Row(
        number="P7",
        sentence="a process that is killed is replaced and leaves nothing half-done",
        act=kill_one_of_two,
        fault="SIGKILL with 20 uploads",
        settings={
            "WORKERS": "2",
            "CLIENT_TIMEOUT_SECONDS": "20",
            "SWEEP_AGE_SECONDS": "0",
            "SWEEP_INTERVAL_SECONDS": "1",
        },
        seconds=60,
    ),
    Row(
        number="P8",
        sentence="a sweeper that looks all the time spares live uploads",
        act=slow_beside_sweepers,
        fault="sweep each 0.1 s, age 0, beside an upload",
        settings={"WORKERS": "2", "SWEEP_AGE_SECONDS": "0", "SWEEP_INTERVAL_SECONDS": "0.1"},
    ),
)

OMITTED: tuple[Omitted, ...] = (
    Omitted("P9", "a blocked loop is noticed", "no watchdog is built yet"),
    Omitted("P10", "rolling restart under load", "tests/deploy/test_site.py shows it with nginx and supervisord"),
)
