"""The cheapest cuts, against trying every way."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dia.text.atoms import Atom
from dia.text.packing import _cut_cost, _pieces_from, pack
from dia.text.plan import Limits

LIMITS = Limits(max_bytes=1024, max_frames=3072, frame_rate_hz=86.0)


def atom(seconds, cut="sentence", speaker="A", num_bytes=10):
    return Atom(speaker, "x" * num_bytes, 0, cut, " ", seconds, 0.0, num_bytes)


atoms = st.lists(
    st.builds(
        atom,
        st.floats(0.1, 8.0),
        st.sampled_from(["exchange", "turn", "paragraph", "sentence", "clause", "word"]),
        st.sampled_from("ABC"),
        st.integers(1, 300),
    ),
    min_size=1,
    max_size=8,
)


def cost_of(script, pieces):
    total = 0.0
    for start, end in pieces:
        total += _cut_cost(script, start) + dict(_pieces_from(script, start, LIMITS))[end]
    return total


def every_way(script, start=0):
    """All lists of pieces from `start` on: the slow, obvious way."""
    if start == len(script):
        yield []
    for end, _ in _pieces_from(script, start, LIMITS) if start < len(script) else []:
        for others in every_way(script, end):
            yield [(start, end), *others]


@given(atoms)
@settings(max_examples=40)
def test_no_other_cuts_cost_less(script):
    least = min(cost_of(script, pieces) for pieces in every_way(script))
    assert abs(cost_of(script, pack(script, LIMITS)) - least) < 1e-6


@given(atoms)
def test_pieces_follow_each_other_without_gap(script):
    pieces = pack(script, LIMITS)
    assert [start for start, _ in pieces] == [0, *(end for _, end in pieces[:-1])]
    assert pieces[-1][1] == len(script)


def test_a_cut_between_exchanges_is_preferred_to_one_between_turns_and_sentences():
    order = ["exchange", "turn", "sentence", "clause", "word"]
    for better, worse in zip(order, order[1:], strict=False):
        script = [atom(10), atom(1, worse), atom(1, better), atom(10, "word")]
        assert pack(script, LIMITS) == [(0, 2), (2, 4)], (better, worse)
        script = [atom(10), atom(1, better), atom(1, worse), atom(10, "word")]
        assert pack(script, LIMITS) == [(0, 1), (1, 4)], (better, worse)


def test_a_word_is_cut_rather_than_a_piece_left_below_the_floor():
    assert pack([atom(7.9), atom(7.9), atom(4.9, "word")], LIMITS) == [(0, 1), (1, 3)]


def test_a_stretch_up_to_the_ceiling_is_one_piece_and_above_it_two():
    assert pack([atom(6.0)] * 3, LIMITS) == [(0, 3)]
    assert len(pack([atom(6.0), atom(6.0), atom(6.01)], LIMITS)) == 2


def test_a_piece_has_at_most_two_speakers():
    script = [atom(2, "turn", speaker) for speaker in "ABCAB"]
    for start, end in pack(script, LIMITS):
        assert len({part.speaker for part in script[start:end]}) <= 2


def test_more_than_four_turns_are_avoided_where_seconds_allow():
    script = [atom(2, "exchange" if place % 2 == 0 else "turn", "AB"[place % 2]) for place in range(8)]
    assert pack(script, LIMITS) == [(0, 4), (4, 8)]


def test_bytes_are_never_exceeded():
    script = [atom(1.0, num_bytes=300)] * 7
    assert pack(script, LIMITS) == [(0, 1), (1, 4), (4, 7)] or all(
        end - start <= 3 for start, end in pack(script, LIMITS)
    )
