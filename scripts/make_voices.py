"""Choose and write the voices that ship: prompts of the six built-in voices, and the default pair of the small model.

    python scripts/make_voices.py work/codes.safetensors corpus/manifest.jsonl --model dia/assets/nano \\
        --voices dia/assets/voices

Of each speaker's recordings that are long enough for a prompt, those are heard that the codec renders best by DistillMOS
and that Whisper understands without a fault. The model then speaks held-out sentences with each of the best, and the
one wins with which it says most of the words, in the right voice, and sounds best. The default pair is chosen alike, with
dialogues. Recordings go out as Opus with transcript and codes; the default pair is put into the model's own folder.
"""

import argparse
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from dia.evals.references import BUILTIN_SPEAKERS, DEFAULT_PAIR, open_recordings, read_corpus
from dia.evals.scoring import JUDGE_RATE_HZ, Judges, load_judges, score_take
from dia.evals.speakers import centroid
from dia.evals.takes import Take
from dia.hub import VOICE_FILE
from dia.media.encode import write_audio
from dia.model import Dia, VoicePrompt
from dia.prompts import write_voice
from dia.text.alignment import align
from dia.text.words import normalise
from dia.train.manifest import ManifestRow
from dia.train.packing import CodePack
from dia.train.sound import is_held_out

PROMPT_S = (3.2, 5.0)
PAIR_S = (2.2, 3.4)
PAUSE_FRAMES = 8
CANDIDATES = 14
"""Recordings that are heard of each speaker."""
AUDITIONED, PAIR_CANDIDATES = 4, 3
"""Of these, the best so many are spoken with."""
AUDITIONS = 6
"""Texts that the model speaks with each."""
WRONG, RIGHT, ALIKE = 4.0, 1.0, 2.0
"""What all words wrong, the right voice nearest, and full similarity count in points of DistillMOS."""
SILENT = np.zeros(0, np.float32)
RECORDING_RATE_HZ = 24_000
PLAIN = re.compile(r"(?:[A-Za-z]+(?:['-][a-z]+)*[,;]? )+[A-Za-z]+(?:['-][a-z]+)*\.")
"""One sentence of whole words: no dialect, no numbers, no quotation."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A recording that may become a prompt, its codes, and its score by itself."""

    take: Take
    codes: np.ndarray
    score: float


class Casting:
    """Recordings and codes of a corpus, who judges them, and the model that is to speak with them."""

    def __init__(self, manifest: Path, pack: CodePack, dia: Dia, judges: Judges) -> None:
        self._recordings = open_recordings(manifest, RECORDING_RATE_HZ)
        self._codes = {(clip.text, clip.voice): pack.clip_codes(clip) for clip in pack.clips}
        self._dia, self._judges = dia, judges
        self._silence = pack.silence[:PAUSE_FRAMES]
        voices = read_corpus(self._recordings, {**BUILTIN_SPEAKERS, **DEFAULT_PAIR}, 0).voices
        embeddings = {
            name: np.stack([judges.embed(take.at(JUDGE_RATE_HZ)) for take in voice.recordings])
            for name, voice in voices.items()
        }
        self._centroids = {name: centroid(rows) for name, rows in embeddings.items()}
        texts = sorted({clip.text for clip in pack.clips if is_held_out(clip.text) and PLAIN.fullmatch(clip.text)})
        self._texts = [text for text in texts if 5 <= len(text.split()) <= 12]

    def voice(self, name: str, speaker: str) -> Candidate:
        """The recording of a speaker with which the model speaks best."""
        others = {voice: self._centroids[voice] for voice in BUILTIN_SPEAKERS}
        lines = [Take(name, text, SILENT, JUDGE_RATE_HZ, name) for text in self._texts[:AUDITIONS]]
        tried = [(self._audition(f"[S1] {one.take.text}", one.codes, lines, others), one) for one in
                 self._candidates(speaker, PROMPT_S)]  # fmt: skip
        return max(tried, key=lambda item: item[0])[1]

    def pair(self) -> VoicePrompt:
        """The two recordings in a row, of the default pair, with which the model speaks dialogues best."""
        first, second = (self._candidates(speaker, PAIR_S)[:PAIR_CANDIDATES] for speaker in DEFAULT_PAIR.values())
        asks, answers = DEFAULT_PAIR
        halves = self._texts[: 2 * AUDITIONS]
        lines = [
            Take("pair", f"[S1] {one} [S2] {two}", SILENT, JUDGE_RATE_HZ, asks, answers)
            for one, two in zip(halves[::2], halves[1::2], strict=True)
        ]
        tried = []
        for one, two in itertools.product(first, second):
            codes = np.concatenate([one.codes, self._silence, two.codes])
            prompt = VoicePrompt(codes, f"[S1] {one.take.text} [S2] {two.take.text}")
            tried.append((self._audition(prompt.transcript, codes, lines, self._centroids), prompt))
        return max(tried, key=lambda item: item[0])[1]

    def _candidates(self, speaker: str, length_s: tuple[float, float]) -> list[Candidate]:
        """The recordings of a speaker in these lengths that sound best by themselves, best first."""
        rows = [row for row in self._recordings.rows if self._fits(row, speaker, length_s)][:CANDIDATES]
        if not rows:
            raise SystemExit(f"error: {speaker} has no recording of {length_s[0]} to {length_s[1]} s")
        found = [self._heard(take, speaker) for take in self._recordings.read(rows)]
        return sorted(found, key=lambda one: -one.score)[:AUDITIONED]

    def _fits(self, row: ManifestRow, speaker: str, length_s: tuple[float, float]) -> bool:
        within = length_s[0] <= (row.duration or 0) <= length_s[1]
        plain = PLAIN.fullmatch(row.text) is not None and (row.text, speaker) in self._codes
        return row.speaker == speaker and within and plain and not is_held_out(row.text)

    def _heard(self, take: Take, speaker: str) -> Candidate:
        assert self._dia.codec is not None
        codes = self._codes[take.text, speaker]
        rendered = Take("", take.text, self._dia.codec.decode(codes), self._dia.sample_rate_hz).at(JUDGE_RATE_HZ)
        heard = normalise(self._judges.hear(rendered).text)
        missed = align(normalise(take.text), heard).clipped_errors
        return Candidate(take, codes, self._judges.rate(rendered) - missed)

    def _audition(
        self, transcript: str, codes: np.ndarray, lines: list[Take], centroids: Mapping[str, np.ndarray]
    ) -> float:
        """How well the model speaks these lines with a prompt: DistillMOS, less for wrong words and for other voices."""
        prompt = self._dia.encode_prompt(codes, transcript)
        scores = []
        for number, line in enumerate(lines):
            text = line.text if line.text.startswith("[S") else f"[S1] {line.text}"
            params = self._dia.defaults.updated(seed=number)
            sound = self._dia.stream(text, prompt=prompt, params=params).run()
            said = replace(line, waveform=sound, sample_rate_hz=self._dia.sample_rate_hz)
            scores.append(score_take(said, self._judges, centroids))
        wrong = sum(score.errors for score in scores) / sum(score.words for score in scores)
        right = np.mean([score.turns_right is True or score.nearest == score.voice for score in scores])
        alike = np.mean([score.similarity or 0.0 for score in scores])
        naturalness = np.mean([score.mos for score in scores])
        total = float(naturalness - WRONG * wrong + RIGHT * right + ALIKE * alike)
        print(
            f"{lines[0].name} {total:.2f}: {wrong:.0%} of words wrong, DistillMOS {naturalness:.2f}, right voice {right:.0%},"
            f" similarity {alike:.2f}: {transcript}",
            flush=True,
        )
        return total


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
        chosen = casting.voice(name, speaker)
        write_audio(given.voices / f"{name}.opus", chosen.take.waveform, chosen.take.sample_rate_hz)
        facts = {"transcript": chosen.take.text, "language": "en-US", "model_hash": dia.model_hash}
        (given.voices / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        codes = np.ascontiguousarray(chosen.codes, np.int16)
        (given.voices / f"{name}.safetensors").write_bytes(save({"codes": codes}))
    write_voice(given.model / VOICE_FILE, casting.pair())


if __name__ == "__main__":
    main()
