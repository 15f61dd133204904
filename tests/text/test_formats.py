"""Scripts as people write them become turns by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.errors import BadInput, BadScript
from dia.text.formats import FORMATS, detect_format, read_script


def said(text, **options):
    return [(turn.speaker, turn.text) for turn in read_script(text, **options).turns]


PLAIN = "Hello there.\nSame paragraph.\n\n  Second one.  \n"
TAGGED = "Intro. [S1] Hi.\n\nMore. [s2]: Ho. [S3] Hu. [S1]"
PLAY = "ALICE: Hello.\nHow are you?\n\nBob (angrily): Fine.\n\n**Alice:** Good.\n"
JSON = '[{"speaker": "Alice", "text": "Hi."}, {"speaker": 2, "text": "Ho."}]'
MARKDOWN = "# Title\nText with a [link](http://x.y).\n\n- One\n- Two\n"
SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello\n\n2\n00:00:03,000 --> 00:00:04,000\n<i>there.</i>\n"


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (PLAIN, "plain"),
        (TAGGED, "tagged"),
        ("S1: Hi.\nS2: Ho.", "tagged"),
        ("Speaker 1: Hi.", "tagged"),
        (PLAY, "play"),
        (JSON, "json"),
        (' {"turns": ["a"]}', "json"),
        (MARKDOWN, "markdown"),
        ("1. one\n2. two", "markdown"),
        (SRT, "srt"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nHi.\n", "srt"),
        ("WEBVTT is a format.", "plain"),
        ("Alice: only one line.", "plain"),
        ("So: this.\nNote: that.\nhttp://x: y\nand more\nand more\nand more\nand more", "plain"),
        ("Once upon a time.\nAlice: Hi.\nBob: Ho.", "play"),
        ("The Long Wait\n\nAlice: Hi.\nBob: Ho.", "play"),
        ("From: Alice\nTo: Bob\nSubject: Lunch\nDate: Monday\n\nDear Bob,\nshall we eat?", "plain"),
        ("Serves: 4\nTime: 20 min\nOven: 180\n\nMix it all.", "plain"),
        ('{"speaker": "Al", "text": "Hi."}\n{"speaker": "Bo", "text": "Ho."}\n', "json"),
        ('["Al", "Hi."]\n\n["Bo", "Ho."]', "json"),
        ("[not json", "plain"),
        ("[1, 2]", "plain"),
        ('{"a": 1}', "plain"),
        ("[" * 100_000, "plain"),
        ("[" + "9" * 5000 + "]", "plain"),
        ("", "plain"),
    ],
)
def test_a_format_is_recognised_by_its_own_marks(text, format):
    assert detect_format(text) == format


def test_plain_text_is_one_speaker_in_paragraphs():
    document = read_script(PLAIN, default_speaker="Eve")
    assert [(turn.speaker, turn.text, turn.new_paragraph) for turn in document.turns] == [
        ("Eve", "Hello there.\nSame paragraph.", False),
        ("Eve", "Second one.", True),
    ]
    assert document.format == "plain"
    assert document.warnings == ()


def test_tags_name_any_number_of_speakers():
    assert said(TAGGED) == [("S1", "Intro."), ("S1", "Hi."), ("S1", "More."), ("S2", "Ho."), ("S3", "Hu.")]


@pytest.mark.parametrize("text", [PLAIN, TAGGED, PLAY])
def test_every_turn_says_where_it_stands_in_the_input(text):
    for turn in read_script(text).turns:
        assert text[slice(*turn.span)] == turn.text


def test_a_play_names_its_speakers_however_they_are_spelled():
    document = read_script(PLAY)
    assert [(turn.speaker, turn.text) for turn in document.turns] == [
        ("ALICE", "Hello.\nHow are you?"),
        ("Bob", "Fine."),
        ("ALICE", "Good."),
    ]
    assert document.warnings == ("stage directions of a play left out: 1 ((angrily))",)


def test_words_before_the_first_name_belong_to_the_default_speaker():
    assert said("It is night.\nAlice: Hi.", format="play", default_speaker="Teller") == [
        ("Teller", "It is night."),
        ("Alice", "Hi."),
    ]


def test_a_name_may_stand_on_its_own_line_and_may_be_lower_case_when_it_comes_again():
    assert said("Alice:\nHi.\n\nbob: Ho.\nlong words here: x\nbob: Hu.") == [
        ("Alice", "Hi."),
        ("bob", "Ho.\nlong words here: x"),
        ("bob", "Hu."),
    ]


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("Al: Hi. [pause:1s] Bo: Ho.\nBo: Hu.", [("Al", "Hi. [pause:1s]"), ("Bo", "Ho."), ("Bo", "Hu.")]),
        (
            'Al: Hi. <break time="1s"/> Al: Ho.\nBo: Hu.',
            [("Al", 'Hi. <break time="1s"/>'), ("Al", "Ho."), ("Bo", "Hu.")],
        ),
        (
            "Al: One thing. [pause:1s] Remember: be kind.\nBo: Ho.",
            [("Al", "One thing. [pause:1s] Remember: be kind."), ("Bo", "Ho.")],
        ),
        ("S1: Hi. [pause:1s] S2: Ho.", [("S1", "Hi. [pause:1s]"), ("S2", "Ho.")]),
    ],
)
def test_a_speaker_named_behind_a_pause_on_the_same_line_speaks(text, turns):
    """The second name was read aloud in a play, and lost in a tagged text."""
    assert said(text) == turns


def test_a_title_before_a_play_is_read_and_a_head_of_a_mail_names_nobody():
    assert said("The Wait\n\nAlice: Hi.\nBob: Ho.")[0] == ("S1", "The Wait")
    mail = "From: Ann\nSubject: Us\n\nAlice: Hi.\nBob: Ho.\nAlice: Hu."
    assert {speaker for speaker, _ in said(mail)} == {"S1", "Alice", "Bob"}


STAGED = """SCENE I. A platform before the castle.

[FRANCISCO at his post. Enter to him BERNARDO]

BERNARDO: (to his wife) Who's there? (laughs) It is (of course) me. (nods)
FRANCISCO: Bernardo? [pause:1s]
(They embrace.)
BERNARDO: (He looks around, and only then
sits down.) "He." (of the two)
"""


def test_what_a_play_has_in_brackets_is_done_and_not_said():
    """Stage directions were read aloud, `to his wife` and whole scenes of them."""
    document = read_script(STAGED)
    assert [(turn.speaker, " ".join(turn.text.split())) for turn in document.turns] == [
        ("S1", "SCENE I. A platform before the castle."),
        ("BERNARDO", "Who's there? (laughs) It is (of course) me."),
        ("FRANCISCO", "Bernardo? [pause:1s]"),
        ("BERNARDO", '"He."'),
    ]
    assert document.warnings == (
        "stage directions of a play left out: 6 ([FRANCISCO at his post. Enter to him BERNARDO], (to his wife), "
        "(nods), (They embrace.), (He looks around, and only then sits down.) and 1 more)",
    )
    assert any("(to his wife)" in turn.text for turn in read_script(STAGED, format="plain").turns)


def test_a_play_without_names_is_refused():
    with pytest.raises(BadScript, match="text is no play"):
        read_script("Hello.", format="play")


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        ([{"speaker": "Alice", "text": "Hi."}, {"text": "Ho."}], [("Alice", "Hi."), ("S1", "Ho.")]),
        (["Hi.", ["Bob", "Ho."], ["", "Hu."]], [("S1", "Hi."), ("Bob", "Ho."), ("S1", "Hu.")]),
        ({"inputs": [{"voice_id": "x", "text": "Hi."}]}, [("x", "Hi.")]),
        ({"messages": [{"role": "user", "content": "Hi."}]}, [("user", "Hi.")]),
        ({"name": "Solo", "line": "Hi."}, [("Solo", "Hi.")]),
        ([{"speaker": "[S2]", "text": "Hi."}, {"speaker": 1, "text": "Ho."}], [("S2", "Hi."), ("S1", "Ho.")]),
    ],
)
def test_json_turns_are_read_in_the_usual_shapes(value, turns):
    assert said(json.dumps(value)) == turns


def test_json_lines_are_turns():
    assert said('{"speaker": "Al", "text": "Hi."}\n\n{"text": "Ho."}\n') == [("Al", "Hi."), ("S1", "Ho.")]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[{"speaker": "Al", "text": "Hi."},]', "broken JSON"),
        ('{"text": "Hi."}\n{"text": "Ho."\n', "JSON line 2"),
    ],
)
def test_broken_json_is_not_read_aloud(text, part):
    with pytest.raises(BadScript, match=part):
        read_script(text)


def test_json_keys_and_tags_that_are_not_used_are_reported():
    document = read_script('[{"text": "[S2] Hi.", "mood": "gay", "pause_before_s": 1.5}]')
    assert document.turns[0].text.strip() == "Hi."
    assert document.turns[0].pause_before_s == 1.5
    assert document.warnings == (
        "speaker tags inside a JSON turn left out: 1",
        "keys of JSON turns not used: 1 (mood)",
    )


@pytest.mark.parametrize("pause", [-1, 61, "1", True, float("nan"), None])
def test_a_json_pause_outside_its_range_is_refused(pause):
    with pytest.raises(BadScript, match="JSON turn 0 has a pause"):
        read_script(json.dumps([{"text": "Hi.", "pause_s": pause}]))


def test_a_json_turn_without_text_is_refused_by_its_number():
    with pytest.raises(BadScript, match="JSON turn 1 has no text"):
        read_script('[{"text": "Hi."}, {"speaker": "Bob"}]')


@pytest.mark.parametrize("text", ["Hello.", "[]", "[[1, 2]]", "[1,"])
def test_what_is_no_json_is_refused_as_json(text):
    with pytest.raises(BadScript, match="no list of turns in JSON"):
        read_script(text, format="json")


def test_markdown_keeps_words_and_drops_marks():
    text = (
        "# A *big* title #\nFirst line\nsecond line.\n\n> quoted\n\n---\n\n1. one\n   goes on\n2. [x] two\n\n"
        "```python\ncode()\n```\n\n| a | b |\n|---|:-:|\n| c. | |\nafter\n\n![alt](u) <b>bold</b>[^1] [ref][1]\n\n[1]: http://x\n"
        "## Done!\n"
    )
    document = read_script(text)
    assert [turn.text for turn in document.turns] == [
        "A *big* title.",
        "First line\nsecond line.",
        "quoted",
        "one\ngoes on",
        "two",
        "a, b.",
        "c.",
        "after",
        "alt bold ref",
        "Done!",
    ]
    assert document.format == "markdown"
    assert document.turns[0].new_paragraph is False
    assert all(turn.new_paragraph for turn in document.turns[1:])
    assert document.warnings == (
        "full stops added after headings and table rows: 2",
        "rules and link definitions left out: 3",
        "lines of code left out: 1",
        "link targets left out: 2",
        "footnote marks left out: 1",
        "HTML tags left out: 2",
    )
    assert text[slice(*document.turns[1].span)] == "First line\nsecond line."


def test_a_sign_at_the_end_of_a_heading_stays_with_its_word():
    assert said("# About C#\n\n## F# ##\nSo.") == [("S1", "About C#"), ("S1", "F#"), ("S1", "So.")]


def test_a_fence_is_closed_by_its_own_kind_only():
    assert said("# a\n~~~\n```\nx\n~~~\nend") == [("S1", "a."), ("S1", "end")]
    assert said("# a\n```\nnever closed") == [("S1", "a.")]


def test_subtitles_go_on_over_cues():
    document = read_script(SRT)
    assert [(turn.text, turn.start_s) for turn in document.turns] == [("Hello\nthere.", 1.0)]
    assert document.warnings == ("time codes of subtitles left out: 2",)


def test_subtitles_name_their_speakers():
    text = (
        "WEBVTT\n\n01:00:00.500 --> 01:00:01.000\n<v Roger Bingham>We are\n\n00:01.000 --> 00:02.000\nALICE: Hi.\n"
        "BOB: Ho.\n\n00:03.000 --> 00:04.000\n- Yes.\n- No.\n\n00:05.000 --> 00:06.000\n{\\an8}Eve: x\ny\n\n"
    )
    document = read_script(text, default_speaker="N")
    assert [(turn.speaker, turn.text, turn.start_s) for turn in document.turns] == [
        ("Roger Bingham", "We are", 3600.5),
        ("ALICE", "Hi.", 1.0),
        ("BOB", "Ho.", 1.0),
        ("S1", "Yes.", 3.0),
        ("S2", "No.", 3.0),
        ("Eve", "x\ny", 5.0),
    ]
    assert "cues with dashes given to two speakers in turn: 1" in document.warnings


WEBVTT = """WEBVTT - A talk

STYLE
::cue { color: red }

intro
00:00:01.000 --> 00:00:02.000
Hello there.

NOTE a comment
of two lines

name of the cue
00:00:03.000 --> 00:00:04.000
[door slams] Who is that? [laughs]

00:00:05.000 --> 00:00:06.000
(thunder)
It rains.
"""


def test_comments_names_of_cues_and_sounds_in_subtitles_are_not_said():
    document = read_script(WEBVTT)
    assert [turn.text for turn in document.turns] == ["Hello there.", "Who is that? [laughs]", "It rains."]
    assert document.warnings[1:] == ("sounds described in subtitles left out: 2 ([door slams], (thunder))",)


def test_text_without_cues_is_refused_as_subtitles():
    with pytest.raises(BadScript, match="no subtitle"):
        read_script("Hello.", format="srt")


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(BadScript, match="'docx' is unknown; known are auto, plain, tagged, play, json, markdown, srt"):
        read_script("Hello.", format="docx")


@pytest.mark.parametrize("text", ["", " \n", "...", "[S1] [S2]", "```\ncode\n```", '[""]'])
def test_a_script_with_nothing_to_say_is_refused(text):
    with pytest.raises(BadScript, match="there is nothing to say"):
        read_script(text)


MESSY = st.lists(
    st.sampled_from(
        [
            PLAIN,
            TAGGED,
            PLAY,
            JSON,
            MARKDOWN,
            SRT,
            "\n",
            "[",
            "|",
            "- ",
            "Al: ",
            "```\n",
            "> ",
            "*",
            "é",
            "<v A>x",
            "\x00",
        ]
    )
).map("".join)


@given(MESSY | st.text(), st.sampled_from(["auto", *FORMATS]))
def test_any_text_in_any_format_is_read_or_refused_with_a_declared_error(text, format):
    try:
        document = read_script(text, format=format)
    except BadInput:
        return
    assert document.turns
    for turn in document.turns:
        assert turn.speaker
        if turn.span:
            assert 0 <= turn.span[0] <= turn.span[1] <= len(text)
