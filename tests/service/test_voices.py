"""Voices: built-in ones, custom ones, what may be changed, what survives, and the archive."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dia.errors import BadParameter, Conflict, NotFound, Protected, UnknownVoice
from dia.media.encode import encode_audio
from dia.service.archive import export_voices, import_voices
from dia.service.build import Service
from dia.service.bundled import bundle_voices
from dia.service.speech import SpeechRequest
from dia.service.voices import ALIASES, BUILTIN_IDS, SpeakerPrompt
from tests.service.conftest import speechlike, wav
from tests.service.tone import ToneModel

OPENAI_NAMES = [
    "alloy",
    "ash",
    "ballad",
    "coral",
    "echo",
    "fable",
    "onyx",
    "nova",
    "sage",
    "shimmer",
    "verse",
    "marin",
    "cedar",
]


@pytest.fixture
def with_prompts(service: Service) -> Service:
    service.prompts.upload("p1", wav(2.0), transcript="First words.")
    service.prompts.upload("p2", wav(2.0, pitch_hz=220.0), transcript="Second words.")
    return service


def test_the_six_are_there_with_their_styles_and_speakers(service: Service):
    shown = {voice.id: (voice.style, voice.primary_speaker) for voice in service.voices.all()}
    assert shown == {
        "alloy": ("neutral", "S1"), "echo": ("calm", "S1"), "fable": ("expressive", "S2"),
        "nova": ("friendly", "S1"), "onyx": ("deep", "S2"), "shimmer": ("bright", "S1"),
    }  # fmt: skip
    assert len({voice.seed for voice in service.voices.all()}) == 6


@pytest.mark.parametrize("name", [*OPENAI_NAMES, " Alloy ", "NOVA"])
def test_every_name_that_clients_have_built_in_speaks(service: Service, name: str):
    assert service.voices.find(name).id in BUILTIN_IDS
    assert set(ALIASES) | set(BUILTIN_IDS) == set(OPENAI_NAMES)


def test_an_unknown_voice_is_an_error_that_helps(service: Service):
    with pytest.raises(UnknownVoice, match=r"known are alloy, echo.*did you mean 'shimmer'"):
        service.voices.find("shimer")
    with pytest.raises(UnknownVoice):
        service.voices.get("ash")  # an alias is no id


def test_a_custom_voice_may_take_an_alias_and_case_is_forgiven(service: Service):
    service.voices.create("Sage", {"style": "own"})
    assert service.voices.find("Sage").style == "own"
    assert service.voices.find("sage").id == "shimmer"
    service.voices.create("Narrator", {})
    assert service.voices.find("narrator ").id == "Narrator"


def test_the_seeds_example_creates_a_voice(with_prompts: Service):
    voice = with_prompts.voices.create(
        "custom_voice",
        {
            "voice_id": "custom_voice",
            "style": "friendly",
            "primary_speaker": "S1",
            "audio_prompt": "p1",
            "unheard_of": 1,
        },
    )
    assert (voice.audio_prompt, voice.audio_prompt_transcript, voice.builtin) == ("p1", None, False)
    assert with_prompts.voices.all()[-1] == voice
    with pytest.raises(Conflict, match="overwrite"):
        with_prompts.voices.create("custom_voice", {})
    assert with_prompts.voices.create("custom_voice", {"style": "calm"}, overwrite=True).audio_prompt is None


@pytest.mark.parametrize(
    "bad",
    [
        {"primary_speaker": "S9"}, {"audio_prompt": "nowhere"}, {"audio_prompt_transcript": "words"}, {"seed": -1},
        {"seed": 1, "voice_seed": 2}, {"defaults": {"temperature": 9}}, {"defaults": {"unknown": 1}},
        {"speakers": {"S3": {"prompt": "p1"}}}, {"speakers": {"S1": {"prompt": "nowhere"}}}, {"name": "x" * 121},
        {"defaults": {"speed": 4.1}}, {"seed": 2**63},
    ],
)  # fmt: skip
def test_a_bad_field_is_refused_and_nothing_changes(with_prompts: Service, bad: dict[str, Any]):
    with_prompts.voices.create("mine", {"audio_prompt": "p1", "seed": 5} if "transcript" not in str(bad) else {})
    before = with_prompts.voices.get("mine")
    with pytest.raises(BadParameter):
        with_prompts.voices.update("mine", bad)
    with pytest.raises(BadParameter):
        with_prompts.voices.create("other", bad)
    assert with_prompts.voices.get("mine") == before
    assert "other" not in [voice.id for voice in with_prompts.voices.all()]


def test_an_update_merges_and_null_clears(with_prompts: Service):
    voices = with_prompts.voices
    voices.create("mine", {"audio_prompt": "p1", "audio_prompt_transcript": "Own words.", "style": "calm", "seed": 7,
                           "defaults": {"speed": 1.2, "temperature": 0.8}})  # fmt: skip
    changed = voices.update("mine", {"description": "new", "defaults": {"temperature": None}})
    assert (changed.style, changed.seed, changed.audio_prompt_transcript) == ("calm", 7, "Own words.")
    assert changed.defaults == {"speed": 1.2}
    assert voices.update("mine", {"audio_prompt_transcript": None}).speakers == {"S1": SpeakerPrompt("p1")}
    cleared = voices.update("mine", {"audio_prompt": None, "seed": None, "style": None, "defaults": None})
    assert (cleared.speakers, cleared.seed, cleared.style, cleared.defaults) == ({}, None, "neutral", {})
    with pytest.raises(UnknownVoice):
        voices.update("nobody", {})


def test_another_prompt_does_not_keep_the_words_of_the_old_one(with_prompts: Service):
    with_prompts.voices.create("mine", {"audio_prompt": "p1", "audio_prompt_transcript": "Of the first."})
    assert with_prompts.voices.update("mine", {"audio_prompt": "p1"}).audio_prompt_transcript == "Of the first."
    assert with_prompts.voices.update("mine", {"audio_prompt": "p2"}).audio_prompt_transcript is None


def test_the_only_speaker_moves_with_the_primary_tag(with_prompts: Service):
    with_prompts.voices.create("mine", {"audio_prompt": "p1"})
    assert with_prompts.voices.update("mine", {"primary_speaker": "S2"}).speakers == {"S2": SpeakerPrompt("p1")}


def test_two_speakers_and_back_to_one(with_prompts: Service):
    pair = with_prompts.voices.create("pair", {"speakers": {"S2": {"prompt": "p2"}, "S1": {"prompt": "p1"}}})
    assert list(pair.speakers) == ["S1", "S2"]
    assert pair.speaker_count == 2
    assert list(with_prompts.voices.update("pair", {"speakers": {"S1": None}}).speakers) == ["S2"]


def test_built_in_voices_change_and_come_back_but_do_not_go(with_prompts: Service):
    voices = with_prompts.voices
    original = voices.get("alloy")
    with pytest.raises(Protected):
        voices.delete("alloy")
    with pytest.raises(Conflict):
        voices.create("alloy", {})
    changed = voices.update("alloy", {"audio_prompt": "p1", "seed": None})
    assert (changed.builtin, changed.audio_prompt) == (True, "p1")
    assert [voice.id for voice in voices.all()] == list(BUILTIN_IDS)
    assert voices.restore("alloy") == original
    voices.create("mine", {})
    with pytest.raises(Conflict):
        voices.restore("mine")


def test_voices_survive_a_restart(make_service: Callable[..., Service]):
    first = make_service()
    first.prompts.upload("p1", wav(2.0))
    first.voices.create("mine", {"audio_prompt": "p1", "defaults": {"speed": 1.5}})
    first.voices.update("nova", {"style": "loud"})
    before = first.voices.all()
    first.close(0)
    assert make_service().voices.all() == before


def test_deleting_a_voice_leaves_its_prompt_to_the_others(with_prompts: Service):
    with_prompts.voices.create("one", {"audio_prompt": "p1"})
    with_prompts.voices.create("two", {"audio_prompt": "p1"})
    with_prompts.voices.delete("one")
    assert with_prompts.prompts.exists("p1")
    assert with_prompts.voices.get("two").audio_prompt == "p1"
    with pytest.raises(UnknownVoice):
        with_prompts.voices.delete("one")


def test_a_prompt_in_use_is_kept_unless_forced(with_prompts: Service):
    with_prompts.voices.create("pair", {"speakers": {"S1": {"prompt": "p1"}, "S2": {"prompt": "p2"}}})
    with pytest.raises(Conflict, match="used by pair"):
        with_prompts.voices.delete_prompt("p1")
    assert with_prompts.prompts.exists("p1")
    assert with_prompts.voices.delete_prompt("p1", force=True) == ("pair",)
    assert with_prompts.voices.get("pair").speakers == {"S2": SpeakerPrompt("p2")}
    with pytest.raises(NotFound):
        with_prompts.voices.delete_prompt("p1", force=True)


def test_a_take_becomes_a_voice_with_the_very_codes(service: Service, model: ToneModel):
    with service.speech.open(SpeechRequest("[S1] I like this take. [S2] So do I.", seed=4)) as speech:
        speech.read()
    codes = model.streams[-1].codes
    voice = service.voices.freeze("liked", service.takes.get(speech.id), {"style": "warm"}, 20.0)
    assert (voice.style, voice.audio_prompt) == ("warm", "liked")
    assert np.array_equal(service.prompts.codes("liked", model, 20.0), codes)
    assert service.prompts.get("liked").transcript == "[S1] I like this take. [S2] So do I."
    assert model.prompts_encoded == 0
    with service.speech.open(SpeechRequest("Again.", voice="liked")) as again:
        again.read()
    assert model.streams[-1].text == "[S1] I like this take. [S2] So do I. [S1] Again. [S2]"
    with pytest.raises(Conflict):
        service.voices.freeze("liked", service.takes.get(speech.id), {}, 20.0)
    with pytest.raises(BadParameter):
        service.voices.freeze("other", service.takes.get(speech.id), {"seed": "x"}, 20.0)
    assert not service.prompts.exists("other")
    with pytest.raises(NotFound):
        service.takes.get("unknown")


def test_a_server_may_hold_no_takes_at_all(make_service: Callable[..., Service]):
    service = make_service(max_take_bytes=0)
    with service.speech.open(SpeechRequest("Spoken and forgotten.")) as speech:
        speech.read()
    with pytest.raises(NotFound, match="no longer at hand"):
        service.takes.get(speech.id)


def test_voices_travel_in_an_archive(make_service: Callable[..., Service], tmp_path: Any, model: ToneModel):
    service = make_service()
    service.prompts.upload("p1", wav(2.0), transcript="First words.", language="en")
    service.voices.create("mine", {"audio_prompt": "p1", "style": "calm", "defaults": {"speed": 1.2}, "seed": 3})
    with service.speech.open(SpeechRequest("A take to keep.")) as speech:
        speech.read()
    service.voices.freeze("frozen", service.takes.get(speech.id), {}, 20.0)
    data = export_voices(service.voices, service.prompts)
    frozen_codes = service.prompts.codes("frozen", model, 20.0)
    service.close(0)

    other = make_service(data_dir=tmp_path / "other")
    imported = import_voices(other.voices, other.prompts, data)
    assert (set(imported.voices), set(imported.prompts)) == ({"mine", "frozen"}, {"p1", "frozen"})
    voice = other.voices.get("mine")
    assert (voice.style, voice.seed, voice.defaults, voice.audio_prompt) == ("calm", 3, {"speed": 1.2}, "p1")
    assert other.prompts.get("p1").transcript == "First words."
    assert np.array_equal(other.prompts.codes("frozen", model, 20.0), frozen_codes)
    with pytest.raises(Conflict):
        import_voices(other.voices, other.prompts, data)
    assert import_voices(other.voices, other.prompts, data, overwrite=True) == imported


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "evil",
    [
        b"no zip", archive(), archive(**{"voices.json": "[]"}), archive(**{"voices.json": '{"version": 9, "voices": []}'}),
        archive(**{"voices.json": json.dumps({"version": 1, "voices": [{"id": "../x", "name": "x"}]})}),
        archive(**{"voices.json": json.dumps({"version": 1, "voices": [
            {"id": "x", "name": "x", "speakers": {"S1": {"prompt": "../../etc"}}}]})}),
        archive(**{"voices.json": json.dumps({"version": 1, "voices": [
            {"id": "x", "name": "x", "speakers": {"S1": {"prompt": "p"}}}]}), "prompts__p__prompt.json": "{}"}),
    ],
)  # fmt: skip
def test_an_archive_is_not_trusted(service: Service, evil: bytes):
    with pytest.raises(BadParameter):
        import_voices(service.voices, service.prompts, evil)
    assert [voice.id for voice in service.voices.all()] == list(BUILTIN_IDS)


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """Recordings for two built-in voices, codes for one of them, and a damaged one."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for voice_id in ("alloy", "fable"):
        (folder / f"{voice_id}.opus").write_bytes(encode_audio(speechlike(4.0), 44_100, "opus"))
        facts = {"transcript": f"I am {voice_id}, and I read to you.", "language": "en-US", "model_hash": "70netone"}
        (folder / f"{voice_id}.json").write_text(json.dumps(facts))
    save_file({"codes": np.full((340, 9), 7, np.int16)}, folder / "alloy.safetensors")
    (folder / "onyx.opus").write_bytes(b"damaged")
    (folder / "onyx.json").write_text("{}")
    return folder


def test_bundled_prompts_replace_the_anchors_but_no_edit(service: Service, model: ToneModel, assets: Path):
    service.voices.update("alloy", {"style": "edited"})
    assert bundle_voices(service.voices, service.prompts, assets) == ("alloy", "fable")
    assert service.voices.get("alloy").style == "edited"
    restored = service.voices.restore("alloy")
    assert (restored.audio_prompt, restored.seed, restored.style) == ("builtin-alloy", None, "neutral")
    assert service.prompts.codes("builtin-alloy", model, 20.0).tolist() == [[7] * 9] * 340
    assert list(service.voices.get("fable").speakers) == ["S2"]
    assert service.voices.get("onyx").seed is not None
    assert service.prompts.all() == {}
    with service.speech.open(SpeechRequest("Hello.", voice="fable")) as speech:
        speech.read()
    assert speech.text == "[S1] I am fable, and I read to you. Hello. [S1]"
    for force in (False, True):
        with pytest.raises(Protected):
            service.voices.delete_prompt("builtin-fable", force=force)


def test_bundled_prompts_are_taken_in_once_and_users_stay(service: Service, model: ToneModel, assets: Path):
    service.prompts.upload("builtin-fable", wav(2.0))
    assert bundle_voices(service.voices, service.prompts, assets) == ("alloy",)
    taken = service.prompts.get("builtin-alloy")
    assert bundle_voices(service.voices, service.prompts, assets) == ("alloy",)
    assert service.prompts.get("builtin-alloy") is taken
    assert service.prompts.get("builtin-fable").source == "upload"
