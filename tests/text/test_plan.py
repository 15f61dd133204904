"""A plan's values: limits, gaps, tags, and JSON."""

import json

import pytest

from dia.errors import BadParameter
from dia.text.plan import Gaps, Limits, PieceTurn, Plan, render_turns
from dia.text.planner import plan
from tests.text.scripts import MODEL


def limits(**changes):
    return Limits(**{"max_bytes": 1024, "max_frames": 3072, "frame_rate_hz": 86.0, **changes})


def test_the_published_model_leaves_the_wished_lengths_as_they_are():
    assert (MODEL.shortest_s, MODEL.wanted_s, MODEL.longest_s) == (5.0, 12.0, 18.0)
    assert MODEL.piece_bytes == 1024
    assert 28 < MODEL.piece_s < 29


def test_reserved_bytes_and_frames_are_not_for_the_piece():
    held = limits(reserved_bytes=200, reserved_frames=1500)
    assert held.piece_bytes == 824
    assert held.piece_s == pytest.approx(1572 / 86 * 0.8)
    assert held.longest_s == held.piece_s
    assert held.shortest_s < held.wanted_s < held.longest_s


@pytest.mark.parametrize(
    "changes",
    [
        {"floor_s": 0},
        {"floor_s": 13},
        {"ceiling_s": 11},
        {"ceiling_s": float("inf")},
        {"floor_s": float("nan")},
        {"max_turns": 0},
        {"frame_rate_hz": 0},
        {"frame_rate_hz": float("inf")},
        {"reserved_bytes": -1},
        {"reserved_frames": -1},
        {"max_bytes": 15},
        {"reserved_bytes": 1009},
        {"max_frames": 107},
    ],
)
def test_limits_that_leave_no_room_are_refused(changes):
    with pytest.raises(BadParameter):
        limits(**changes)


@pytest.mark.parametrize("changes", [{"max_bytes": 16}, {"reserved_bytes": 1008}, {"max_frames": 108}])
def test_the_least_room_is_allowed(changes):
    assert limits(**changes).piece_bytes >= 16


def test_each_cut_has_its_gap():
    gaps = Gaps()
    assert [gaps.before(cut) for cut in ("exchange", "turn", "paragraph", "sentence", "clause", "word", "start")] == [
        0.25,
        0.25,
        0.6,
        0.12,
        0.05,
        0.0,
        0.0,
    ]


def test_turns_are_tagged_by_the_place_of_the_name():
    turns = [PieceTurn("Bob", "Hi.", 0), PieceTurn("Bob", "Ho.", 1), PieceTurn("Ann", "Hu.", 2)]
    assert render_turns(turns, ("Ann", "Bob")) == "[S2] Hi. Ho. [S1] Hu."
    with pytest.raises(BadParameter, match="'Ann' is not among Bob"):
        render_turns(turns, ("Bob",))


def test_a_plan_goes_through_json_and_back():
    made = plan("Hi.\n\n[pause:1s]Ann: no name here.", limits=MODEL, format="plain")
    text = json.dumps(made.to_dict())
    assert Plan.from_dict(json.loads(text)) == made
    assert json.loads(text)["estimated_s"] == made.estimated_s
    turns = plan('[{"text": "Hello there, my good old friend, how do you do today?"}]', limits=MODEL)
    assert Plan.from_dict(json.loads(json.dumps(turns.to_dict()))) == turns
    assert turns.pieces[0].span is None


@pytest.mark.parametrize("value", [{}, {"pieces": [{}]}, {"pieces": 1}, {"pieces": [1]}])
def test_what_is_no_plan_is_refused(value):
    with pytest.raises(BadParameter, match="this is no plan"):
        Plan.from_dict(value)


def test_an_unknown_field_of_a_plan_is_refused():
    value = plan("Hello.", limits=MODEL).to_dict()
    value["pieces"][0]["mood"] = "gay"
    with pytest.raises(BadParameter, match="mood"):
        Plan.from_dict(value)
