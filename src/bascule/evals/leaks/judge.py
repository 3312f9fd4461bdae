"""One reply against the oracle: canaries, and what tells of hidden documents without showing them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bascule.evals.leaks.client import Reply
from bascule.evals.leaks.probes import MISSING, Probe
from bascule.evals.leaks.scan import leaks, strings
from bascule.evals.leaks.world import Person, World


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: canary, count, told apart, cache, missing, error, log. `after`: the act before it."""

    kind: str
    who: str
    where: str
    what: str
    after: str = ""


def canaries(probe: Probe, reply: Reply, person: Person, foreign: dict[str, str], world: World) -> Iterator[Finding]:
    """What is everybody's, like the metrics, may hold none at all. To administrators a job shows the names documents had in it."""
    unwanted = world.canaries() if probe.path in ("/metrics", "/openapi.json", "/readyz", "/livez") else foreign
    if person.admin and probe.path.startswith("/v1/jobs"):
        unwanted = {word: what for word, what in foreign.items() if not world.an_earlier_name(word, person)}
    for what in leaks(reply.seen, unwanted).values():
        yield Finding(kind="canary", who=person.name, where=probe.label, what=what)
    if reply.status >= 500:
        yield Finding(kind="error", who=person.name, where=probe.label, what=f"answered {reply.status}")


def quiet(probe: Probe, reply: Reply, person: Person, world: World, collection: str) -> Iterator[Finding]:
    """Checks that hold when nothing changes meanwhile: what is listed is what may be read, no more and no less."""
    visible = {paper.id for paper in world.visible(person)}
    if probe.label in ("documents", "search here", "search everywhere"):
        found = set(strings(reply.json(), "id" if probe.label == "documents" else "document_id"))
        theirs = {paper.id for paper in world.papers.values()}
        if found & theirs - visible:
            yield _finding("count", person, probe, f"{len(found & theirs - visible)} documents too many")
        if probe.label == "documents" and visible - found:
            yield _finding("missing", person, probe, f"{len(visible - found)} readable documents are not listed")
    if probe.path == "/v1/collections" and (collection in set(strings(reply.json(), "name"))) != bool(visible):
        yield _finding("count", person, probe, f"the collection is {'hidden' if visible else 'shown'}")
    if probe.about:
        readable = world.papers[probe.about].read_by(person)
        if (reply.status == 200) != readable:
            yield _finding("told apart" if not readable else "missing", person, probe, f"answered {reply.status}")


def told_apart(hidden: Reply, missing: Reply, id_: str) -> bool:
    """Whether a document that is hidden is answered otherwise than one that never was."""
    return (hidden.status, hidden.body.replace(id_.encode(), b"")) != (
        missing.status,
        missing.body.replace(MISSING.encode(), b""),
    )


def _finding(kind: str, person: Person, probe: Probe, what: str) -> Finding:
    return Finding(kind=kind, who=person.name, where=probe.label, what=what)
