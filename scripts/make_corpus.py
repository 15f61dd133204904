"""Speak a list of sentences with Kokoro-82M and write a training corpus: one Opus file per voice and a manifest.

A developer's tool, outside the package: it needs the teacher's files and packages that nothing else here uses
(`onnxruntime`, `piper-tts` for its espeak phonemes); `teacher_files.py` gathers the files, checked, and names the
packages. Sentences are split over the voices by weight; what was spoken already is kept, so that a run can be stopped
and continued. Texts that are kept for judging are refused.

    python scripts/teacher_files.py kokoro/ --voices kokoro-js-1.2.1.tgz
    python scripts/everyday_sentences.py 3000 > sentences.txt
    python scripts/make_corpus.py sentences.txt corpus/ --teacher kokoro/ --voice af_heart=3 --voice am_michael=3
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dia.evals import sentences as judged
from dia.evals.sentences import refuse_seen
from dia.media.encode import AudioEncoder

SAMPLE_RATE_HZ = 24_000
TRIM_LEVEL = 0.01
MARGIN_S = 0.06
GAP_S = 0.1
MAX_TOKENS = 508
# espeak-ng's symbols that the teacher spells differently.
RESPELLED = {"ʲ": "j", "r": "ɹ", "x": "k", "ɬ": "l"}


class Teacher:
    """Kokoro's ONNX export: `model.onnx`, `vocab.json` and `voices/*.bin` (float32 [510, 256]) in one folder."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from piper.phonemize_espeak import EspeakPhonemizer

        options = onnxruntime.SessionOptions()
        # Spinning threads take the whole machine from whoever shares it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        self._voices = folder / "voices"
        self._phonemizer = EspeakPhonemizer()

    def speak(self, text: str, voice: str) -> np.ndarray[Any, Any]:
        """Float32 samples at 24 kHz, silence trimmed to 60 ms at both ends."""
        style = np.fromfile(self._voices / f"{voice}.bin", np.float32).reshape(-1, 256)
        ids = self._tokens(text)
        feed = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": style[len(ids) - 1][None],
            "speed": np.ones(1, np.float32),
        }
        return trim(np.asarray(self._session.run(None, feed)[0], np.float32).reshape(-1))

    def _tokens(self, text: str) -> list[int]:
        sentences = self._phonemizer.phonemize("en-us", text)
        phonemes = " ".join("".join(sentence) for sentence in sentences)
        spelled = "".join(RESPELLED.get(symbol, symbol) for symbol in phonemes)
        ids = [self._ids[symbol] for symbol in spelled if symbol in self._ids]
        if not 0 < len(ids) <= MAX_TOKENS:
            raise ValueError(f"{len(ids)} phonemes in {text!r}; the teacher takes 1 to {MAX_TOKENS}")
        return ids


def trim(sound: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cut silence down to a margin at both ends."""
    loud = np.flatnonzero(np.abs(sound) > TRIM_LEVEL)
    if not len(loud):
        return sound
    margin = round(MARGIN_S * SAMPLE_RATE_HZ)
    return sound[max(0, int(loud[0]) - margin) : int(loud[-1]) + margin]


def shares(sentences: list[str], voices: dict[str, float], seed: int) -> Iterator[tuple[str, str]]:
    """(sentence, voice) pairs, voices drawn by weight."""
    rng = np.random.default_rng(seed)
    weights = np.array(list(voices.values()))
    for sentence, place in zip(
        sentences, rng.choice(len(voices), len(sentences), p=weights / weights.sum()), strict=True
    ):
        yield sentence, list(voices)[int(place)]


def speak_all(
    teacher: Teacher, pairs: list[tuple[str, str]], out: Path, parts: Path
) -> dict[str, list[dict[str, Any]]]:
    """Speak what is missing into `parts`, then write every voice's Opus file; returns the manifest rows by voice."""
    rows: dict[str, list[dict[str, Any]]] = {}
    # Encoded as they come: ten hours of samples would not fit into memory.
    encoders: dict[str, AudioEncoder] = {}
    files: dict[str, list[bytes]] = {}
    ends: dict[str, int] = {}
    gap = np.zeros(round(GAP_S * SAMPLE_RATE_HZ), np.float32)
    for number, (text, voice) in enumerate(pairs):
        part = parts / f"{number:06d}_{voice}.npy"
        if not part.exists():
            np.save(part, teacher.speak(text, voice))
            print(f"{number + 1}/{len(pairs)} {voice}: {text}", flush=True)
        sound = np.load(part)
        start = ends.get(voice, 0)
        timing = {"start": round(start / SAMPLE_RATE_HZ, 4), "duration": round(len(sound) / SAMPLE_RATE_HZ, 4)}
        rows.setdefault(voice, []).append({"file": f"{voice}.opus", "voice": voice, **timing, "text": text})
        if voice not in encoders:
            encoders[voice] = AudioEncoder("opus", SAMPLE_RATE_HZ)
        encoder = encoders[voice]
        files.setdefault(voice, []).extend([encoder.write(sound), encoder.write(gap)])
        ends[voice] = start + len(sound) + len(gap)
    for voice, encoder in encoders.items():
        (out / f"{voice}.opus").write_bytes(b"".join(files[voice]) + encoder.close())
    return rows


def main() -> None:
    """Read the arguments, speak, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", type=Path, help="one sentence a line")
    parser.add_argument("out", type=Path, help="folder of the corpus")
    parser.add_argument("--teacher", type=Path, required=True, help="folder with model.onnx, vocab.json, voices/")
    parser.add_argument("--voice", action="append", required=True, help="name or name=weight; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    voices = {name: float(weight or 1) for name, _, weight in (item.partition("=") for item in given.voice)}
    lines = [line.strip() for line in given.sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
    refuse_seen([*judged.sentences(), *judged.dialogues()], lines)
    parts = given.out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    rows = speak_all(Teacher(given.teacher), list(shares(lines, voices, given.seed)), given.out, parts)
    manifest = [json.dumps(row, ensure_ascii=False) for voice in sorted(rows) for row in rows[voice]]
    (given.out / "manifest.jsonl").write_text("\n".join(manifest) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
