"""`python -m s3proxy.sweep`: abort now what dead processes have left, as for cron. Reads the server's settings."""

from __future__ import annotations

import argparse
import asyncio
import sys

from s3proxy.buckets import BucketsFileError
from s3proxy.store.build import build_store
from s3proxy.transfer.sweeper import Sweeper
from settings import Settings, SettingsError, load_settings


async def sweep(settings: Settings, *, dry_run: bool) -> int:
    """Sweep once and print what was done; returns the exit code (1: something could not be swept)."""
    store = build_store(settings)
    sweeper = Sweeper(store, settings.journal_dir, name=settings.store_name, age=settings.sweep_age_seconds)
    try:
        done = await sweeper.sweep(dry_run=dry_run)
    finally:
        await store.close()
    verb = "would abort" if dry_run else "aborted"
    for upload in done.uploads:
        print(f"{verb} {upload.path.bucket}/{upload.path.key} {upload.upload_id}")
    print(f"{verb} {len(done.uploads)}, left for later {done.left}, failed {done.faults}")
    return 1 if done.faults else 0


def main() -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="s3proxy.sweep", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be aborted")
    arguments = parser.parse_args()
    try:
        return asyncio.run(sweep(load_settings(), dry_run=arguments.dry_run))
    except (SettingsError, BucketsFileError) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
