"""What is open while a server or a command runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bascule.access.authenticate import Authenticator
from bascule.access.directory import DirectoryService
from bascule.access.keys import KeyService
from bascule.access.login import Login
from bascule.access.rights import RightsService
from bascule.access.tokens import TokenVerifier
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.state import StateStore
from bascule.core.vectors import VectorStore
from bascule.db.catalogue import SqlCatalogue
from bascule.db.jobs import DurableJobs
from bascule.gateway.call_writer import CallWriter
from bascule.gateway.gateway import Gateway
from bascule.settings import Settings

if TYPE_CHECKING:  # a gateway without rag loads none of it
    from bascule.bootstrap.reload import Reloader
    from bascule.bootstrap.routes import RouteAdmin
    from bascule.bootstrap.sources import Sources
    from bascule.rag.embedders import Embedders
    from bascule.rag.explanations import Explanations
    from bascule.rag.index import Indexer
    from bascule.rag.ingest import Ingest
    from bascule.rag.questions import Questions
    from bascule.rag.reembed import Reembed
    from bascule.rag.retention import Retention


@dataclass(kw_only=True)
class App:
    """Everything a server or a command needs, open. What answers from documents is None with `[rag] enabled = false`."""

    settings: Settings
    catalogue: SqlCatalogue
    gateway: Gateway
    state: StateStore
    authenticator: Authenticator
    tokens: TokenVerifier | None = None  # None without [tokens]
    login: Login | None = None  # None without [login]
    keys: KeyService
    rights: RightsService
    directory: DirectoryService
    jobs: DurableJobs
    calls: CallWriter
    ingest: Ingest | None = None
    indexer: Indexer | None = None
    questions: Questions | None = None
    reembed: Reembed | None = None
    embedders: Embedders | None = None
    retention: Retention | None = None
    explanations: Explanations | None = None
    store: VectorStore | None = None
    sources: Sources | None = None  # None without [sources]
    fetch_document: Callable[[str], Awaitable[SourceItem | SkippedItem]] | None = None  # with server.fetch_urls
    deleted_again: int = 0  # at start: see `bootstrap.deletions`
    reloader: Reloader | None = None  # takes changes without a restart
    routes: RouteAdmin | None = None
    degraded: list[str] = field(default_factory=list)  # what was missing at start, in words (law 11)
