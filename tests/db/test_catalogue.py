"""The catalogue's contract, on each engine."""

from __future__ import annotations

from bascule.testing.catalogue_contract import DocumentsContract
from bascule.testing.catalogue_contract_access import AccessContract
from bascule.testing.catalogue_contract_batches import BatchContract
from bascule.testing.catalogue_contract_generations import GenerationsContract
from bascule.testing.catalogue_contract_jobs import JobControlContract


class TestDocuments(DocumentsContract):
    pass


class TestAccess(AccessContract):
    pass


class TestJobControl(JobControlContract):
    pass


class TestGenerations(GenerationsContract):
    pass


class TestBatches(BatchContract):
    pass
