"""The server: settings, logging, services, app, listen, signals, drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application

from s3proxy import banner
from s3proxy.app import make_app
from s3proxy.assembly import Refused, build_metrics, build_service
from s3proxy.errors import AccessUnavailable
from s3proxy.handlers.front import FrontServer
from s3proxy.observe import log
from s3proxy.observe.watchdog import Watchdog
from s3proxy.service import Service
from s3proxy.store import embedded
from s3proxy.store.s3_client import has_credentials
from s3proxy.transfer.sweeper import Sweeper
from s3proxy.workers import announce, is_worker, run_workers
from s3proxy.workers import number as worker_number
from settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from s3proxy.access.reload import Reloader
    from s3proxy.ledger.database import Ledger

logger = logging.getLogger("s3proxy")

OTHER_DESCRIPTORS = 512
"""Descriptors a process may need beside its clients' connections: to the store, for spooled parts, for itself."""

LARGEST_BODY = 1 << 62
"""Bytes Tornado may let through; what is too large is told by the upload's own plan, with an answer."""

GC_THRESHOLD = 20_000
"""New objects between two searches for garbage cycles, instead of 700; requests make few."""

CLEANUP_SECONDS = 10.0
"""How long aborts may go on after the last transfer has ended."""

TIDY_INTERVAL = 3600.0
"""Seconds between two looks for what is over in the ledger."""

LEDGER_KEEPS = 86_400.0
"""Seconds for which the ledger keeps a link that has expired and a day's bytes, for those who ask."""

LEDGER_PATIENCE = 5.0
"""Seconds the ledger has to close."""

LAST_SECONDS = 1.0
"""How long each step of an end in a hurry may take."""


def room_for(connections: int) -> int:
    """How many of so many connections this process may have open, after raising its limit of descriptors for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    wanted = connections + OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    # Accepting with no descriptor left would be tried again and again, as fast as the processor can.
    return min(connections, max(soft - OTHER_DESCRIPTORS, soft // 2))


def build_server(app: Application, settings: Settings) -> FrontServer:
    """The HTTP side of one process, not yet listening."""
    return FrontServer(
        app,
        max_connections=room_for(settings.max_connections),
        max_body_size=LARGEST_BODY,
        max_header_size=settings.max_header_size_kb * 1024,
        idle_connection_timeout=settings.keepalive_timeout_seconds,
        xheaders=settings.trust_proxy_headers,
        trusted=settings.trusted_proxies,
    )


def take_waiting(server: HTTPServer, sockets: list[socket.socket]) -> None:
    """Take the connections that wait to be accepted: the kernel resets them when their listening socket closes."""
    for listener in sockets:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, address = listener.accept()
                connection.setblocking(False)
                server.handle_stream(IOStream(connection, read_chunk_size=server.read_chunk_size), address)


def follow(reloader: Reloader) -> None:
    """Have the access file read again when it changes, and on SIGHUP."""
    reloader.start()
    loop = asyncio.get_running_loop()
    reloading: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(reloader.reload())
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)


async def tidy(ledger: Ledger) -> None:
    """Drop what is over from the ledger, now and then."""
    while True:
        with contextlib.suppress(AccessUnavailable):
            await ledger.forget(time.time() - LEDGER_KEEPS)
        await asyncio.sleep(TIDY_INTERVAL)


async def close_ledger(service: Service) -> None:
    """Count what is not yet counted, and close the ledger; a database that hangs is left after some seconds."""
    if service.ledger is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEDGER_PATIENCE):
                await service.quotas.settle()
                await service.ledger.close()


async def serve(settings: Settings, watchdog: Watchdog) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the draining."""
    service = build_service(settings)
    server = build_server(make_app(service), settings)
    sockets = bind_sockets(settings.port, settings.host, family=socket.AF_UNSPEC, reuse_port=True)
    server.add_sockets(sockets)
    # What is alive now stays; searching it for garbage again and again is wasted.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    stopping, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: hurry.set() if stopping.is_set() else stopping.set())
    sweeper = Sweeper(service.store, settings.journal_dir, name=settings.store_name, age=settings.sweep_age_seconds)
    sweeping = asyncio.create_task(sweeper.run(settings.sweep_interval_seconds))
    if service.reloader is not None:
        follow(service.reloader)
    tidying = asyncio.create_task(tidy(service.ledger)) if service.ledger is not None else None
    metrics = build_metrics(service, server, watchdog, sweeper)
    if settings.metrics_port is not None:
        # Every process of its own: what several answer on one port, nobody can add up.
        metrics.start(settings.metrics_host, settings.metrics_port and settings.metrics_port + worker_number())
    watchdog.start()
    if announce():
        # Ctrl-C reaches every process of the terminal; a worker's parent hands it on as SIGTERM.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
    else:
        banner.listening(settings.host, sockets[0].getsockname()[1])
    await stopping.wait()
    sweeping.cancel()
    if tidying is not None:
        tidying.cancel()
    if service.reloader is not None:
        await service.reloader.close()
    logger.info("draining", extra={"fields": {"requests": len(service.traffic)}})
    service.traffic.draining = True
    # The next answer on each connection is its last.
    server.conn_params.no_keep_alive = True
    take_waiting(server, sockets)
    server.stop()
    hurried = asyncio.create_task(hurry.wait())

    async def unless_hurried(work: Coroutine[Any, Any, object]) -> None:
        await asyncio.wait([asyncio.create_task(work), hurried], return_when=asyncio.FIRST_COMPLETED)

    await unless_hurried(service.traffic.drain(settings.shutdown_grace_seconds))
    service.traffic.stop()
    # Refused bodies are read for a while, so that the answers arrive.
    await unless_hurried(service.traffic.idle(settings.linger_seconds))
    await asyncio.wait([asyncio.create_task(server.close_all_connections())], timeout=LAST_SECONDS)
    await unless_hurried(service.cleanup.wait(CLEANUP_SECONDS))
    clean = await service.cleanup.wait(LAST_SECONDS)
    service.uploads.journal.close()
    await service.store.close()
    await service.guard.close()
    await unless_hurried(close_ledger(service))
    logger.info("stopped", extra={"fields": {"clean": clean}})
    sys.stdout.flush()
    # A thread that hangs in a call to a silent store must not keep the process.
    os._exit(0)


def main() -> int:
    """Run the server; returns the exit code (2: the settings are wrong)."""
    try:
        settings = load_settings()
    except SettingsError as fault:
        print(fault, file=sys.stderr)
        return 2
    log.configure(settings.log_level)
    if settings.access_file is None and not is_worker():
        banner.warn_open()
    with contextlib.ExitStack() as stack:
        if settings.wants_embedded_store and embedded.is_available() and not has_credentials():
            store = stack.enter_context(embedded.EmbeddedStore())
            os.environ |= {
                "S3_ENDPOINT_URL": store.endpoint_url,
                "AWS_ACCESS_KEY_ID": "embedded",
                "AWS_SECRET_ACCESS_KEY": "embedded",
            }
            settings = load_settings()
            banner.embedded(settings.host, settings.port, embedded.BUCKET)
        if settings.workers > 1:
            return run_workers(settings.workers, os.environ, lambda: banner.listening(settings.host, settings.port))
        watchdog = Watchdog()
        try:
            with asyncio.Runner(loop_factory=watchdog.make_loop) as runner:
                runner.run(serve(settings, watchdog))
        except Refused as refusal:
            print(refusal, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
