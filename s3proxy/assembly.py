"""Everything of one server process, put together as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3proxy.access.links import Links
from s3proxy.access.quotas import Quotas
from s3proxy.buckets import BucketsFileError
from s3proxy.errors import AccessUnavailable
from s3proxy.handlers.front import FrontServer
from s3proxy.observe.metrics import Metric, Metrics
from s3proxy.observe.watchdog import Watchdog
from s3proxy.protocol.origins import Origins
from s3proxy.protocol.parts import MAX_PART_SIZE, PartPolicy
from s3proxy.service import Limits, Service
from s3proxy.store.build import build_store, load_buckets
from s3proxy.transfer.budget import MemoryBudget
from s3proxy.transfer.cleanup import Cleanup
from s3proxy.transfer.journal import Journal
from s3proxy.transfer.reader import Downloads
from s3proxy.transfer.spool import Spool
from s3proxy.transfer.sweeper import Sweeper
from s3proxy.transfer.writer import Uploads
from settings import MIB, Settings

DOWNLOAD_SHARE = 16
"""The part of the memory budget that uploads leave to downloads, as a divisor."""


class Refused(Exception):
    """The server cannot start like this. The text says why and holds no secret."""


def build_service(settings: Settings) -> Service:
    """Everything the handlers share, from the settings. Raises `Refused`."""
    try:
        buckets = load_buckets(settings)
        store = build_store(settings, buckets)
    except BucketsFileError as fault:
        raise Refused(str(fault)) from None
    budget = build_budget(settings)
    spool = Spool(settings.spool_dir, settings.spool_limit_mb * MIB)
    cleanup = Cleanup(store)
    return Service(
        store=store,
        uploads=Uploads(
            store,
            budget,
            spool,
            cleanup,
            policy=part_policy(settings),
            window=settings.upload_window,
            algorithm=settings.s3_checksum,
            journal=Journal(settings.journal_dir, store=settings.store_name),
        ),
        downloads=Downloads(
            store,
            budget,
            chunk_size=settings.download_chunk_size * MIB,
            range_size=settings.download_range_size_mb * MIB,
            window=settings.download_window,
            resumes=settings.download_resumes,
        ),
        cleanup=cleanup,
        limits=Limits(
            form_hold_limit=settings.form_hold_limit_mb * MIB,
            form_max_fields=settings.form_max_fields,
            client_timeout=settings.client_timeout_seconds,
            linger=settings.linger_seconds,
            client_min_rate=settings.client_min_rate,
            max_transfers=settings.max_transfers,
            redirect_size=settings.redirect_size_mb * MIB,
            redirect_seconds=settings.redirect_expires_seconds,
        ),
        **build_access(settings),
        buckets=buckets,
        origins=Origins(frozenset(settings.cors_origins), settings.cors_max_age_seconds),
        public_url=str(settings.public_url).rstrip("/") if settings.public_url else None,
        inline_types=settings.inline_types,
    )


def build_budget(settings: Settings) -> MemoryBudget:
    """The memory for bodies, with a reserve for downloads as far as uploads that are not spooled leave room for it."""
    memory = settings.memory_budget_mb * MIB
    uploads = max(2 * settings.upload_multipart_chunk_size, settings.upload_multipart_limit_mb) * MIB
    return MemoryBudget(memory, reserve=max(0, min(memory // DOWNLOAD_SHARE, memory - uploads)))


def part_policy(settings: Settings) -> PartPolicy:
    """The sizes of parts. A large one is held while it fills and another is on its way, in memory or on disk."""
    part_size = settings.upload_multipart_chunk_size * MIB
    put_limit = settings.upload_multipart_limit_mb * MIB
    held = (settings.memory_budget_mb + settings.spool_limit_mb) * MIB // 2
    return PartPolicy(
        part_size=part_size,
        max_part_size=min(max(held, part_size, put_limit), MAX_PART_SIZE),
        put_limit=put_limit,
        max_parts=settings.s3_max_parts,
        equal_parts=settings.s3_equal_parts,
        max_object_size=settings.max_object_size_mb * MIB,
    )


def build_access(settings: Settings) -> Mapping[str, Any]:
    """Who may come and what is counted of it: fields of `Service`, none where it is open. Raises `Refused`."""
    if settings.access_file is None:
        return {}
    # A third of the time a start takes, and megabytes, that an open service need not spend.
    from s3proxy.access.access_guard import AccessGuard
    from s3proxy.access.file import AccessFileError, load
    from s3proxy.access.reload import Reloader
    from s3proxy.ledger.database import open_ledger

    try:
        guard = AccessGuard(load(settings.access_file))
        ledger = open_ledger(settings.ledger_url)
    except (AccessFileError, ValueError) as fault:
        raise Refused(str(fault)) from None
    except AccessUnavailable:
        raise Refused("The ledger's database (DATABASE_URL) does not work.") from None
    return {
        "guard": guard,
        "reloader": Reloader(settings.access_file, guard),
        "ledger": ledger,
        "links": Links(lambda: guard.policy, ledger),
        "quotas": Quotas(ledger),
    }


def build_metrics(service: Service, server: FrontServer, watchdog: Watchdog, sweeper: Sweeper) -> Metrics:
    """What this process tells of itself."""
    metrics = [
        Metric("requests", "Requests being served.", lambda: len(service.traffic)),
        Metric("transfers", "Uploads and downloads under way.", lambda: service.traffic.transfers),
        Metric("connections", "Open connections of clients.", lambda: server.connections),
        Metric("connections_refused_total", "Connections over MAX_CONNECTIONS.", lambda: server.refused),
        Metric("memory_granted_bytes", "Memory held by bodies.", lambda: service.uploads.budget.granted),
        Metric("memory_waiting", "Transfers that wait for memory.", lambda: service.uploads.budget.waiting),
        Metric("uploads_swept_total", "Uploads of dead processes that were aborted.", lambda: sweeper.swept),
        Metric("uploads_left_total", "Uploads that could not be aborted.", lambda: service.cleanup.failed),
        Metric("loop_stalls_total", "Times our code held the event loop too long.", lambda: watchdog.stalls),
        Metric("loop_starvations_total", "Times the machine did.", lambda: watchdog.starvations),
    ]
    reloader = service.reloader
    if reloader is not None:
        metrics += [
            Metric("access_reloads_total", "Access files put in force.", lambda: reloader.reloads),
            Metric("access_failures_total", "Access files that were broken.", lambda: reloader.failures),
            Metric("access_broken", "Whether the access file is broken now.", lambda: reloader.broken),
        ]
    return Metrics(metrics)
