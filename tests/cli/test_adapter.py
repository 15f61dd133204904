"""`--adapter` at the command line: spoken, resumed, redone, repeated, baked in; and wrong files in one line."""

import json
from pathlib import Path

import pytest

from dia.media.read import read_metadata
from tests.cli.conftest import Type, refused
from tests.server.live import LiveServer
from tests.service.conftest import make_service, model
from tests.tiny import tiny_model, write_adapter

__all__ = ["make_service", "model"]  # fixtures from next door

TEXT = "[S1] Hello there. [S2] Good morning."
BOOK = "It was a cold day.\n\nHe went home. [pause:0.4s] So."


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_adapter(tmp_path / "one.safetensors", 1), write_adapter(tmp_path / "two.safetensors", 2)


def test_an_adapter_speaks_and_the_file_tells_and_can_be_made_again(say: Type, type_in: Type, bundle, files, tmp_path):
    plain, one, again, baked = (tmp_path / f"{name}.wav" for name in ("plain", "one", "again", "baked"))
    for words in ((plain,), (one, "--adapter", files[0], "--save-text")):
        answer = say(TEXT, "--one-pass", "-o", *words)
        assert answer.code == 0, answer.err
    tags = {key.lower(): value for key, value in read_metadata(one).items()}
    assert tags["adapter"] == "one.safetensors" and len(tags["adapter_hash"]) == 12
    assert plain.read_bytes()[-2000:] != one.read_bytes()[-2000:]

    make = ("reproduce", one, again, "--model", bundle)
    refused(type_in(*make), 2, "was made with the adapter one.safetensors", "--adapter")
    answer = type_in(*make, "--adapter", files[1])
    assert answer.code == 0 and "the adapter is another one" in answer.err and "model is another" not in answer.err
    answer = type_in(*make, "--adapter", files[0])
    assert answer.code == 0 and "another one" not in answer.err
    assert again.read_bytes() == one.read_bytes()

    folder = tmp_path / "whole"
    answer = type_in("convert", bundle, folder, "--to", "flat", "--adapter", files[0])
    assert answer.code == 0 and "with the adapter one.safetensors" in answer.err, answer.err
    common = ("--one-pass", "--seed", 5, "--max-tokens", 40, "--model", folder)
    assert type_in("say", TEXT, "-o", baked, *common).code == 0
    assert baked.read_bytes()[-2000:] == one.read_bytes()[-2000:]


def test_a_project_goes_on_with_its_adapter_alone(say: Type, type_in: Type, bundle, files, tmp_path: Path):
    folder, out = tmp_path / "book.dia", tmp_path / "book.wav"
    begin = (BOOK, "-o", out, "--project", folder)
    assert say(*begin, "--adapter", files[0]).code == 0
    before = out.read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["recipe"]["adapter"]) == 12
    refused(say(*begin, "--resume"), 2, "begun with another adapter;")
    refused(say(*begin, "--resume", "--adapter", files[1]), 2, "begun with another adapter;")
    assert say(*begin, "--resume", "--adapter", files[0]).code == 0
    assert out.read_bytes() == before
    refused(type_in("redo", folder, 1, "-m", bundle), 2, "begun with adapter", "this is none")
    assert type_in("redo", folder, 1, "-m", bundle, "--adapter", files[0]).code == 0


def test_batches_remember_the_adapter(type_in: Type, bundle, files, tmp_path: Path):
    (tmp_path / "a.txt").write_text("Hello.")
    words = ("batch", tmp_path / "a.txt", "-o", tmp_path / "out", "--model", bundle, "--seed", 5, "--max-tokens", 40)
    words = (*words, "--retakes", 0)
    for adapter, told in (((), "1 file made"), (files[:1], "1 file made"), (files[:1], "1 there already")):
        answer = type_in(*words, *(word for path in adapter for word in ("--adapter", path)))
        assert answer.code == 0 and told in answer.err, answer.err


def test_wrong_adapters_are_told_in_one_line(say: Type, type_in: Type, bundle, files, tmp_path: Path):
    out = tmp_path / "a.wav"
    stranger = write_adapter(tmp_path / "stranger.safetensors", 1, tiny_model(seed=9))
    refused(say(TEXT, "-o", out, "--adapter", tmp_path / "none"), 2, "none is no file", "adapter.safetensors")
    refused(say(TEXT, "-o", out, "--adapter", stranger), 1, "stranger.safetensors was trained beside other weights")
    refused(say(TEXT, "-o", out, "--adapter", bundle / "model.safetensors"), 1, "is no adapter of Dia")
    refused(type_in("convert", bundle, tmp_path / "new", "--to", "flat", "--adapter", stranger), 1, "other weights")
    assert not out.exists() and not (tmp_path / "new").exists()


def test_a_server_speaks_with_adapters_of_its_own(type_in: Type, make_service, model, recording, tmp_path: Path):
    service = make_service(port=0)
    (service.folder.root / "adapters" / "anna.safetensors").write_bytes(b"the tones are the same with any")
    server = LiveServer(service)
    try:
        say = ("say", "Hello there.", "-o", tmp_path / "a.wav", "--server", server.url)
        assert type_in(*say, "--adapter", "anna").code == 0
        assert type_in(*say).code == 0
        refused(type_in(*say, "--adapter", "carl"), 2, "'carl' is not known; known are anna")
        add = ("voices", "add", "her", recording(2.0), "--transcript", "Yes.", "--server", server.url)
        refused(type_in(*add, "--adapter", "carl"), 2, "'carl' is not known; known are anna")
        assert type_in(*add, "--adapter", "anna").code == 0
        assert type_in(*say, "--voice", "her").code == 0
    finally:
        server.close()
    assert [stream.adapter is not None for stream in model.streams] == [True, False, True]
