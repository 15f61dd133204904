"""The whole path with the tiny model, by judges whose opinions are known beforehand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dia.errors import BadInput, BadParameter
from dia.evals.hearing import Heard, HeardWord
from dia.evals.references import DEFAULT_PAIR, open_recordings, parse_voices, read_corpus, read_voices
from dia.evals.report import Report, draw, read_scores, table
from dia.evals.run import Plan, describe, judge_folder, judge_model
from dia.evals.scoring import JUDGE_RATE_HZ, Judges, TakeScore, score_take
from dia.evals.speaking import cast
from dia.evals.summary import summarise, verdicts
from dia.evals.takes import Generation, Take, read_folder, write_take
from dia.media.encode import write_audio
from dia.model import Dia
from dia.train.sound import is_held_out, write_corpus
from tests.tiny import tiny_config, write_bundle

SPEAKERS = {"low": 120.0, "high": 400.0}
SENTENCE = "A sentence to be said number"


def voiced(pitch_hz: float, seconds: float, rate_hz: int = JUDGE_RATE_HZ) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def pitch_vector(sound: np.ndarray) -> np.ndarray:
    """An embedding that tells low from high by the zero crossings."""
    crossings = float(np.abs(np.diff(np.signbit(sound))).mean()) * JUDGE_RATE_HZ / 2
    angle = np.clip((crossings - 120) / 280, 0, 1) * np.pi / 2
    return np.array([np.cos(angle), np.sin(angle)])


def hears(text: str, seconds: float = 1.0) -> Callable[[np.ndarray], Heard]:
    """Ears that hear the same words in everything, evenly spread over `seconds`."""
    words = text.split()
    each = seconds / max(1, len(words))
    return lambda _: Heard(text, tuple(HeardWord(w, n * each, (n + 1) * each) for n, w in enumerate(words)))


def judges(text: str = "", seconds: float = 1.0) -> Judges:
    return Judges(hear=hears(text, seconds), embed=pitch_vector, rate=lambda _: 3.5)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A prepared corpus of two voices, fourteen tones each, two of them held out."""
    clips = []
    for name, pitch in SPEAKERS.items():
        texts = [f"{SENTENCE} {number} by {name}." for number in range(500)]
        held_out = [text for text in texts if is_held_out(text)][:2]
        training = [text for text in texts if not is_held_out(text)][:12]
        clips += [(text, name, voiced(pitch, 3.3)) for text in training + held_out]
    write_corpus(tmp_path / "corpus", JUDGE_RATE_HZ, iter(clips))
    return tmp_path / "corpus"


@pytest.fixture
def model(tmp_path: Path) -> Dia:
    return Dia.from_pretrained(write_bundle(tmp_path / "m", config=tiny_config(audio_length=352)), slots=1)


def plan(corpus: Path, **changes: object) -> Plan:
    given: dict[str, object] = {
        "sentences": ("One more thing.", "Two at once."),
        "recordings": open_recordings(corpus, JUDGE_RATE_HZ),
        "speakers": {name: name for name in SPEAKERS},
        "teacher_takes": 2,
    }
    return Plan(**(given | changes))  # type: ignore[arg-type]


def test_a_model_is_judged_beside_its_ceilings(model: Dia, corpus: Path, tmp_path: Path):
    said: list[str] = []
    takes = tmp_path / "takes"
    asked = plan(corpus, dialogues=("[S1] Is it so? [S2] It is.",), pair={"one": "low", "two": "high"}, keep=takes)
    params = model.defaults.updated(max_tokens=345)
    report = judge_model(model, asked, params, judges("One more"), describe(model, params, 1, 0), said.append)
    model.close()
    groups = report.summaries()
    assert list(groups) == ["teacher", "codec", "sentences", "dialogues", "voice high", "voice low"]
    assert groups["teacher"].nearest == 1.0 and groups["teacher"].rtf is None
    assert groups["sentences"].takes == 2 and groups["sentences"].ended == 0.0
    assert groups["sentences"].rtf is not None and groups["sentences"].rtf > 0
    assert groups["sentences"].wer.value == pytest.approx((1 + 3) / 6)
    assert len(said) == 2 + 2 + 2 + 1
    assert {take.name for take in read_folder(takes, JUDGE_RATE_HZ)} == {"s01-low", "s02-high", "d01"}


def test_a_text_of_the_corpus_is_refused_before_anything_is_spoken(model: Dia, corpus: Path):
    asked = plan(corpus, sentences=(f"{SENTENCE} 3 by low!",))
    with pytest.raises(BadParameter, match="training manifest"):
        judge_model(model, asked, model.defaults, judges(), {}, print)
    model.close()


def test_the_report_survives_the_disk_and_gives_its_ceilings_to_the_next(corpus: Path, tmp_path: Path):
    write_take(Take("a", "One two.", voiced(120, 1.0), JUDGE_RATE_HZ, "low"), tmp_path / "wavs")
    first = judge_folder(tmp_path / "wavs", plan(corpus), judges("one two"), None, print, None)
    first.save(tmp_path / "report.json")
    scores, known = read_scores(tmp_path / "report.json")
    assert scores.keys() == first.scores.keys() and known is not None
    assert scores["teacher"][0].text == first.scores["teacher"][0].text
    again = plan(corpus, earlier=tmp_path / "report.json", teacher_takes=0)
    second = judge_folder(tmp_path / "wavs", again, judges("one two"), None, print, None)
    assert second.summaries()["teacher"].takes == 2
    assert "ceilings taken over from report.json" in table(second)
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInput, match="no report"):
        read_scores(tmp_path / "report.json")


def test_waveforms_with_texts_beside_them_need_no_model_and_no_corpus(tmp_path: Path):
    for number, pitch in enumerate(SPEAKERS.values()):
        write_audio(tmp_path / f"{number}.wav", voiced(pitch, 1.0), JUDGE_RATE_HZ)
        (tmp_path / f"{number}.txt").write_text("One two three.", encoding="utf-8")
    report = judge_folder(tmp_path, Plan(sentences=()), judges("one two"), None, print, None)
    found = report.summaries()["sentences"]
    assert found.takes == 2 and found.similarity is None and found.ended is None
    assert found.wer.value == pytest.approx(1 / 3)
    assert "not known" in table(report)[-1]
    with pytest.raises(BadInput, match=r"no folder of clips|does not exist|is no folder"):
        judge_folder(tmp_path / "none", Plan(sentences=()), judges(), None, print, None)


def test_a_take_comes_back_from_its_folder_as_it_was(tmp_path: Path):
    take = Take("t", "[S1] A. [S2] B.", voiced(200, 0.5), JUDGE_RATE_HZ, "low", "high", Generation(1.5, 2.5, True, 7))
    write_take(take, tmp_path)
    write_take(replace(take, name="u", voice=None, second_voice=None, generation=None), tmp_path)
    one, two = read_folder(tmp_path, JUDGE_RATE_HZ)
    assert (one.name, one.text, one.voice, one.second_voice, one.generation) == (
        take.name,
        take.text,
        take.voice,
        take.second_voice,
        take.generation,
    )
    assert np.abs(one.waveform - take.waveform).max() < 1e-3
    assert two.voice is None and two.generation is None


def test_the_turns_of_a_dialogue_are_told_apart():
    sound = np.concatenate([voiced(120, 1.0), voiced(400, 1.0)])
    take = Take("d", "[S1] One two. [S2] Three four.", sound, JUDGE_RATE_HZ, "low", "high")
    centroids = {name: pitch_vector(voiced(pitch, 1.0)) for name, pitch in SPEAKERS.items()}
    right = score_take(take, judges("one two three four", 2.0), centroids)
    assert right.turns_right is True and right.errors == 0
    assert right.turn_similarity is not None and right.turn_similarity < 0.1
    swapped = score_take(replace(take, voice="high", second_voice="low"), judges("one two three four", 2.0), centroids)
    assert swapped.turns_right is False
    unheard = score_take(take, judges("one two", 2.0), centroids)
    assert unheard.turns_right is None and unheard.errors == 2


def test_sound_after_the_last_word_is_junk_and_silence_is_not():
    sound = np.concatenate(
        [voiced(200, 1.0), np.zeros(8000, np.float32), voiced(200, 0.7), np.zeros(4000, np.float32)]
    )
    score = score_take(Take("j", "One two", sound, JUDGE_RATE_HZ), judges("one two and so on", 2.5), {})
    assert score.junk_s == pytest.approx(2.2 - 1.0, abs=0.05)
    assert score.silence_s == pytest.approx(0.25, abs=0.02)


def test_an_empty_take_is_all_wrong_and_breaks_nothing():
    score = score_take(Take("e", "One two", np.zeros(0, np.float32), JUDGE_RATE_HZ, "low"), judges("x"), {})
    assert (score.errors, score.words, score.mos, score.junk_s) == (2, 2, 1.0, 0.0)
    made = Generation(1.0, 1.0, True, 0)
    asked = Take("e", "One two", np.zeros(0, np.float32), JUDGE_RATE_HZ, "low", None, made)
    found = summarise([score_take(asked, judges("x"), {"low": np.array([1.0, 0.0])})])
    assert found is not None and found.ended == 0.0 and found.nearest == 0.0


def test_voices_take_turns_or_all_speak_everything():
    assert [(line.text, line.voice) for line in cast("ab", ["x", "y"], every_voice=False)] == [("a", "x"), ("b", "y")]
    assert len(cast("ab", ["x", "y"], every_voice=True)) == 4
    assert [line.voice for line in cast("ab", [], every_voice=True)] == [None, None]


def test_the_references_of_a_voice_hold_neither_prompt_nor_held_out_takes(corpus: Path):
    found = read_corpus(open_recordings(corpus, JUDGE_RATE_HZ), {"deep": "low"}, 3)
    voice = found.voices["deep"]
    texts = {take.text for take in voice.recordings}
    assert len(texts) == 6 and voice.prompt.text not in texts
    assert texts.isdisjoint(take.text for take in found.teacher)
    assert all(take.voice == "deep" for take in (*voice.recordings, *found.teacher))


def test_a_voice_that_the_corpus_lacks_is_refused(corpus: Path):
    with pytest.raises(BadParameter, match="no recording of 'nobody'"):
        read_corpus(open_recordings(corpus, JUDGE_RATE_HZ), {"x": "nobody"}, 1)
    with pytest.raises(BadParameter, match="NAME=SPEAKER"):
        parse_voices(["x"])
    assert parse_voices(["x=y"]) == {"x": "y"}
    assert len(set(DEFAULT_PAIR)) == 2


def test_prompts_come_with_a_text_or_with_a_json_of_their_transcript(tmp_path: Path):
    for name in SPEAKERS:
        write_audio(tmp_path / f"{name}.wav", voiced(SPEAKERS[name], 1.0), JUDGE_RATE_HZ)
        (tmp_path / f"{name}.txt").write_text("As text.", encoding="utf-8")
    assert {name: voice.prompt.text for name, voice in read_voices(tmp_path, JUDGE_RATE_HZ).items()} == {
        "low": "As text.",
        "high": "As text.",
    }
    (tmp_path / "low.json").write_text('{"transcript": "[S1] As JSON.", "language": "en"}', encoding="utf-8")
    assert [voice.prompt.text for voice in read_voices(tmp_path, JUDGE_RATE_HZ).values()] == ["[S1] As JSON."]
    (tmp_path / "none.json").write_text('{"transcript": "x"}', encoding="utf-8")
    with pytest.raises(BadInput, match="none.json has no recording"):
        read_voices(tmp_path, JUDGE_RATE_HZ)
    (tmp_path / "none.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInput, match="holds no transcript"):
        read_voices(tmp_path, JUDGE_RATE_HZ)


def example(**changes: object) -> TakeScore:
    blank = score_take(
        Take("a", "One two", voiced(120, 1.0), JUDGE_RATE_HZ, "low", None, Generation(0.25, 0.5, True, 0)),
        judges("one two"),
        {"low": np.array([1.0, 0.0])},
    )
    return replace(blank, **changes)  # type: ignore[arg-type]


def test_figures_are_held_against_their_limits():
    good = summarise([example(), example()])
    assert good is not None and good.rtf == pytest.approx(0.25) and good.cpu_rtf == pytest.approx(0.5)
    assert all(verdict.met for verdict in verdicts(good))
    bad = summarise([example(), example(mos=1.0, errors=2, ended=False, junk_s=0.6, nearest="x", wall_s=2.0)])
    assert bad is not None and not any(verdict.met for verdict in verdicts(bad))
    recordings = summarise([example(ended=None, wall_s=None, cpu_s=None)])
    assert recordings is not None
    assert {verdict.label for verdict in verdicts(recordings) if verdict.met is None} == {
        "takes that end by themselves",
        "real-time factor",
    }
    assert summarise([]) is None


def test_the_uncertainty_of_a_figure_holds_it():
    found = summarise([example(errors=errors) for errors in (0, 0, 1, 2)])
    assert found is not None
    assert found.wer.low < found.wer.value == 3 / 8 < found.wer.high


def test_table_json_and_picture_show_every_group(tmp_path: Path):
    report = Report({"model": "m"}, {"teacher": [example(wall_s=None)], "sentences": [example(), example(mos=2.0)]})
    lines = table(report)
    assert [line.split()[0] for line in lines[:4]] == ["group", "teacher", "sentences", "voice"]
    assert any(line.startswith("MISSED: DistillMOS 2.750") for line in lines)
    body = json.loads(json.dumps(report.as_json(with_takes=False), allow_nan=False))
    assert body["groups"]["sentences"]["mos"]["value"] == 2.75 and "takes" not in body
    pytest.importorskip("matplotlib")
    draw(report, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
