"""Where a text may be cut, and where not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.text.sentences import split_clauses, split_sentences, split_words

LINES = st.lists(
    st.sampled_from(
        ["Mr.", "Hello", "there.", "e.g.", "3.14", "...", '"Really?"', "she", "said.", "J.", "R.", "!", "(laughs)"]
        + ["no.", "5", "1.", "I.", "The", "p.m.", "你好。", "我", "-", "a,", "b;", "(clears throat)", "U.S."]
    )
).map(" ".join)


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hello there. ", "How are you? ", "Fine!"],
        ["Mr. Smith met Dr. Jones. ", "They talked."],
        ["J. R. R. Tolkien wrote it. ", "We read it."],
        ["It costs 3.14 dollars. ", "Cheap."],
        ["See e.g. Figure 2. ", "Yes."],
        ["Well... I think so. "[:8], "I think so."],
        ["Well... maybe not. ", "Ok."],
        ['"Really?" she said. ', '"Yes."'],
        ['"Go!" Tom shouted. ', "He went."],
        ['He said "Stop." ', "Then he left."],
        ["(He left.) ", "She stayed."],
        ["We met at 5 p.m. ", "The sun set."],
        ["We met at 5 p.m. Eastern time."],
        ["The U.S. Army came. ", "It left."],
        ["So do I. ", "The end."],
        ["Pens, paper, etc. ", "They cost little."],
        ["It is No. 5 on the list. ", "Good."],
        ["No. ", "Never."],
        ["1. Take the key. ", "2. Go home."],
        ["It was 1984. ", "Cold."],
        ["Ha. ", "(laughs) Yes."],
        ["What?! ", "No."],
        ["你好。", "再见！", "好"],
        ["One. ", "2 came."],
        ["Wait . ", "What"],
        ["no end at all"],
        ["Plan B. ", "Then go."],
        ["Ends here. ", '"'],
    ],
)
def test_sentences_are_cut_where_they_end(sentences):
    assert split_sentences("".join(sentences)) == sentences


@pytest.mark.parametrize(
    "clauses",
    [
        ["One, ", "two; ", "three: ", "four"],
        ["He came - ", "late"],
        ["(laughs) ", "Yes, ", '"no," ', "ok"],
        ["3,000 well-known 5:30"],
        ["甲，", "乙"],
    ],
)
def test_clauses_are_cut_at_commas_dashes_and_brackets(clauses):
    assert split_clauses("".join(clauses)) == clauses


@pytest.mark.parametrize(
    "words",
    [
        ["One ", "two-three ", "(clears throat) ", "four."],
        ["oh(clears throat)yes ", "(looks ", "away)"],
        ["你", "好。", "ok ", "再"],
    ],
)
def test_words_keep_sounds_whole_and_ideographs_single(words):
    assert split_words("".join(words)) == words


def test_nothing_has_no_parts():
    assert split_sentences("") == split_clauses("") == split_words("") == []


@given(LINES)
def test_the_parts_joined_are_the_text(text):
    for split in (split_sentences, split_clauses, split_words):
        assert "".join(split(text)) == text


@given(LINES)
def test_no_part_is_empty_and_no_sound_is_cut(text):
    for split in (split_sentences, split_clauses, split_words):
        assert all(part.strip() for part in split(text))
        assert sum(part.count("(clears throat)") for part in split(text)) == text.count("(clears throat)")
