"""How this server is doing and what calls came to, over HTTP: doctor's checks that a running server can make, and usage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from bascule.core.principals import SCOPE_ADMIN, SCOPE_CHAT
from bascule.core.usage import UsageRow
from bascule.ops.doctor import Finding, State, confinement, recognition, shared_state, wall, worst
from bascule.server.answers import lacks
from bascule.server.bodies import Body
from bascule.server.route import Inquiry, Route

if TYPE_CHECKING:
    from bascule.bootstrap import App

_DAY_S: Final = 86_400.0
_known: Final[dict[str, Finding]] = {}  # what was found out once for this process
_LATE_S: Final = 60.0  # a deletion that the index has not followed by then wants looking at


class Deployment(msgspec.Struct, frozen=True):
    """`open`: its breaker lets no call through for now, as this server sees it."""

    provider: str
    model: str
    open: bool


class HealthReport(msgspec.Struct, frozen=True):
    """`state`: the most serious of the findings'. They are of the whole server; no number and no path is in them."""

    state: State
    findings: list[Finding]
    deployments: list[Deployment]


class UsageQuery(Body, frozen=True, kw_only=True):
    """`days`: today is the first of them."""

    days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 30


class UsageList(msgspec.Struct, frozen=True):
    """`more`: there were too many rows; the oldest are left out, and sums fall short."""

    data: Sequence[UsageRow]
    more: bool
    object: str = "list"


async def show_health(inquiry: Inquiry) -> HealthReport:
    """GET /v1/health."""
    app = inquiry.app
    findings = [Finding(name="catalogue", state="ok", text="it answers")]
    findings += [Finding(name="degraded", state="warn", text=code.replace("_", " ")) for code in lacks(app)]
    findings += await shared_state(app.state)
    findings += wall(await app.catalogue.wall())
    findings.append(await _index(app))
    if app.settings.rag.enabled:
        findings += [await _confinement(), recognition(app.settings)]
    return HealthReport(worst(findings), findings, list(_deployments()))


async def _index(app: App) -> Finding:
    """In words: numbers would tell one tenant how busy another is."""
    if await app.catalogue.oldest_unpurged_s() > _LATE_S:
        text = "a deletion waits for the index for more than a minute"
        return Finding(
            name="index", state="warn", text=text, fix="the server's log says why; bascule doctor compares both"
        )
    waits = bool(await app.catalogue.index_changes(1))
    text = "changes are on their way to it" if waits else "it has followed every change"
    return Finding(name="index", state="ok", text=text)


async def _confinement() -> Finding:
    """It starts a process. What the kernel enforces does not change while this one lives; that none could be started may."""
    found = _known.get("parsers")
    if found is None:
        found = await asyncio.to_thread(confinement)
    if found.state != "fail":
        _known["parsers"] = found
    return found


def _deployments() -> Iterator[Deployment]:
    from bascule.gateway.metrics import BREAKER_OPEN

    for metric in BREAKER_OPEN.collect():
        for sample in sorted(metric.samples, key=lambda s: (s.labels["provider"], s.labels["model"])):
            yield Deployment(sample.labels["provider"], sample.labels["model"], sample.value > 0)


async def show_usage(inquiry: Inquiry) -> UsageList:
    """GET /v1/usage."""
    asked: UsageQuery = inquiry.query
    since_s = (time.time() // _DAY_S - (asked.days - 1)) * _DAY_S
    found = await inquiry.app.catalogue.usage(inquiry.principal, since_s)
    return UsageList(found.rows, found.more)


HEALTH_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/health",
        handler=show_health,
        scope=SCOPE_ADMIN,
        tag="Operation",
        summary="Doctor's checks of a running server, and the breaker of each deployment",
        returns=HealthReport,
    ),
    Route(
        method="GET",
        path="/v1/usage",
        handler=show_usage,
        scope=SCOPE_CHAT,
        tag="Operation",
        summary="Your calls added up by day, model and key; all of the tenant's for an administrator",
        query=UsageQuery,
        returns=UsageList,
    ),
)
