"""One request to a page of the console: who asks for what, and how the page is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from bascule.server.console.desk import Desk
from bascule.server.exchange import Events, Reply

# Where to go, its name, and a route without whose scope there is nothing to see there.
PLACES: Final = (
    ("/", "Ask", ""),
    ("/console/answers", "Answers", "explain"),
    ("/console/review", "Review", "list_candidates"),
    ("/console/evaluations", "Evaluations", "list_runs"),
    ("/console/work", "Sources and jobs", "list_jobs"),
    ("/console/calls", "Calls", "list_calls"),
    ("/console/operations", "Operation", "show_usage"),
    ("/console/keys", "Keys", "list_keys"),
)

_GATEWAY: Final = frozenset({"/console/calls", "/console/operations", "/console/keys"})  # of a gateway only, too
_WITHIN: Final[Mapping[str, str]] = {"job": "work"}


def place_of(kind: str) -> str:
    """The address of the page that a path belongs to."""
    return f"/console/{_WITHIN.get(kind, kind)}"


class Visit(msgspec.Struct, frozen=True):
    """`rest`: the path after the page's name. `asked`: the query of a GET, the form of a POST. `render`: a template's name and
    what it shows, to a reply."""

    desk: Desk
    rest: str
    asked: Mapping[str, str]
    render: Callable[..., Reply]
    who: str
    here: str

    def page(self, template: str, /, **given: Any) -> Reply:
        """A whole page, with the way to the others."""
        return self.render(template, who=self.who, places=places(self.desk), here=self.here, **given)

    def part(self, template: str, /, **given: Any) -> Reply:
        """A piece of a page, put into it by htmx."""
        return self.render(template, **given)


Section = Callable[[Visit], Awaitable[Reply | Events]]


def places(desk: Desk) -> list[tuple[str, str]]:
    """The pages that have something to show to this caller."""
    answers = desk.app.questions is not None
    return [(to, name) for to, name, route in PLACES if not route or (desk.may(route) and (answers or to in _GATEWAY))]
