"""Our model against what the published implementations computed (tests/golden/README.md), both families, float32."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dia.model import Dia
from dia.text.tokens import encode_text

TOLERANCE = 2e-4  # on logits of mean size 1.3; two float32 implementations that add in another order


@pytest.fixture(scope="module")
def cases(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "cases.json").read_text())


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "expected.safetensors")


def load(golden: Path, name: str) -> Dia:
    folder = golden / name
    if name == "nested_v01":
        return Dia.from_local(folder / "config.json", folder / "model.pth", load_dac=False, slots=3)
    return Dia.from_pretrained(folder, load_dac=False, slots=3)


DIALECTS = {"flat_0626": "logits_0626", "transformers_0626": "logits_0626", "nested_v01": "logits_v01"}


@pytest.mark.parametrize(("name", "logits"), DIALECTS.items())
def test_teacher_forced_logits_match_the_original(golden, cases, expected, name, logits):
    model = load(golden, name).model
    rows = expected["rows_checked"].long()
    for index, text in enumerate(cases["texts"]):
        ids = torch.tensor([encode_text(text)])
        tokens = expected["teacher_rows"][index].long()[None]
        unconditional, conditional = (model(given, tokens)[0, rows] for given in (torch.zeros_like(ids), ids))
        torch.testing.assert_close(unconditional, expected[logits][index, 0], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(conditional, expected[logits][index, 1], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["flat_0626", "transformers_0626"])
def test_greedy_codes_match_to_the_end(golden, cases, expected, name):
    dia = load(golden, name)
    for index, text in enumerate(cases["texts"]):
        frames = cases["prompt_frames"][index]
        prompt = expected[f"prompt_{index}"].numpy() if frames else None
        grid = expected[f"greedy_rows_{index}"].numpy()
        codes = dia.generate(
            text,
            audio_prompt=prompt,
            # transformers' grid has one row more than the original's max_tokens counts.
            max_tokens=len(grid) - 1,
            temperature=0.0,
            cfg_scale=cases["cfg_scale"],
            top_p=1.0,
            cfg_filter_top_k=cases["cfg_filter_top_k"],
            exact_text=True,
        )
        delays = cases["delays"]
        wanted = np.stack([grid[frames + 1 + d : frames + 33 + d, c] for c, d in enumerate(delays)], axis=1)
        np.testing.assert_array_equal(codes, wanted)


def test_greedy_codes_of_the_earlier_family_match_to_the_end(golden, cases, expected):
    """By its own rule of guidance, which the other one differs from."""
    wanted = load_file(golden / "greedy_v01.safetensors")
    dia = load(golden, "nested_v01")
    for index, (text, frames) in enumerate(zip(cases["texts"], cases["prompt_frames"], strict=True)):
        options = {"max_tokens": frames + 48, "temperature": 0.0, "cfg_scale": cases["cfg_scale"], "exact_text": True}
        options["audio_prompt"] = expected[f"prompt_{index}"].numpy() if frames else None
        codes = dia.generate(text, guidance="combined", **options)
        np.testing.assert_array_equal(codes, wanted[f"greedy_codes_{index}"].numpy())
        filtered = dia.generate(text, guidance="filter", **options)
        assert filtered.shape != codes.shape or (filtered != codes).any()


def test_the_families_differ(golden, cases, expected):
    """The same weights through the wrong forward pass are far off, which is why the family must be known."""
    flat, nested = load(golden, "flat_0626"), load(golden, "nested_v01")
    ids = torch.tensor([encode_text(cases["texts"][0])])
    tokens = expected["teacher_rows"][0].long()[None]
    assert (flat.model(ids, tokens) - nested.model(ids, tokens)).abs().max() > 0.1
    assert (flat.config.family, nested.config.family) == ("0626", "v0_1")
