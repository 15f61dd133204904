"""Pause tags: what they mean and which are refused."""

import pytest

from dia.errors import BadScript
from dia.text.pauses import split_pauses


@pytest.mark.parametrize(
    ("tag", "duration_s"),
    [
        ("[pause:0.8s]", 0.8),
        ("[pause:800ms]", 0.8),
        ("[PAUSE: 2 s]", 2.0),
        ("[pause 1]", 1.0),
        ("[pause2]", 2.0),
        ("[pause300ms]", 0.3),
        ("[pause=.5s]", 0.5),
        ("[pause:2seconds]", 2.0),
        ("[pause]", 0.5),
        ("[pause:60s]", 60.0),
        ('<break time="500ms"/>', 0.5),
        ("<break time='1.5s' />", 1.5),
        ("<BREAK TIME=2s>", 2.0),
        ("<break/>", 0.5),
        ("[pause:0s]", 0.0),
        ("[pause:1,5s]", 1.5),
        ('<break strength="strong"/>', 0.8),
        ("<break strength='none' />", 0.0),
        ('<break strength="x-strong" time="700ms"/>', 0.7),
        ('<break time="1,5s" strength="weak"/>', 1.5),
    ],
)
def test_a_pause_is_read_in_every_usual_spelling(tag, duration_s):
    assert split_pauses(f"a {tag} b") == [(0.0, "a "), (duration_s, " b")]


def test_text_without_a_pause_is_one_part():
    assert split_pauses("a pause: none [paused] <breakfast>") == [(0.0, "a pause: none [paused] <breakfast>")]


def test_pauses_stand_before_the_text_that_follows():
    assert split_pauses("[pause:1s]a[pause:2s][pause:3s]b[pause]") == [
        (0.0, ""),
        (1.0, "a"),
        (2.0, ""),
        (3.0, "b"),
        (0.5, ""),
    ]


@pytest.mark.parametrize(
    "tag", ["[pause:long]", "[pause:1h]", "<break strength='x'/>", "[pause:1.2.3s]", "<break rate='2s'/>", "[pause:s]"]
)
def test_a_pause_that_cannot_be_read_is_refused_and_named(tag):
    with pytest.raises(BadScript, match="not understood; a pause is written") as refusal:
        split_pauses(f"a {tag} b")
    assert tag in str(refusal.value).replace('"<', "<").replace('>"', ">")


@pytest.mark.parametrize("tag", ["[pause:60.1s]", "[pause:61000ms]"])
def test_a_pause_over_a_minute_is_refused(tag):
    with pytest.raises(BadScript, match="at most 60 s"):
        split_pauses(tag)
