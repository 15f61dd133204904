"""Ids of the model: the published byte encoding, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.errors import BadScript
from dia.text.tokens import count_bytes, decode_ids, encode_text

TEXT = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
PUBLISHED = {
    "[S1] Hi [S2]": [1, 32, 72, 105, 32, 2],
    "[s1]": [91, 115, 49, 93],
    "[S1][S2][S3]": [1, 2, 91, 83, 51, 93],
    "ça": [0xC3, 0xA7, 97],
    "[[S1]]": [91, 1, 93],
    "": [],
}


@pytest.mark.parametrize(("text", "ids"), PUBLISHED.items())
def test_text_becomes_the_published_ids(text, ids):
    assert encode_text(text) == ids
    assert count_bytes(text) == len(ids)
    assert decode_ids(ids) == text


@given(TEXT)
def test_count_is_the_number_of_ids_and_no_id_is_padding(text):
    ids = encode_text(text)
    assert len(ids) == count_bytes(text)
    assert all(0 < value < 256 for value in ids)


@given(st.text(alphabet=st.sampled_from("[]S12 aé€😀")))
def test_what_was_encoded_comes_back(text):
    assert decode_ids(encode_text(text)) == text


def test_padding_is_left_out_and_a_cut_character_is_marked():
    assert decode_ids([0, 104, 0xC3, 0]) == "h\ufffd"


def test_a_nul_byte_is_refused_with_its_place():
    with pytest.raises(BadScript, match="NUL byte at byte 2"):
        encode_text("ab\0c")


def test_half_a_character_is_refused_with_its_place():
    with pytest.raises(BadScript, match=r"U\+D83D\) at position 1"):
        count_bytes("a\ud83d")


@pytest.mark.parametrize("value", [-1, 256])
def test_an_id_that_is_no_byte_is_refused(value):
    with pytest.raises(BadScript, match=f"id {value} is no byte"):
        decode_ids([65, value])
