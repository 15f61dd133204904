"""A user's own words and remarks in brackets: what is found, what is sent, what is refused."""

import time
from pathlib import Path

import pytest

from dia.errors import BadParameter
from dia.text.plan import Plan
from dia.text.planner import plan
from dia.text.wording import MAX_ENTRIES, Wording, load_dictionary, read_dictionary
from tests.text.scripts import MODEL

OWN = read_dictionary("""
# what our voices say wrong
SQL -> sequel
nguyen -> win
new york times -> the paper
US -> the United States
kWh -> kilowatt hours
:-) ->
""")


def planned(text: str, **options) -> Plan:
    return plan(text, limits=MODEL, wording=Wording(**{"dictionary": OWN, **options}))


def said(text: str, **options) -> str:
    return planned(text, **options).pieces[0].words


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("SQL is old.", "sequel is old."),
        ("MySQL and sql stay.", "MySQL and sql stay."),
        ("Ask NGUYEN, or Nguyen's son.", "Ask win, or win's son."),
        ("The New York Times, New York.", "The the paper, New York."),
        ("US and us.", "the United States and us."),
        ("It took 3.5 kWh.", "It took three point five kilowatt hours."),
        ("Fine :-) and you?", "Fine and you?"),
        ("(the SQL server is down again) Oh.", "the sequel server is down again, Oh."),
        ("(laughs) SQL", "(laughs) sequel."),
    ],
)
def test_a_dictionary_says_whole_words_otherwise(written: str, spoken: str):
    assert said(written) == spoken


def test_what_is_said_otherwise_is_shown_as_it_was_written():
    text = "He told SQL (the SQL server is down, Nguyen said) 3.5 kWh :-) again."
    found = planned(text)
    assert found.pieces[0].turns[0].written == text
    assert any("SQL as sequel" in warning for warning in found.warnings)


def test_a_dictionary_holds_without_numbers_in_words_and_in_every_piece():
    assert said("SQL costs $5.", normalize=False) == "sequel costs $5."
    long = planned("The SQL server is down again today. " * 40)
    assert len(long.pieces) > 3
    assert all("SQL" not in piece.text and "sequel" in piece.text for piece in long.pieces)


def test_a_dictionary_does_not_reach_into_known_sounds():
    own = read_dictionary("laughs -> smiles\n")
    assert said("(laughs) He laughs.", dictionary=own) == "(laughs) He smiles."


@pytest.mark.parametrize("written", ["10^6", "10⁶"])
def test_powers_are_said(written: str):
    assert said(f"About {written} of them.") == "About ten to the power of six of them."
    assert (
        said("x^2, 2^10, 10^-3 and 5³.")
        == "x squared, two to the power of ten, ten to the power of minus three and five cubed."
    )


def test_unknown_remarks_are_kept_or_dropped_with_a_warning():
    text = "(nods) Yes (shrugs). [looks away] Now (laughs), (a long aside that is spoken aloud) go."
    kept, dropped = planned(text), planned(text, remarks="drop")
    assert "(nods) Yes (shrugs)." in kept.pieces[0].words
    assert dropped.pieces[0].words == "Yes. Now (laughs), a long aside that is spoken aloud, go."
    assert any("left out: 3" in warning and "(nods)" in warning for warning in dropped.warnings)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SQL sequel", "line 1 is no entry"),
        ("SQL -> sequel\n\nSQL -> squeal", "line 3 has 'SQL' a second time"),
        (" -> nothing", "line 1: '' cannot be looked up"),
        ("SQL -> [S2] sequel", "no speaker tags"),
        (f"SQL -> {'a' * 301}", "at most 300"),
        (f"{'a' * 101} -> b", "1 to 100"),
        ("SQL -> se\x07quel", "plain characters"),
    ],
)
def test_a_dictionary_that_is_wrong_names_line_and_cure(text: str, complaint: str):
    with pytest.raises(BadParameter, match=r"(?s).*" + complaint.replace("[", r"\[")):
        read_dictionary(text)


def test_limits_of_a_wording():
    full = {f"word{number}": "x" for number in range(MAX_ENTRIES)}
    assert len(Wording(dictionary=full).dictionary) == MAX_ENTRIES
    with pytest.raises(BadParameter, match="at most 5000"):
        Wording(dictionary={**full, "more": "x"})
    with pytest.raises(BadParameter, match="keep or drop"):
        Wording(remarks="warn")  # type: ignore[arg-type]  # what a caller may send


def test_a_dictionary_file_may_have_a_mark_of_its_encoding_and_must_be_text(tmp_path: Path):
    path = tmp_path / "own.txt"
    path.write_bytes("\ufeffcafé -> ca fay\n".encode())
    assert load_dictionary(path) == {"café": "ca fay"}
    path.write_bytes(b"caf\xe9 -> x")
    with pytest.raises(BadParameter, match="no UTF-8 text"):
        load_dictionary(path)
    with pytest.raises(BadParameter, match="cannot be read"):
        load_dictionary(tmp_path / "none.txt")


def test_a_large_dictionary_costs_time_linear_in_the_text():
    own = {f"{'a ' * (number % 20)}b{number}": "x" for number in range(MAX_ENTRIES)}

    def seconds(words: int) -> float:
        text = "a " * words
        began_at = time.process_time()
        planned(text, dictionary=own)
        return time.process_time() - began_at

    seconds(100)
    short, long = min(seconds(2_000) for _ in range(2)), seconds(8_000)
    assert long < 10 * max(short, 0.02)
