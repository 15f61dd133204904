"""Make the dictionary that `dia train model --pronunciations` reads, from the American one of the package misaki.

    pip download --no-deps misaki==0.9.4 && unzip misaki-0.9.4-*.whl misaki/data/us_gold.json
    python scripts/pronunciations.py misaki/data/us_gold.json training/pronunciations.json

Keeps words of small letters, one way to say each. Little words are entered as they are said inside a sentence.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dia.train.pronounce import WORD

INSIDE = {"a": "ə", "an": "ən", "the": "ðə", "to": "tə", "of": "əv", "and": "ænd", "was": "wʌz", "i": "ˈI"}


def main(source: Path, target: Path) -> None:
    """Filter `source` into `target`, one word a line."""
    said: dict[str, str] = {}
    for word, entry in json.loads(source.read_text("utf-8")).items():
        phonemes = entry if isinstance(entry, str) else entry["DEFAULT"]
        if WORD.fullmatch(word) and phonemes:
            said[word] = phonemes
    said |= INSIDE
    target.write_text(json.dumps(said, ensure_ascii=False, indent=0, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
