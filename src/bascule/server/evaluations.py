"""History of evaluation runs over HTTP: kept, listed, read. The run itself is made by whoever asks the questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from bascule.core.evaluations import EvalCase, EvalRun, Figures
from bascule.core.ids import new_id
from bascule.core.principals import SCOPE_ASK
from bascule.db.values import now_text
from bascule.server.bodies import Body, Line, Name
from bascule.server.route import Inquiry, Route

if TYPE_CHECKING:
    from bascule.core.principals import Principal


Notes = Annotated[dict[Name, Line], msgspec.Meta(max_length=50)]


class EvalRunBody(Body, frozen=True, kw_only=True):
    """What was measured. `cases`: what each question scored."""

    kind: Literal["golden", "ranking"]
    name: Name
    figures: Figures
    notes: Notes = msgspec.field(default_factory=dict)
    cases: Annotated[tuple[EvalCase, ...], msgspec.Meta(max_length=20_000)] = ()

    def made(self, principal: Principal) -> EvalRun:
        return EvalRun(
            id=new_id(),
            tenant=principal.tenant,
            subject=principal.subject,
            key_id=principal.key_id,
            created_at=now_text(),
            kind=self.kind,
            name=self.name,
            figures=self.figures,
            notes=self.notes,
            cases=self.cases,
        )


class EvalRunsQuery(Body, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class EvalRunView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    created_at: str
    kind: str
    name: str
    subject: str
    figures: Figures
    notes: Mapping[str, str]
    cases: tuple[EvalCase, ...] = ()

    @classmethod
    def of(cls, run: EvalRun) -> EvalRunView:
        return cls(**{name: getattr(run, name) for name in cls.__struct_fields__})


class EvalRunList(msgspec.Struct, frozen=True):
    data: list[EvalRunView]
    object: str = "list"


async def add_run(inquiry: Inquiry) -> EvalRunView:
    """POST /v1/evaluations."""
    body: EvalRunBody = inquiry.body
    run = body.made(inquiry.principal)
    await inquiry.app.catalogue.save_eval_run(inquiry.principal, run)
    return EvalRunView.of(msgspec.structs.replace(run, cases=()))


async def list_runs(inquiry: Inquiry) -> EvalRunList:
    """GET /v1/evaluations."""
    wanted: EvalRunsQuery = inquiry.query
    found = await inquiry.app.catalogue.eval_runs(inquiry.principal, wanted.limit)
    return EvalRunList([EvalRunView.of(run) for run in found])


async def show_run(inquiry: Inquiry) -> EvalRunView:
    """GET /v1/evaluations/{id}."""
    return EvalRunView.of(await inquiry.app.catalogue.eval_run(inquiry.principal, inquiry.id))


EVALUATION_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/v1/evaluations",
        handler=add_run,
        scope=SCOPE_ASK,
        tag="Evaluation",
        summary="Keep what an evaluation found",
        body=EvalRunBody,
        returns=EvalRunView,
        status=201,
    ),
    Route(
        method="GET",
        path="/v1/evaluations",
        handler=list_runs,
        scope=SCOPE_ASK,
        tag="Evaluation",
        summary="Your evaluation runs, newest first; all of the tenant's for an administrator",
        query=EvalRunsQuery,
        returns=EvalRunList,
    ),
    Route(
        method="GET",
        path="/v1/evaluations/{id}",
        handler=show_run,
        scope=SCOPE_ASK,
        tag="Evaluation",
        summary="One evaluation run, question by question",
        returns=EvalRunView,
    ),
)
