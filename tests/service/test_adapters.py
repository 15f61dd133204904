"""Adapters of a server: known by id, named by requests and voices, the same from the acceptance of a job to its end."""

from pathlib import Path

import pytest

from dia.errors import BadParameter, NotFound
from dia.service.archive import export_voices, import_voices
from dia.service.build import Service
from dia.service.speech import SpeechRequest
from tests.service.tone import ToneModel

HELLO = "Hello there, this is a test."


def put(service: Service, name: str, data: bytes = b"one") -> Path:
    path = service.folder.root / "adapters" / f"{name}.safetensors"
    path.write_bytes(data)
    return path


def used(model: ToneModel) -> list[str | None]:
    return [stream.adapter and stream.adapter.id for stream in model.streams]


def test_adapters_are_the_files_in_the_folder(service: Service):
    assert service.adapters.all() == ()
    put(service, "ben", b"12345")
    put(service, "anna")
    put(service, ".hidden")
    (service.folder.root / "adapters" / "notes.txt").write_text("no adapter")
    assert [(found.id, found.size_bytes) for found in service.adapters.all()] == [("anna", 3), ("ben", 5)]
    assert service.adapters.find("ben").read_bytes() == b"12345"
    with pytest.raises(NotFound, match=r"'carl' is not known; known are anna, ben; put carl\.safetensors into"):
        service.adapters.find("carl")
    for name in ("../anna", "a/b", "", "/etc/passwd", "con"):
        with pytest.raises(BadParameter):
            service.adapters.find(name)


def test_a_request_its_voice_or_nobody_names_the_adapter(service: Service, model: ToneModel):
    put(service, "anna")
    put(service, "ben", b"two")
    service.voices.create("anna", {"adapter": "anna"})
    for request in (
        SpeechRequest(HELLO),
        SpeechRequest(HELLO, voice="anna"),
        SpeechRequest(HELLO, voice="anna", adapter="ben"),
        SpeechRequest(HELLO, adapter="anna"),
    ):
        with service.speech.open(request) as speech:
            speech.read()
            log = service.logs.get(speech.id)
            assert log.parameters.get("adapter") == speech.plan.request.adapter
    none, anna, ben, same = used(model)
    assert none is None and anna == same and ben not in (None, anna)
    with pytest.raises(NotFound, match="known are anna, ben"):
        service.speech.plan(SpeechRequest(HELLO, adapter="carl"))


def test_a_voice_names_an_adapter_that_is_there(service: Service):
    with pytest.raises(NotFound, match="known are none"):
        service.voices.create("anna", {"adapter": "anna"})
    path = put(service, "anna")
    assert service.voices.create("anna", {"adapter": "anna", "seed": 3}).adapter == "anna"
    archive = export_voices(service.voices, service.prompts)
    assert service.voices.update("anna", {"adapter": None}).adapter is None
    import_voices(service.voices, service.prompts, archive, overwrite=True)
    assert service.voices.get("anna").adapter == "anna"
    path.unlink()
    with pytest.raises(NotFound, match="'anna' is not known"):
        service.speech.plan(SpeechRequest(HELLO, voice="anna"))
    with pytest.raises(NotFound, match="'anna' is not known"):
        import_voices(service.voices, service.prompts, archive, overwrite=True)


def test_a_job_is_spoken_with_the_adapter_that_it_was_accepted_with(make_service, model: ToneModel):
    service = make_service(workers=1)
    put(service, "anna")
    service.voices.create("anna", {"adapter": "anna"})
    model.gate.close()
    first, second = (service.jobs.submit(SpeechRequest(HELLO, voice="anna", seed=4)).job for _ in range(2))
    assert first.request.adapter == "anna"
    service.voices.update("anna", {"adapter": None})
    service.close(0)
    model.gate.open()
    model.is_closed = False
    service = make_service(workers=1)
    for job in (first, second):
        assert service.jobs.wait(job.id, 20).status == "completed"
    assert used(model)[-2:] == [model.load_adapter(service.adapters.find("anna")).id] * 2


def test_a_job_whose_adapter_was_replaced_fails_and_says_so(make_service, model: ToneModel):
    service = make_service(workers=1)
    put(service, "anna")
    model.gate.close()
    first, second = (service.jobs.submit(SpeechRequest(HELLO, adapter="anna")).job for _ in range(2))
    while service.jobs.get(first.id).status != "processing":
        pass
    put(service, "anna", b"another")
    model.gate.open()
    assert service.jobs.wait(first.id, 20).status in ("completed", "failed")
    failed = service.jobs.wait(second.id, 20)
    assert (failed.status, failed.error_code) == ("failed", "conflict")
    assert "is another one" in (failed.error_message or "")
