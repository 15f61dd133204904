"""The service over the tiny real model: what holds for the tone generator holds for it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from dia.errors import BadParameter, Cancelled, CheckpointNotFound
from dia.model import Dia
from dia.service.build import Service, build
from dia.service.speech import SpeechRequest
from tests.service.conftest import make_settings, wav
from tests.service.test_speech import in_thread, until

HELLO = SpeechRequest("[S1] Hi. [S2] Yes.", seed=7, max_tokens=60, format="pcm")


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("real")
    service = build(make_settings(folder, model=str(bundle), device="cpu", workers=3, max_prompt_s=1.0))
    service.start()
    service.load_model()
    yield service
    service.close(0)


def speak(service: Service, **changes: object) -> bytes:
    values = {name: getattr(HELLO, name) for name in HELLO.__dataclass_fields__}
    with service.speech.open(SpeechRequest(**{**values, **changes})) as speech:
        return speech.read()


def test_one_seed_gives_one_sound_alone_in_company_and_as_a_job(service: Service):
    alone = speak(service)
    company = [in_thread(lambda seed=seed: speak(service, seed=seed)) for seed in (7, 8, 9)]
    for thread, _ in company:
        thread.join(60)
    assert company[0][1] == [alone]
    assert company[1][1] != [alone]
    job = service.jobs.wait(service.jobs.submit(HELLO).job.id, 60)
    assert job.status == "completed"
    assert job.result_sha256 == hashlib.sha256(alone).hexdigest()


def test_a_clone_is_heard_through_the_codec_and_a_frozen_take_is_not(service: Service):
    service.prompts.upload("p1", wav(1.0), transcript="A word.")
    service.voices.create("clone", {"audio_prompt": "p1"})
    model = service.speech.model
    codes = service.prompts.codes("p1", model, 1.0)
    assert codes.dtype == np.int16
    assert codes.shape[1] == 9
    assert speak(service, voice="clone", text="Hi.") != speak(service, text="Hi.")
    with service.speech.open(SpeechRequest("Hello there.", seed=3, max_tokens=120)) as speech:
        speech.read()
    take = service.takes.get(speech.id)
    service.voices.freeze("frozen", take, {}, 1.0)
    used = service.prompts.codes("frozen", model, 20.0)
    assert any(np.array_equal(used, piece.codes) for piece in take.pieces)
    assert speak(service, voice="frozen", text="Hi.")


def test_a_cancelled_one_leaves_the_others_as_they_are(service: Service):
    alone = speak(service, seed=21)
    cancelled = service.speech.open(SpeechRequest("A long one, to be cut off before its end.", seed=1))
    threads = [in_thread(cancelled.read), in_thread(lambda: speak(service, seed=21))]
    until(lambda: cancelled.progress().percent > 0 or cancelled.status != "processing", 30)
    cancelled.cancel()
    for thread, _ in threads:
        thread.join(60)
    assert isinstance(threads[0][1][0], Cancelled)
    assert threads[1][1] == [alone]


def test_settings_reach_the_engine_and_an_idle_model_gives_its_memory_back(bundle: Path, tmp_path: Path):
    settings = make_settings(
        tmp_path, model=str(bundle), device="cpu", quantization="int8-weights", kv_cache="int8", keep_alive_s=0.3,
        memory_limit_gb=0.5,
    )  # fmt: skip
    service = build(settings)
    service.start()
    try:
        service.load_model()
        model = cast(Dia, service.speech.model)
        assert model.quantization == "int8-weights"
        first = speak(service)
        assert all(cache.tensors[0].dtype == torch.int8 for cache in model._runner.state.self_kv)
        until(lambda: not model.engine.health.is_loaded, 30)
        assert speak(service) == first
    finally:
        service.close(0)


def test_a_memory_limit_that_holds_no_request_is_reported_with_what_is_needed(bundle: Path, tmp_path: Path):
    service = build(make_settings(tmp_path, model=str(bundle), device="cpu", memory_limit_gb=1e-6))
    service.start()
    with pytest.raises(BadParameter, match="memory_limit_gb is 1e-06; the weights and 1 slots? of .* need"):
        service.load_model()
    assert service.speech.model_state == "failed"
    service.close(0)


def test_a_model_that_is_not_there_is_reported_and_asked_for_again(tmp_path: Path):
    service = build(make_settings(tmp_path / "data", model=str(tmp_path / "none")))
    service.start()
    with pytest.raises(CheckpointNotFound):
        service.load_model()
    assert service.speech.model_state == "failed"
    assert "could not be loaded" in service.speech.model_state_reason
    service.close(0)
