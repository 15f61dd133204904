"""Who says what with which prompt: tags, roles, people, one voice or two."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from dia.errors import BadParameter, UnknownVoice
from dia.narration.casting import Sound, cast
from dia.service.build import Service
from dia.service.speech import SpeechRequest
from tests.service.conftest import wav
from tests.service.tone import ToneModel

ONE = (Sound("p1", "S1", "First.", 2.0),)
SECOND = (Sound("p2", "S2", "Second.", 2.0),)
PAIR = (*ONE, *SECOND)
DUO = (Sound("duo", "S1", "[S1] First. [S2] Second.", 2.0, has_both=True),)


@pytest.mark.parametrize(
    ("names", "sounds", "expected"),
    [
        (["S1"], (), {}),
        (["S1", "S2"], ONE, {"S1": "S1"}),
        (["S1", "S2"], SECOND, {"S2": "S2"}),
        (["S1"], SECOND, {"S1": "S2"}),
        (["S2"], ONE, {"S2": "S1"}),
        (["S2"], PAIR, {"S2": "S2"}),
        (["S1", "S2"], DUO, {"S1": "S1", "S2": "S2"}),
        (["Alice", "Bob", "Carl"], PAIR, {"Alice": "S1", "Bob": "S2"}),
        (["Alice", "Bob"], SECOND, {"Alice": "S2"}),
        (["S1", "Narrator"], (*ONE, Sound("p3", "Narrator", "Third.", 2.0)), {"S1": "S1", "Narrator": "Narrator"}),
    ],
)
def test_names_find_their_prompts(names: list[str], sounds: tuple[Sound, ...], expected: dict[str, str]):
    assert cast(names, sounds) == expected


@pytest.fixture
def speak(service: Service, model: ToneModel) -> Callable[..., str]:
    """Says a text and returns what the model was given."""
    service.prompts.upload("p1", wav(1.0, pitch_hz=100.0), transcript="First.")
    service.prompts.upload("p2", wav(1.5, pitch_hz=200.0), transcript="[S1] Second.")
    service.prompts.upload("duo", wav(2.0), transcript="[S1] One. [S2] Two.")
    service.voices.create("one", {"audio_prompt": "p1"})
    service.voices.create("second", {"audio_prompt": "p2", "primary_speaker": "S2"})
    service.voices.create("pair", {"speakers": {"S1": {"prompt": "p1"}, "S2": {"prompt": "p2"}}})
    service.voices.create("duo", {"audio_prompt": "duo"})

    def say(text: str, voice: str, **changes: str) -> str:
        with service.speech.open(dataclasses.replace(SpeechRequest(text, voice=voice), **changes)) as speech:
            speech.read()
        return speech.text

    return say


def test_untagged_text_is_spoken_by_the_voices_own_speaker(speak: Callable[..., str]):
    assert speak("Hello.", "one") == "[S1] First. Hello. [S1]"
    assert speak("Hello.", "second") == "[S1] Second. Hello. [S1]"
    assert speak("Hello.", "second", role="user") == "[S1] Second. Hello. [S1]"
    assert speak("Hello.", "alloy") == speak("Hello.", "fable") == "[S1] Hello. [S1]"


def test_a_role_chooses_between_the_two_of_a_pair(speak: Callable[..., str], service: Service, model: ToneModel):
    assert speak("Hello.", "pair", role="user") == "[S1] First. Hello. [S1]"
    assert speak("Hello.", "pair", role="assistant") == "[S1] Second. Hello. [S1]"
    assert speak("Hello.", "pair", role="narrator") == "[S1] First. Hello. [S1]"
    prompt = model.streams[-2].prompt
    assert prompt is not None
    assert np.array_equal(prompt.codes, service.prompts.codes("p2", model, 10.0))


def test_tags_win_over_the_role(speak: Callable[..., str]):
    assert speak("[S2] Hello.", "pair", role="user") == "[S1] Second. Hello. [S1]"


def test_one_voice_speaks_whatever_single_tag_a_client_writes(speak: Callable[..., str]):
    assert speak("[S1] Hello.", "second") == "[S1] Second. Hello. [S1]"
    assert speak("[S2] Hello.", "one") == "[S1] First. Hello. [S1]"


def test_two_prompts_stand_before_a_dialogue_in_the_order_of_the_voice(
    speak: Callable[..., str], service: Service, model: ToneModel
):
    assert speak("[S1] Hello. [S2] Hi.", "pair") == "[S1] First. [S2] Second. [S1] Hello. [S2] Hi. [S1]"
    prompt = model.streams[-1].prompt
    assert prompt is not None
    both = np.concatenate([service.prompts.codes(prompt_id, model, 10.0) for prompt_id in ("p1", "p2")])
    assert np.array_equal(prompt.codes, both)


def test_a_dialogue_that_begins_with_the_second_speaker_keeps_them_apart(speak: Callable[..., str]):
    assert speak("[S2] Hi. [S1] Hello.", "pair") == "[S1] First. [S2] Second. Hi. [S1] Hello. [S2]"


def test_a_recording_of_two_gives_both(speak: Callable[..., str]):
    assert speak("[S1] Hello. [S2] Hi.", "duo") == "[S1] One. [S2] Two. [S1] Hello. [S2] Hi. [S1]"
    assert speak("[S2] Hi.", "duo") == "[S1] One. [S2] Two. Hi. [S1]"


def test_people_by_name_get_the_voices_in_order(speak: Callable[..., str]):
    said = speak("Alice: Good morning to you.\nBob: And to you.\nAlice: Thanks.", "pair")
    assert said.startswith("[S1] First. [S2] Second. [S1] Good morning")


LONG = " ".join(f"This is sentence {number} of a text that takes a while to be said." for number in "abcdefghijkl")


def test_a_piece_goes_on_from_the_prompt_and_the_end_of_the_piece_before(
    speak: Callable[..., str], service: Service, model: ToneModel
):
    """On the server every piece began at the prompt alone, as if nothing had been said before."""
    speak(LONG, "one")
    first, second, *_ = model.streams
    own = service.prompts.codes("p1", model, 10.0)
    assert np.array_equal(first.prompt.codes, own)
    context = second.prompt.codes[len(own) :]
    assert np.array_equal(second.prompt.codes[: len(own)], own) and 86 < len(context) <= 6 * 87
    last = first.text.split(". ")[-2]
    assert second.text.startswith("[S1] First. This is") and last in second.text


def test_behind_a_prompt_without_words_there_is_no_context(
    speak: Callable[..., str], service: Service, model: ToneModel
):
    service.prompts.upload("mute", wav(1.0, pitch_hz=150.0))
    service.voices.create("mute", {"audio_prompt": "mute"})
    speak(LONG, "mute")
    assert len(model.streams) > 2
    assert len({len(stream.prompt.codes) for stream in model.streams}) == 1


TOLD = '*She opens the door.* "Come in," she says. *She smiles at you.*'


def test_roleplay_is_told_by_the_narrators_voice(speak: Callable[..., str], service: Service, model: ToneModel):
    said = speak(TOLD, "one", roleplay="chat", narrator_voice="second")
    assert said == (
        "[S1] First. [S2] Second. She opens the door. [S1] Come in, she says. [S2] She smiles at you. [S1]"
    )
    prompt = model.streams[-1].prompt
    assert prompt is not None
    both = [service.prompts.codes(prompt_id, model, 10.0) for prompt_id in ("p1", "p2")]
    assert len(prompt.codes) == sum(map(len, both))
    assert speak(TOLD, "one") == "[S1] First. She opens the door. Come in, she says. She smiles at you. [S1]"
    assert speak("Hello there.", "one", roleplay="chat", narrator_voice="second") == "[S1] First. Hello there. [S1]"


def test_roleplay_is_told_by_the_other_speaker_of_a_voice_of_two(speak: Callable[..., str]):
    said = speak(TOLD, "pair", roleplay="novel")
    assert said.endswith("She opens the door. [S1] Come in, [S2] She says. She smiles at you. [S1]")
    assert speak(TOLD, "duo", roleplay="quotes-only") == "[S1] One. [S2] Two. [S1] Come in, [S2]"


def test_roleplay_as_configured_and_what_it_cannot_be(speak: Callable[..., str], service: Service):
    service.config.update({"roleplay": "no-actions", "narrator_voice": "second"})
    assert speak(TOLD, "one") == "[S1] First. Come in, she says. [S1]"
    assert "She opens" in speak(TOLD, "one", roleplay="off")
    for wrong in ({"roleplay": "loud"}, {"roleplay": 1}, {"narrator_voice": ""}):
        with pytest.raises(BadParameter):
            service.config.update(wrong)
    with pytest.raises(BadParameter, match="has two speakers"):
        speak(TOLD, "one", roleplay="chat", narrator_voice="duo")
    with pytest.raises(UnknownVoice):
        speak(TOLD, "one", roleplay="chat", narrator_voice="nobody")


def test_thoughts_of_a_language_model_are_never_spoken(speak: Callable[..., str]):
    assert speak("<think>What does he want?</think>Hello there.", "one") == "[S1] First. Hello there. [S1]"


def test_a_word_whose_voice_has_no_prompt_is_carried_and_cut_free(
    make_service: Callable[..., Service], model: ToneModel
):
    """A one-word utterance had nothing around it and could come out empty."""
    service = make_service(short_text="carrier")
    model.pauses_at_tags = True
    with service.speech.open(SpeechRequest("No", seed=1)) as speech:
        sound = speech.read_waveform()
    (stream,) = model.streams
    assert stream.text.startswith("[S1] No. [S2] And now")
    assert 0.4 < len(sound) / speech.sample_rate_hz < 0.8
    assert stream.frames_done > 5 * len(sound) / 512
    service.prompts.upload("p1", wav(2.0), transcript="First.")
    service.voices.create("one", {"audio_prompt": "p1"})
    with service.speech.open(SpeechRequest("No", voice="one")) as speech:
        speech.read()
    assert model.streams[-1].text == "[S1] First. No. [S1]"


def test_no_closing_tag_if_none_is_wanted(speak: Callable[..., str]):
    assert speak("Hello.", "one", close_tag=False) == "[S1] First. Hello."


def test_the_voices_own_words_for_a_long_prompt_are_cut_with_it(service: Service):
    service.prompts.upload("long", wav(40.0))
    service.voices.create("mine", {"audio_prompt": "long", "audio_prompt_transcript": "One two three four. " * 10})
    (sound,) = service.speech.plan(SpeechRequest("Hello.", voice="mine")).sounds
    assert sound.words is not None
    assert len(sound.words) < 120
    assert sound.used_s <= 20.0
