"""What a process shares, in the sizes of a test."""

from __future__ import annotations

from pathlib import Path

from s3proxy.protocol.checksums import ChecksumAlgorithm, ClientDigests
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.parts import PartPolicy
from s3proxy.store.contract import ObjectAttributes, WriteConditions
from s3proxy.transfer.budget import MemoryBudget
from s3proxy.transfer.cleanup import Cleanup
from s3proxy.transfer.destination import Destination
from s3proxy.transfer.part import Part
from s3proxy.transfer.reader import Downloads
from s3proxy.transfer.spool import Spool
from s3proxy.transfer.writer import Uploads
from tests.fakes import FaultyStore, MemoryStore
from tests.loop import LONG

MIB = 1024 * 1024
PATH = ObjectPath("bucket", "key")
NO_DIGESTS = ClientDigests([])


class Rig:
    """One process without its server. `store` is where faults go in front of `memory`; without `spool`, no disk."""

    def __init__(
        self,
        memory: MemoryStore | None = None,
        *,
        budget: int = 16 * MIB,
        reserve: int = 0,
        spool: Path | None = None,
        spool_limit: int = 64 * MIB,
        policy: PartPolicy | None = None,
        window: int = 3,
        algorithm: ChecksumAlgorithm = ChecksumAlgorithm.CRC64NVME,
        chunk_size: int = 1_000,
        range_size: int = 5_000,
        ranges: int = 4,
        resumes: int = 3,
    ) -> None:
        self.memory = memory or MemoryStore()
        self.store = FaultyStore(self.memory)
        self.budget = MemoryBudget(budget, reserve=reserve)
        self.spool = Spool(spool or Path("/nonexistent"), spool_limit if spool else 0)
        self.cleanup = Cleanup(self.store)
        self.algorithm = algorithm
        self.uploads = Uploads(
            self.store,
            self.budget,
            self.spool,
            self.cleanup,
            policy=policy or PartPolicy(part_size=1_000, put_limit=2_500, max_parts=5, max_part_size=1_000_000),
            window=window,
            algorithm=algorithm,
        )
        self.downloads = Downloads(
            self.store,
            self.budget,
            chunk_size=chunk_size,
            range_size=range_size,
            window=ranges,
            resumes=resumes,
        )

    def part(self, capacity: int) -> Part:
        """An empty part."""
        return self.uploads.part(capacity)

    def check_empty(self) -> None:
        """Nothing is held by anybody."""
        assert self.budget.granted == 0
        assert self.budget.waiting == 0
        assert self.spool.used == 0
        assert not self.budget._filling

    async def check_clean(self) -> None:
        """Nothing is held and nothing is left to undo."""
        assert await self.cleanup.wait(LONG)
        assert self.cleanup.failed == 0
        self.check_empty()


def destination(
    size: int | None = None,
    *,
    path: ObjectPath = PATH,
    attributes: ObjectAttributes = ObjectAttributes(),  # noqa: B008 - frozen
    conditions: WriteConditions = WriteConditions(),
    digests: ClientDigests = NO_DIGESTS,
) -> Destination:
    """Where uploads go."""
    return Destination(path=path, attributes=attributes, size=size, conditions=conditions, digests=digests)
