"""The messages in docs/troubleshooting.md are what Dia says: each is brought about here, the way people come upon it.

A `…` in the document stands for anything; all else must be the very words and numbers.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from starlette.testclient import TestClient

from dia import hub
from dia.config import read_config
from dia.device import place
from dia.errors import DiaError
from dia.model import Dia
from dia.server.app import create_app
from dia.text.script import prepare
from tests.cli.conftest import Type, type_in
from tests.server.conftest import BASE_URL
from tests.service.conftest import make_service, model
from tests.test_hub import NOBODY, hub_with
from tests.tiny import tiny_config, write_bundle

__all__ = ["make_service", "model", "type_in"]  # fixtures from next door

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
FIND = "from dia import hub\ntry:\n    {}\nexcept Exception as error:\n    print(error)"


def rows() -> list[str]:
    """The message of every row, as written."""
    return re.findall(r"^\| `(.+?)`(?: \(on the page\))? \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def means(row: str, message: str) -> bool:
    parts = re.split(r"\s*…\s*", row)
    return re.fullmatch(".*".join(re.escape(part) for part in parts), message, re.DOTALL) is not None


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(DiaError) as caught:
        act()
    return str(caught.value)


def of_texts_and_recordings(folder: Path) -> list[str]:
    config = tiny_config(text_length=1024, audio_length=3072)  # passes of the published length
    dia = Dia.from_pretrained(write_bundle(folder, config=config), device="cpu")
    return [
        refusal(lambda: prepare("a" * (1200 - 4), max_bytes=1024)),
        refusal(lambda: dia.generate("[S1] Hello.", max_tokens=99_999)),
        refusal(lambda: dia.encode_prompt(np.ones(61 * dia.sample_rate_hz, np.float32))),
        refusal(lambda: dia.encode_prompt(np.zeros(dia.sample_rate_hz, np.float32))),
    ]


def of_checkpoints(folder: Path, type_in: Type) -> list[str]:
    whole = write_bundle(folder / "whole")
    tensors = load_file(whole / "model.safetensors")
    del tensors[sorted(tensors)[0]]
    save_file(tensors, folder / "less.safetensors")
    (folder / "broken.pth").write_bytes(b"PK\x03\x04 no more than that")
    old = write_bundle(folder / "old", "nested", tiny_config("v0_1"))
    converted = type_in("convert", old, folder / "converted", "--to", "transformers")
    assert converted.code == 0, converted.err
    found = [
        refusal(lambda: Dia.from_local(whole / "config.json", folder / "less.safetensors", load_dac=False)),
        refusal(lambda: Dia.from_local(whole / "config.json", folder / "broken.pth", load_dac=False)),
        refusal(lambda: read_config({"model_type": "llama"})),
        converted.err.splitlines()[0].removeprefix("warning 1 of 1: "),
    ]
    return found if torch.cuda.is_available() else [*found, refusal(lambda: place("cuda"))]


def said(script: str, url: str, cache: Path) -> tuple[str, str]:
    """What a script prints to stdout and stderr where the hub has that address."""
    environ = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HOME": str(cache)}
    environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    run = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    return run.stdout, run.stderr


def of_the_hub(folder: Path) -> list[str]:
    cache = folder / "cache"
    other = FIND.format('hub.find("somebody/something")')
    first, _ = said(FIND.format('hub.find("someone/else")'), NOBODY, cache)
    with hub_with(write_bundle(folder / "published")) as url:
        assert said(other, url, cache)[0] == ""
    _, later = said(other, NOBODY, cache)
    codec, _ = said(FIND.format("hub.find_codec(None, None)"), NOBODY, folder / "empty")
    here = refusal(lambda: hub.find("someone/else", offline=True))
    return [first.strip(), later.strip().replace("somebody/something", "someone/else"), codec.strip(), here]


def of_the_door(make_service: Callable) -> list[str]:
    client = TestClient(create_app(service=make_service(api_keys="a-key-that-is-long")), base_url=BASE_URL)
    key = {"Authorization": "Bearer a-key-that-is-long"}
    answers = [
        client.post("/generate", json={"text": "Hi."}),
        client.get("/voices", headers={**key, "Host": "my-pc"}),
        client.post("/generate", json={"text": "Hi."}, headers={**key, "Origin": "http://other.example"}),
    ]
    # Shown by a script of the page, whose test in a browser is in tests/ui/test_page_keys.py.
    script = (ROOT / "dia" / "ui" / "static" / "session.js").read_text(encoding="utf-8")
    return [*(answer.json()["detail"] for answer in answers), *re.findall("You are no longer signed in", script)]


def test_every_message_in_the_document_is_said_and_each_of_these_is_in_it(
    tmp_path: Path, type_in: Type, make_service: Callable
):
    folders = [tmp_path / name for name in ("texts", "checkpoints", "hub")]
    for folder in folders:
        folder.mkdir()
    found = [
        *of_texts_and_recordings(folders[0]), *of_checkpoints(folders[1], type_in), *of_the_hub(folders[2]),
        *of_the_door(make_service),
    ]  # fmt: skip
    for message in found:
        assert any(means(row, message) for row in rows()), f"not in {PAGE.name}: {message}"
    unsaid = [row for row in rows() if not any(means(row, message) for message in found)]
    assert unsaid == [] or (torch.cuda.is_available() and ["device cuda" in row for row in unsaid] == [True])
