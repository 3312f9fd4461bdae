"""The pages beside the first one, by method and by the first part of their path after `/console/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bascule.server.console import drafting, history, inspector, intake, keyring, operations, review
from bascule.server.console.visit import Section

SECTIONS: Final[Mapping[tuple[str, str], Section]] = {
    ("GET", "answers"): inspector.show,
    ("POST", "replay"): inspector.replay,
    ("POST", "feedback"): review.give,
    ("GET", "review"): review.show,
    ("POST", "drafts"): drafting.drafts,
    ("GET", "evaluations"): history.show,
    ("GET", "work"): intake.work,
    ("GET", "jobs"): intake.jobs,
    ("GET", "sources"): intake.sources,
    ("POST", "source"): intake.on_source,
    ("GET", "job"): intake.job,
    ("POST", "job"): intake.on_job,
    ("POST", "again"): intake.again,
    ("GET", "operations"): operations.show,
    ("GET", "calls"): operations.calls,
    ("GET", "keys"): keyring.show,
    ("POST", "keys"): keyring.on_key,
}
