"""Choose and write the voices that ship: prompts of the six built-in voices, and the default pair of the small model.

    python scripts/make_voices.py work/codes.safetensors corpus/manifest.jsonl --model dia/assets/nano \\
        --voices dia/assets/voices

Of each speaker's recordings that are long enough for a prompt, DistillMOS picks the best as the codec renders it, among
those that Whisper understands without a fault. Recordings go out as Opus with transcript and codes; the default pair is
put into the model's own folder.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dia.evals.alignment import align
from dia.evals.references import BUILTIN_SPEAKERS, DEFAULT_PAIR, open_recordings
from dia.evals.scoring import Judges, load_judges
from dia.evals.takes import Take
from dia.evals.words import normalise
from dia.hub import VOICE_FILE
from dia.media.encode import write_audio
from dia.model import Dia, VoicePrompt
from dia.stream import write_voice
from dia.train.manifest import ManifestRow
from dia.train.packing import CodePack
from dia.train.sound import is_held_out

PROMPT_S = (3.2, 5.0)
PAIR_S = (2.2, 3.4)
PAUSE_FRAMES = 8
CANDIDATES = 14
RECORDING_RATE_HZ = 24_000
PLAIN = re.compile(r"(?:[A-Za-z]+(?:['-][a-z]+)*[,;]? )+[A-Za-z]+(?:['-][a-z]+)*\.")
"""One sentence of whole words: no dialect, no numbers, no quotation."""


class Casting:
    """Recordings and codes of a corpus, and who judges them."""

    def __init__(self, manifest: Path, pack: CodePack, dia: Dia, judges: Judges) -> None:
        self._recordings = open_recordings(manifest, RECORDING_RATE_HZ)
        self._codes = {(clip.text, clip.voice): pack.clip_codes(clip) for clip in pack.clips}
        self._dia, self._judges = dia, judges

    def choose(self, speaker: str, length_s: tuple[float, float]) -> tuple[Take, np.ndarray]:
        """The best recording of a speaker in these lengths, and its codes."""
        rows = [row for row in self._recordings.rows if self._fits(row, speaker, length_s)][:CANDIDATES]
        if not rows:
            raise SystemExit(f"error: {speaker} has no recording of {length_s[0]} to {length_s[1]} s")
        best = max(self._recordings.read(rows), key=lambda take: self._score(take, speaker))
        return best, self._codes[best.text, speaker]

    def _fits(self, row: ManifestRow, speaker: str, length_s: tuple[float, float]) -> bool:
        within = length_s[0] <= (row.duration or 0) <= length_s[1]
        plain = PLAIN.fullmatch(row.text) is not None and (row.text, speaker) in self._codes
        return row.speaker == speaker and within and plain and not is_held_out(row.text)

    def _score(self, take: Take, speaker: str) -> float:
        assert self._dia.codec is not None
        codes = self._codes[take.text, speaker]
        rendered = Take("", take.text, self._dia.codec.decode(codes), self._dia.sample_rate_hz).at(16_000)
        heard = normalise(self._judges.hear(rendered).text)
        missed = align(normalise(take.text), heard).clipped_errors
        score = self._judges.rate(rendered)
        print(f"{speaker}: {score:.2f}, {missed} wrong: {take.text}", flush=True)
        return score - missed


def main() -> None:
    """Read the arguments, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", type=Path, help="file of `dia data encode`")
    parser.add_argument("manifest", type=Path, help="manifest of the recordings")
    parser.add_argument("--model", type=Path, required=True, help="folder of the small model; gets the default pair")
    parser.add_argument("--voices", type=Path, required=True, help="folder for the built-in voices")
    given = parser.parse_args()
    dia = Dia.from_pretrained(given.model, device="cpu", slots=1)
    pack = CodePack.open(given.codes)
    casting = Casting(given.manifest, pack, dia, load_judges(1))
    given.voices.mkdir(parents=True, exist_ok=True)
    for name, speaker in BUILTIN_SPEAKERS.items():
        take, codes = casting.choose(speaker, PROMPT_S)
        write_audio(given.voices / f"{name}.opus", take.waveform, take.sample_rate_hz)
        facts = {"transcript": take.text, "language": "en-US", "model_hash": dia.model_hash}
        (given.voices / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        save_file({"codes": np.ascontiguousarray(codes, np.int16)}, given.voices / f"{name}.safetensors")
    (first, said), (second, answered) = (casting.choose(speaker, PAIR_S) for speaker in DEFAULT_PAIR.values())
    codes = np.concatenate([said, pack.silence[:PAUSE_FRAMES], answered])
    write_voice(given.model / VOICE_FILE, VoicePrompt(codes, f"[S1] {first.text} [S2] {second.text}"))


if __name__ == "__main__":
    main()
