"""What the original implementation of Dia-1.6B (nari-labs/dia, May 2025) speaks greedily: tests/golden/greedy_v01.safetensors.

    git clone https://github.com/nari-labs/dia ../original && git -C ../original checkout 2811af1
    python scripts/make_golden.py ../original

The original fills one row too few before it begins, so the last channel's first code is drawn and not given; here that
row is filled, as in the later implementations.
"""

import argparse
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
NEW_ROWS = 48


def main() -> None:
    """Read the arguments, speak, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="the original at 2811af1")
    # Neither takes part: no sound is read or made.
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.path.insert(0, str(parser.parse_args().checkout))
    from dia.model import Dia

    fill = Dia._prepare_audio_prompt

    def fill_whole(self, prompts):
        rows, steps = fill(self, prompts)
        last = torch.full_like(rows[:, :1], -1)
        last[0, 0, -1] = self.config.data.audio_bos_value if prompts[0] is None else prompts[0][-1, -1]
        return torch.cat([rows, last], dim=1), steps

    Dia._prepare_audio_prompt = fill_whole
    cases, expected = json.loads((GOLDEN / "cases.json").read_text()), load_file(GOLDEN / "expected.safetensors")
    files = (str(GOLDEN / "nested_v01" / name) for name in ("config.json", "model.pth"))
    dia = Dia.from_local(*files, compute_dtype="float32", device=torch.device("cpu"), load_dac=False)
    found = {}
    for index, (text, frames) in enumerate(zip(cases["texts"], cases["prompt_frames"], strict=True)):
        codes = dia.generate(
            text,
            max_tokens=frames + NEW_ROWS,
            cfg_scale=cases["cfg_scale"],
            temperature=0.0,
            audio_prompt=expected[f"prompt_{index}"].int() if frames else None,
        )
        found[f"greedy_codes_{index}"] = torch.from_numpy(codes.astype(np.int16))
    save_file(found, GOLDEN / "greedy_v01.safetensors")


if __name__ == "__main__":
    main()
