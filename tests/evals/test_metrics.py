from __future__ import annotations

import math

import pytest

from bascule.evals import metrics


def test_ndcg_is_the_value_worked_out_by_hand() -> None:
    # relevant at places 1 and 3 of three relevant: (1 + 1/log2(4)) / (1 + 1/log2(3) + 1/log2(4))
    expected = (1 + 0.5) / (1 + 1 / math.log2(3) + 0.5)
    assert metrics.ndcg(["a", "x", "b"], frozenset("abc"), 10) == pytest.approx(expected)
    assert expected == pytest.approx(0.7039, abs=1e-4)


def test_ndcg_of_the_ideal_order_is_one_and_of_nothing_zero() -> None:
    assert metrics.ndcg(["a", "b", "x"], frozenset("ab"), 10) == pytest.approx(1)
    assert metrics.ndcg(["x", "y"], frozenset("ab"), 10) == 0
    assert metrics.ndcg([], frozenset("ab"), 10) == 0


def test_only_the_first_k_count() -> None:
    assert metrics.ndcg(["x", "a"], frozenset("a"), 1) == 0
    assert metrics.recall(["x", "a"], frozenset("a"), 1) == 0


def test_a_document_found_twice_earns_once() -> None:
    assert metrics.ndcg(["a", "a", "b"], frozenset("ab"), 10) == pytest.approx(1)
    assert metrics.recall(["a", "a"], frozenset("ab"), 10) == 0.5


def test_reciprocal_rank_is_of_the_first_relevant_one() -> None:
    assert metrics.reciprocal_rank(["x", "y", "a", "b"], frozenset("ab")) == pytest.approx(1 / 3)
    assert metrics.reciprocal_rank(["x"], frozenset("a")) == 0


def test_means_and_percentiles_of_nothing_are_not_measured() -> None:
    assert metrics.mean([]) is None
    assert metrics.percentile([], 0.5) is None
    assert metrics.mean([1, 0, 0]) == pytest.approx(1 / 3)
    assert metrics.percentile([5, 1, 3, 2, 4], 0.5) == 3
    assert metrics.percentile([5, 1, 3, 2, 4], 0.95) == 5
