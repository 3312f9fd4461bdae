"""Whose turn it is: what a person waits for first, then tenants in turn, then each tenant's sources in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bascule.core.jobs import OpenJob

OPEN_TURN: Final = 4  # each so-many-th turn heeds no priority, so that uploads without end do not stop a crawl for good


class Turns:
    """Remembers who was served when; nothing of it need survive the process."""

    def __init__(self) -> None:
        self._count = 0
        self._tenants: dict[str, int] = {}
        self._sources: dict[tuple[str, str], int] = {}

    def take(self, waiting: Sequence[OpenJob]) -> OpenJob:
        """The next of at least one waiting job: it has had its turn now."""
        self._count += 1
        chosen = min(waiting, key=self._open_rank if self._count % OPEN_TURN == 0 else self._rank)
        self._tenants[chosen.tenant] = self._count
        self._sources[chosen.tenant, chosen.source] = self._count
        return chosen

    def _rank(self, job: OpenJob) -> tuple[int, int, int, str]:
        return (job.priority, *self._open_rank(job))

    def _open_rank(self, job: OpenJob) -> tuple[int, int, str]:
        return self._tenants.get(job.tenant, 0), self._sources.get((job.tenant, job.source), 0), job.id
