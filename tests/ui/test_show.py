"""What the page says: durations, marks, messages; and that nothing people typed becomes markup."""

import json
import re
from html import unescape
from types import MappingProxyType

import pytest

from dia.media.prompt_check import check_prompt
from dia.service.build import Service
from dia.service.logs import LogFilter
from dia.service.request import Progress
from dia.service.speech import SpeechRequest
from dia.text.plan import Limits
from dia.text.planner import plan
from dia.ui import show, show_lists
from dia.ui.archive import Archive
from dia.ui.desk import Access, Estimate, TakeCard
from dia.ui.marks import Mark, colour_of, turn_marks
from dia.ui.shelf import Shelf
from tests.service.conftest import speechlike

LIMITS = Limits(1024, 3072, 44_100 / 512)
EVIL = "<img src=x onerror='alert(1)'> \"&amp;"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0.0 s"), (0.84, "0.8 s"), (9.96, "10.0 s"), (14.2, "14 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125.0, "2 min 05 s")],
)  # fmt: skip
def test_durations_read_well(seconds: float, words: str):
    assert show.duration(seconds) == words


def test_marks_follow_the_words_and_fill_the_sound():
    script = plan("[S1] One two three four. [S2] One two three four. [S1] Bye.", limits=LIMITS)
    marks = turn_marks(script, pieces_s=[9.0])
    assert [mark.speaker for mark in marks] == ["S1", "S2", "S1"]
    assert marks[0].start_s == 0.0
    assert marks[1].start_s == pytest.approx(marks[2].start_s / 2, abs=0.001)
    assert marks[2].start_s < 9.0


def test_marks_of_a_faster_speech_come_earlier_in_proportion():
    script = plan("[S1] One two three four. [pause:1s] [S2] Five six seven.", limits=LIMITS)
    slow, fast = turn_marks(script, 1.0), turn_marks(script, 2.0)
    assert [mark.start_s for mark in fast] == pytest.approx([mark.start_s / 2 for mark in slow], abs=0.001)
    assert slow[1].start_s == pytest.approx(script.pieces[0].estimated_s + 1.0, abs=0.01)


def test_a_turn_that_goes_on_in_the_next_pass_begins_once():
    script = plan(f"[S1] {'A sentence of a few words. ' * 30}[S2] And an answer.", limits=LIMITS)
    marks = turn_marks(script)
    assert len(script.pieces) > 2
    assert [mark.speaker for mark in marks if mark.begins_turn] == ["S1", "S2"]
    assert len(marks) == len(script.pieces) + 1, "the words shown are still those of the pass"


def test_named_people_have_colours_by_appearance_and_tags_their_own():
    assert [colour_of(name, ("S2", "S1")) for name in ("S1", "S2")] == [1, 2]
    names = ("Anna", "Ben", "Cleo", "Dan", "Eve")
    assert [colour_of(name, names) for name in names] == [1, 2, 3, 4, 1]


def test_nothing_typed_becomes_markup():
    card = TakeCard(1, "log", "token", EVIL, EVIL, 7, 1.0, 1.0)
    shown = [
        show.alert("error", EVIL), show.warning_list([EVIL]), show.take_cards([card]),
        show.player("token", label=EVIL, marks=[Mark(0.0, EVIL, EVIL, 1)]), show.model_line("ready", "", EVIL),
        show.model_line("failed", EVIL, ""), show.estimate_line(Estimate(problem=EVIL)),
    ]  # fmt: skip
    for html in shown:
        assert "<img" not in html
        assert "onerror=" not in re.sub(r"&[a-z0-9#x]+;", "", html) or "onerror='" not in html


def test_the_player_gets_its_marks_back_as_they_were():
    marks = [Mark(0.0, "S1", 'She said "no" & left', 1), Mark(1.5, "Zoë", "été", 2)]
    html = show.player("token", label="x", marks=marks)
    data = re.search(r'data-sound="([^"]*)"', html)
    assert data is not None
    assert [Mark(**item) for item in json.loads(unescape(data.group(1)))["marks"]] == marks


def test_progress_says_place_or_time():
    assert "waiting, 3 ahead" in show.progress_line(Progress(0.0, 0.0, None, 3), 10.0, is_waiting=True)
    line = show.progress_line(Progress(42.0, 4.2, 5.8, 0), 10.0, is_waiting=False)
    assert "42 % · 4.2 s of about 10 s · 5.8 s left" in line
    assert "left" not in show.progress_line(Progress(0.0, 0.0, None, 0), 10.0, is_waiting=False)


def test_the_speed_of_a_slow_machine_is_not_said_to_be_nothing():
    assert "· 0.04 × real time" in show.done_line("log", 2.9, 67.0, 1)
    assert "· 3.1 × real time" in show.done_line("log", 3.1, 1.0, 1)
    assert "real time" not in show.done_line("log", 0.0, 5.0, 1, was_stopped=True)


def test_many_warnings_are_counted_not_listed():
    html = show.warning_list([f"warning {number}" for number in range(9)])
    assert html.count("<li>") == 7
    assert "and 3 more" in html
    folded = show.note_list(["one", EVIL])
    assert "<summary>2 notes</summary>" in folded
    assert "<img" not in folded
    assert show.note_list([]) == ""


def test_an_estimate_shows_seconds_turns_and_passes(service: Service):
    text = "Anna: " + "This is a sentence of some length. " * 20 + "\n\nBen: Yes."
    estimate = Estimate(service.speech.plan(SpeechRequest(text)))
    html = show.estimate_line(estimate)
    assert "about <b>" in html
    assert "passes" in html
    assert ">Anna<" in html
    assert ">Ben<" in html
    assert "Write a dialogue" in show.estimate_line(Estimate())


def test_the_report_names_verdict_faults_and_measures():
    good = show_lists.report_view(check_prompt(speechlike(6.0), 44_100))
    assert "A good recording." in good
    short = show_lists.report_view(check_prompt(speechlike(1.0), 44_100))
    assert "could be better" in short
    assert "1.00 s" in short
    silent = show_lists.report_view(check_prompt(0 * speechlike(3.0), 44_100))
    assert "cannot be used" in silent


def test_history_offers_replay_for_what_was_made_and_shows_why_not(service: Service):
    with service.speech.open(SpeechRequest("Hello.", seed=3)) as speech:
        speech.read_waveform()
    with service.speech.open(SpeechRequest("Never.")) as speech:
        pass
    html = show_lists.history_list(service.logs.page(LogFilter()).entries)
    assert html.count('data-do="replay"') == 1
    assert " download " not in html, "no file was kept"
    assert "cancelled" in html
    assert "6 characters" in html
    assert "Nothing has been spoken yet" in show_lists.history_list(())


def test_the_queue_lists_what_runs(service: Service):
    service.speech.model.gate.close()
    archive = Archive(service, Shelf())
    with service.speech.open(SpeechRequest("Hello.")) as speech:
        html = show_lists.queue_view(archive.queue(Access()))
        assert f'data-log="{speech.id}"' in html
    assert "Nothing runs or waits" in show_lists.queue_view(archive.queue(Access()))


def test_voices_are_shown_with_what_holds_them(service: Service):
    voices = service.voices.all()
    assert show_lists.voice_choices(voices)[0] == ("Alloy · neutral", "alloy")
    assert "held by its seed" in show_lists.voice_view(voices[0], MappingProxyType({}))
