"""What a filter may be, and what it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.core.errors import InvalidRequest
from bascule.core.filter_grammar import MAX_TESTS, read_filter
from bascule.core.filters import EVERYTHING, Facts, matches

NOTE = Facts(
    source="wiki",
    external_id="team/hr/leave.md",
    name="leave.md",
    title="Leave",
    media_type="text/markdown",
    created_at="2026-01-31T23:59:59.999Z",
    updated_at="2026-02-01T10:00:00.000Z",
    language="en",
    metadata={
        "year": 2026,
        "tags": ["hr", "leave", 7],
        "draft": True,
        "due": "2026-03-01",
        "none": None,
        "source": "own",
    },
)


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({}, True),
        ({"year": 2026}, True),
        ({"year": 2026.0}, True),
        ({"year": "2026"}, False),
        ({"year": True}, False),
        ({"draft": True}, True),
        ({"draft": 1}, False),
        ({"year": {"gt": 2025, "lt": 2027}}, True),
        ({"year": {"gt": 2026}}, False),
        ({"tags": "hr"}, True),
        ({"tags": {"in": ["x", "leave"]}}, True),
        ({"tags": {"gte": 7}}, True),
        ({"tags": {"ne": "hr"}}, False),
        ({"missing": {"ne": "hr"}}, True),
        ({"missing": {"lt": 1}}, False),
        ({"missing": {"exists": False}, "year": {"exists": True}}, True),
        ({"none": {"exists": True}}, False),
        ({"due": {"gte": "2026-02-15"}}, True),
        ({"source": "wiki", "metadata.source": "own"}, True),
        ({"type": "text/markdown", "title": "Leave", "name": "leave.md"}, True),
        ({"lang": "en"}, True),
        ({"language": {"in": ["de"]}}, False),
        ({"folder": "team"}, True),
        ({"folder": "team/hr/"}, True),
        ({"folder": "tea"}, False),
        ({"folder": "team/hr/leave.md"}, False),
        ({"created_at": "2026-01-31"}, True),
        ({"created_at": {"lte": "2026-01-31"}}, True),
        ({"created_at": {"lt": "2026-01-31"}}, False),
        ({"created_at": {"gt": "2026-01-31"}}, False),
        ({"updated_at": {"in": ["2026-01-31", "2026-02-01"]}}, True),
        ({"updated_at": "2026-02-01T12:00:00+02:00"}, True),
        ({"or": [{"year": 1}, {"and": [{"draft": True}, {"not": {"year": 1}}]}]}, True),
        ({"not": {}}, False),
    ],
)  # fmt: skip
def test_what_a_filter_means(wanted, holds):
    assert matches(read_filter(wanted), NOTE) is holds


def test_a_documents_own_language_goes_before_the_one_found_in_it():
    own = Facts(language="en", metadata={"lang": "de"})
    assert matches(read_filter({"lang": "de"}), own) and not matches(read_filter({"lang": "en"}), own)


@pytest.mark.parametrize(
    "wrong",
    [
        [], "x", None, {"": 1}, {'a"b': 1}, {"a\\": 1}, {"a' OR 1=1 --": 1}, {"$where": "1"}, {"metadata.": 1}, {3: 1},
        {"a": None}, {"a": []}, {"a": {}}, {"a": {"$gt": 1}}, {"a": {"like": "%"}}, {"a": {"eq": {"b": 1}}},
        {"a": {"in": "x"}}, {"a": {"in": []}}, {"a": {"in": ["x"] * 101}}, {"a": {"in": [None]}}, {"a": {"exists": 1}},
        {"a": {"lt": True}}, {"a": "x" * 1001}, {"a": "\0"}, {"a": "\ud800"}, {"a": 2**53 + 1}, {"a": float("nan")},
        {"and": {}}, {"or": []}, {"or": [1]}, {"not": [{}]}, {"folder": "/"}, {"folder": {"lt": "a"}}, {"title": 3},
        {"created_at": "yesterday"}, {"created_at": 2026}, {"updated_at": {"lte": "9999-12-31"}},
        {"and": [{"a": 1}] * (MAX_TESTS + 1)},
        {"not": {"not": {"not": {"not": {"not": {"not": {}}}}}}},
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_with_its_parameter(wrong):
    with pytest.raises(InvalidRequest) as refused:
        read_filter(wrong)
    assert refused.value.param == "filter"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["and", "or", "not", "in", "lt", "exists", "folder"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_sent_is_a_filter_or_an_invalid_request(sent):
    try:
        wanted = read_filter(sent)
    except InvalidRequest:
        return
    assert matches(wanted, NOTE) in (True, False)
    assert hash(wanted) == hash(read_filter(sent))


def test_an_empty_filter_is_everything():
    assert read_filter({}) == EVERYTHING
