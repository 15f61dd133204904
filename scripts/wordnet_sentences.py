"""Example sentences of WordNet 3.0 for a training corpus, one a line: short, everyday, and with a very wide vocabulary.

    apt-get install wordnet-base
    python scripts/wordnet_sentences.py 2000 --seed 0 > sentences.txt

A model that reads letters needs many different words more than many sentences: of a few candidates the one with the
rarest words so far is taken. Texts that are kept for judging (`dia.evals.sentences`) are never used.
WordNet may be used and distributed freely (Copyright 2006 by Princeton University).
"""

import argparse
import random
import re
import sys
from collections import Counter
from pathlib import Path

from dia.evals.sentences import dialogues, sentences
from dia.text.words import normalise

FOLDER = Path("/usr/share/wordnet")
PARTS = ("data.noun", "data.verb", "data.adj", "data.adv")
CANDIDATES = 5
FEWEST_WORDS, MOST_WORDS = 4, 15
PLAIN = re.compile(r"[A-Za-z][A-Za-z ,'?!-]+")
SINGLE_LETTERS = re.compile(r"\b[B-HJ-Zb-hj-z]\b")


def examples(folder: Path) -> list[str]:
    """All quoted examples that are whole, plain sentences: letters, commas, apostrophes and hyphens only."""
    found: list[str] = []
    for part in PARTS:
        for line in (folder / part).read_text(encoding="latin-1").splitlines():
            for quoted in re.findall(r'"([^"]+)"', line.partition("|")[2]):
                text = quoted.strip().rstrip(".;,")
                words = text.split()
                plain = PLAIN.fullmatch(text) and not SINGLE_LETTERS.search(text) and not re.search(r"[A-Z]{2}", text)
                if plain and FEWEST_WORDS <= len(words) <= MOST_WORDS:
                    found.append(text[0].upper() + text[1:] + ("" if text[-1] in "?!" else "."))
    return sorted(set(found))


def main() -> None:
    """Read the arguments, print the sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wordnet", type=Path, default=FOLDER, help="folder with data.noun and its siblings")
    given = parser.parse_args()
    kept = {" ".join(normalise(text)) for text in [*sentences(), *dialogues()]}
    pool = [text for text in examples(given.wordnet) if " ".join(normalise(text)) not in kept]
    if given.count > len(pool):
        sys.exit(f"error: {given.count} sentences wanted, WordNet has {len(pool)}")
    rng = random.Random(given.seed)
    rng.shuffle(pool)
    seen: Counter[str] = Counter()
    for _ in range(given.count):
        drawn = [pool.pop() for _ in range(min(CANDIDATES, len(pool)))]
        words = [re.findall(r"[a-z']+", text.lower()) for text in drawn]
        news = [sum(1 / (1 + seen[word]) for word in row) / len(row) ** 0.5 for row in words]
        best = news.index(max(news))
        seen.update(words[best])
        print(drawn.pop(best))
        pool[:0] = drawn


if __name__ == "__main__":
    main()
