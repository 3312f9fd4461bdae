from __future__ import annotations

import math

import pytest

from bascule.core.vectors import Candidate
from bascule.rag.fuse import clean, fuse


def test_scores_are_normalised_over_the_given_hits_and_weighted() -> None:
    fused = fuse({"a": 0.9, "b": 0.5}, {"b": 12.0, "c": 4.0}, dense_weight=0.25)
    by_id = {f.chunk_id: f for f in fused}
    assert [f.chunk_id for f in fused] == ["b", "a", "c"]
    assert math.isclose(by_id["b"].score, 0.75)
    assert math.isclose(by_id["a"].score, 0.25)
    assert by_id["c"].score == 0.0
    assert by_id["a"].parts == {"dense": 1.0, "cosine": 0.9}


def test_one_method_alone_uses_the_whole_scale() -> None:
    assert [(f.chunk_id, f.score) for f in fuse({}, {"a": 7.0, "b": 3.0})] == [("a", 1.0), ("b", 0.0)]


def test_equal_scores_are_ordered_by_id_and_all_count_fully() -> None:
    assert [(f.chunk_id, f.score) for f in fuse({"b": 0.4, "a": 0.4}, {})] == [("a", 1.0), ("b", 1.0)]


def test_rank_fusion_follows_the_published_formula() -> None:
    fused = {f.chunk_id: f.score for f in fuse({"a": 0.9, "b": 0.8}, {"b": 3.0}, method="ranks", dense_weight=0.5)}
    assert math.isclose(fused["a"], 0.5)
    assert math.isclose(fused["b"], 0.5 * 61 / 62 + 0.5)


def test_distribution_fusion_measures_from_the_mean_in_deviations() -> None:
    found = {f.chunk_id: f.score for f in fuse({}, {"a": 3.0, "b": 2.0, "c": 1.0}, method="distribution")}
    third = math.sqrt(1.5) / 6
    assert [found[i] for i in "abc"] == pytest.approx([0.5 + third, 0.5, 0.5 - third])
    outlier = fuse({}, {"top": 1000.0, **{f"d{n:02}": float(n) for n in range(20)}}, method="distribution")
    assert outlier[0].chunk_id == "top" and outlier[0].score == 1.0 and 0.4 < outlier[-1].score < outlier[1].score < 0.5
    assert [f.score for f in fuse({"a": 0.4, "b": 0.4}, {}, method="distribution")] == [1.0, 1.0]
    assert fuse({}, {}, method="distribution") == []


def test_a_hidden_candidate_moves_no_visible_score() -> None:
    visible = {"a": 1, "b": 1}
    seen = [Candidate("a", 5.0), Candidate("b", 2.0)]
    hidden = [Candidate("x", 900.0), *seen, Candidate("y", -3.0)]
    assert fuse({}, clean(hidden, visible)) == fuse({}, clean(seen, visible))


def test_scores_that_are_no_numbers_and_repeated_ids_are_dropped() -> None:
    candidates = [Candidate("a", math.nan), Candidate("b", 2.0), Candidate("b", 9.0), Candidate("c", math.inf)]
    assert clean(candidates, {"a": 1, "b": 1, "c": 1}) == {"b": 2.0}
