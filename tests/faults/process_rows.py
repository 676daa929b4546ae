"""P1 to P9 and G2: signals to the process, a blocked event loop, and a store that is not there at the start."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults import kinds
from tests.faults.acts import LARGE
from tests.faults.client import Answer, Client, exchange, pieces_of
from tests.faults.program import until
from tests.faults.proxy import ALWAYS, Rule
from tests.faults.row import Row
from tests.faults.stage import MIB, Scene

HOOKS = Path(__file__).parent / "hooks"
"""What Python imports by itself in a server under test: SIGUSR1 blocks its loop."""


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


def kill_the_parent(scene: Scene) -> Answer:
    """SIGKILL to what started the workers: they finish what they have and end, and nobody keeps the port."""
    program = scene.server.program
    workers = program.workers
    connection = half_sent(scene)
    program.process.kill()
    program.process.wait()
    connection.send(scene.new[len(scene.new) // 2 :])
    answer = connection.answer()
    try:
        assert until(lambda: not any(_runs(pid) for pid in workers), 10), "workers outlive their parent"
    finally:
        for pid in filter(_runs, workers):
            os.kill(pid, signal.SIGKILL)
    assert _refused(scene.port), "the port is still taken"
    return answer


def _runs(pid: int) -> bool:
    """Whether a process is there and is not waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def block_the_loop(scene: Scene) -> Answer:
    """Something of ours holds the event loop for a second."""
    connection = half_sent(scene)
    os.kill(scene.server.program.workers[0], signal.SIGUSR1)
    assert until(lambda: _stalls(scene, "event loop blocked"), 5), "nobody noticed"
    connection.send(scene.new[len(scene.new) // 2 :])
    answer = connection.answer()
    stalls = _stalls(scene, "event loop blocked")
    assert any("hold_the_loop" in stall["stack"] for stall in stalls), f"by what? {stalls}"
    return answer


def stop_and_continue(scene: Scene) -> Answer:
    """The machine stops the process for a second; that is nobody's fault, and the upload goes on."""
    pid = scene.server.program.workers[0]
    connection = half_sent(scene)
    os.kill(pid, signal.SIGSTOP)
    try:
        # Nothing is sent meanwhile: with the buffers full it would wait for who is stopped.
        time.sleep(1)
    finally:
        os.kill(pid, signal.SIGCONT)
    connection.send(scene.new[len(scene.new) // 2 :])
    answer = connection.answer()
    assert not [stall for stall in _stalls(scene, "event loop blocked") if stall["seconds"] > 0.9], "our fault?"
    return answer


def _stalls(scene: Scene, message: str) -> list[dict[str, Any]]:
    return [record for record in scene.server.program.records() if record["message"] == message]


def store_comes_late(scene: Scene) -> Answer:
    """A server is started while its store does not answer; it says so, and recovers alone."""
    scene.proxy.install([Rule(None, kinds.reset(), ALWAYS)])
    with scene.stage.serve({}, warm=False) as late:
        assert scene.alive().status == 200, "/healthz of another server"

        def ready() -> int:
            return exchange(late.program.port, "GET", "/readyz", {}).status

        assert exchange(late.program.port, "GET", "/healthz", {}).status == 200, "/healthz"
        assert ready() == 503, "/readyz without a store"
        scene.proxy.heal()
        assert until(lambda: ready() == 200, 10), "it does not recover"
        return exchange(late.program.port, "PUT", scene.path, {}, scene.body(LARGE))


ROWS: tuple[Row, ...] = (
    Row(
        number="P7",
        sentence="workers whose parent is killed finish and end",
        act=kill_the_parent,
        fault="SIGKILL to the parent of two workers",
        settings={"WORKERS": "2", "CLIENT_TIMEOUT_SECONDS": "10"},
    ),
    Row(
        number="P9",
        sentence="what blocks the event loop is logged with its stack",
        act=block_the_loop,
        fault="event loop blocked for 1 s",
        settings={"PYTHONPATH": str(HOOKS), "CLIENT_TIMEOUT_SECONDS": "10"},
    ),
    Row(
        number="P9",
        sentence="a process that is stopped for a second goes on",
        act=stop_and_continue,
        fault="SIGSTOP, SIGCONT after 1 s",
        settings={"CLIENT_TIMEOUT_SECONDS": "10"},
    ),
    Row(
        number="G2",
        sentence="a server that starts before its store recovers alone",
        act=store_comes_late,
        fault="no store at the start",
        settings={},
    ),
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
