"""Similarity, baselines and equal error rate on vectors whose answers are known."""

import math

import numpy as np
import pytest

from dia.evals.speakers import baselines, centroid, equal_error_rate, nearest_voice, similarity


def test_similarity_is_the_cosine():
    assert similarity(np.array([2.0, 0.0]), np.array([5.0, 0.0])) == pytest.approx(1)
    assert similarity(np.array([1.0, 0.0]), np.array([0.0, 3.0])) == pytest.approx(0)
    assert similarity(np.zeros(2), np.array([1.0, 0.0])) == 0


def test_the_nearest_voice_is_the_one_that_points_the_same_way():
    voices = {"low": np.array([1.0, 0.1]), "high": np.array([0.1, 1.0])}
    assert nearest_voice(np.array([0.2, 0.9]), voices) == "high"


def test_a_centroid_has_length_one():
    middle = centroid(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert middle == pytest.approx([math.sqrt(0.5)] * 2)


def test_voices_that_part_cleanly_have_no_equal_error():
    found = baselines({"a": np.array([[1.0, 0.0], [1.0, 0.1]]), "b": np.array([[0.0, 1.0], [0.1, 1.0]])})
    assert found.same_mean > 0.99 and found.other_mean < 0.2
    assert found.equal_error == 0
    assert found.other_mean < found.threshold <= found.same_mean


def test_one_voice_alone_has_no_other_pairs():
    found = baselines({"a": np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]])})
    assert found.same_std > 0 and math.isnan(found.other_mean) and math.isnan(found.equal_error)


@pytest.mark.parametrize(
    ("same", "other", "rate"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.9, 0.8, 0.7, 0.3], [0.1, 0.2, 0.4, 0.2], 0.25),
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        ([0.5] * 4, [0.5] * 4, 0.5),
    ],
)
def test_equal_error_rate_of_worked_examples(same: list[float], other: list[float], rate: float):
    assert equal_error_rate(np.array(same), np.array(other))[0] == pytest.approx(rate)
