"""Invented everyday English sentences for a training corpus, one a line: varied, distinct, the same for a seed.

    python scripts/everyday_sentences.py 3000 --seed 0 > sentences.txt

Sentences are filled from patterns and word lists. Balance: each new sentence is the best of a few candidates, judged by
how rare its letter pairs (a stand-in for sounds) and its words are so far, so that rare sounds come more often than in
running text. Texts that are kept for judging (`dia.evals.sentences`) are never made.
"""

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator

from dia.evals.sentences import dialogues, sentences
from dia.text.words import normalise

CANDIDATES = 6
MOST_WORDS = 18

LISTS = {
    "who": (
        "the nurse|my uncle|our landlord|a young plumber|the choir teacher|her cousin|their coach|the postman|an old sailor|"
        "the girl next door|my best friend|the new cook|a tired farmer|the manager|his grandmother|the boy with the drum|"
        "a stranger|our guide|the whole class|the bus driver|Joyce|Hugh|Vivian|Theo|Zoe|George|Ruth|Charles|Amy and Yusuf|"
        "the twins|a judge|the shy waiter|everybody upstairs|the mayor|one of the twins|my aunt Judith"
    ),
    "did": (
        "fixed|borrowed|sold|painted|found|measured|washed|hid|photographed|carried away|threw out|asked about|forgot|"
        "described|weighed|wrapped|chose|spotted|polished|joked about|searched for|drew|unpacked|shook|dropped|"
        "enjoyed|judged|rescued|bought|ordered|ignored|stole a look at|argued over|paid for|pushed aside"
    ),
    "do": (
        "fix|borrow|sell|paint|find|measure|wash|hide|carry|throw out|forget|describe|weigh|wrap|choose|polish|"
        "search for|draw|unpack|shake|drop|enjoy|rescue|buy|order|ignore|push|move|use|share|finish|return"
    ),
    "what": (
        "the yellow canoe|a box of oranges|that strange clock|the garden hose|two wool blankets|a jar of honey|the loose "
        "floorboard|her violin|the broken fridge|a bag of flour|the old atlas|his leather boots|a pair of scissors|"
        "the blue vase|my bicycle pump|the spare wheel|a bunch of keys|the longest rope|an empty barrel|the phone charger|"
        "a huge pumpkin|the kitchen scales|five wooden chairs|a cheap guitar|the school badge|their fishing boat|"
        "the brass doorbell|a dozen eggs|the measuring tape|an oak shelf|his vision chart|the rouge and the powder|"
        "a thick jersey|the youth prize|a charcoal sketch"
    ),
    "where": (
        "in the attic|behind the garage|near the harbor wall|at the market|under the stairs|on the roof|beside the canal|"
        "at the airport|in the back of the van|across the valley|outside the theater|by the north gate|in the cellar|"
        "along the beach|between two hedges|above the bakery|inside a shoe box|at the top of the hill|on the ferry|"
        "in the waiting room|around the corner|at her cousin's house|over the fireplace"
    ),
    "when": (
        "yesterday|on Tuesday|before lunch|last winter|early this morning|after the match|on New Year's Eve|in July|"
        "at half past eight|during the storm|a week ago|just before midnight|twice last year|on the third of August|"
        "right after school|while it was raining|in the middle of the night|on Thursday evening|at the weekend"
    ),
    "how": (
        "with great care|without a word|as fast as possible|for no clear reason|with both hands|very quietly|"
        "in a bad mood|with a cheerful smile|much too loudly|by pure chance|to everyone's surprise|on purpose|"
        "for a good price|with a deep sigh|in a terrible hurry|through thick fog"
    ),
    "is": (
        "heavier than it looks|almost ready|far too expensive|covered in dust|still wet|made of copper|easy to lose|"
        "older than the house|as smooth as glass|no use to anyone|missing a screw|worth the trouble|the wrong size|"
        "exactly what we need|quite enough for four|beyond repair|rather unusual|too noisy for the baby"
    ),
    "felt": (
        "happy|nervous|proud|thirsty|sure|jealous|calm|worried|grateful|curious|foolish|hungry|relieved|bored|"
        "excited|ashamed|a little dizzy|strangely awake"
    ),
    "weather": (
        "the wind rose|it began to snow|the fog lifted|the sun came out|thunder shook the windows|the river froze|"
        "a warm breeze blew in|hail hit the roof|the ice gave way|the sky turned orange"
    ),
    "number": (
        "three|seven|eleven|fourteen|nineteen|twenty two|thirty six|forty eight|fifty|sixty five|a hundred|two thousand"
    ),
    "unit": (
        "minutes|miles|dollars|pages|steps|bottles|euros|inches|hours|pounds|degrees|tickets|years|voices|bridges"
    ),
    "ask": (
        "Could you|Would you please|When can we|Why did nobody|Who is going to|How did they|Shall we|Did she ever|May I"
    ),
    "open": (
        "Honestly|By the way|To be fair|As usual|Of course|In the end|Sooner or later|Luckily|Oddly enough|"
        "Just this once|Between you and me|Well"
    ),
    "short": (
        "Not today|Enough of that|What a pleasure|Mind the edge|Choose a number|Give me a hand|No idea at all|"
        "Thanks for the ride|Up we go|Just breathe|Hush now|That was close|Show me how|Nothing to fear|Pass the juice"
    ),
}
"""Words by the name of their place in a pattern, parted by bars."""

WORDS = {name: tuple(words.split("|")) for name, words in LISTS.items()}
WORDS["thing"] = tuple(
    words
    for words in WORDS["what"]
    if not re.match(r"(two|five|a dozen|his leather)|.* (keys|scales|boots|powder)$", words)
)
"""Those of which there is one."""

PATTERNS = (
    "{who} {did} {what} {where}.",
    "{when}, {who} {did} {what}.",
    "{who} {did} {what} {how}.",
    "{open}, {who} {did} {what} {when}.",
    "{thing} {where} is {is}.",
    "{ask} {do} {what} {where}?",
    "{ask} {do} {thing}, or is it {is}?",
    "{who} felt {felt} when {weather}.",
    "{weather} just as {who} {did} {what}.",
    "It took {who} {number} {unit} to {do} {what}.",
    "There were {number} {unit} left, and {who} felt {felt}.",
    "If {weather}, please {do} {what} {how}.",
    "{who} said that {thing} was {is}.",
    '"Do not {do} {what}," said {who}.',
    "{short}, or {who} will {do} {what}!",
    "{short}!",
    "{who} never {did} {what}, but {who} did.",
    "{do} {what} and {do} {what}.",
    "We need {number} {unit} and {what} {when}.",
    "I wonder why {who} {did} {what} {when}.",
    "{thing}? {who} {did} it {where}.",
    "You should {do} {what} the day before {weather}.",
)

_PLACE = re.compile(r"\{(\w+)\}")


def make(count: int, seed: int) -> Iterator[str]:
    """`count` distinct sentences of at most 18 words.

    Raises:
        SystemExit: the patterns hold no more new sentences.
    """
    rng = random.Random(seed)
    kept_for_judging = {" ".join(normalise(text)) for text in (*sentences(), *dialogues())}
    used: set[str] = set()
    pairs: Counter[str] = Counter()
    words: Counter[str] = Counter()
    failures = 0
    while len(used) < count:
        candidates = [_fill(rng) for _ in range(CANDIDATES)]
        fresh = [text for text in candidates if text not in used and len(text.split()) <= MOST_WORDS]
        fresh = [text for text in fresh if " ".join(normalise(text)) not in kept_for_judging]
        if not fresh:
            failures += 1
            if failures > 1000:
                raise SystemExit(f"error: only {len(used)} distinct sentences found; ask for fewer")
            continue
        failures = 0
        best = max(fresh, key=lambda text: _rarity(text, pairs, words))
        used.add(best)
        pairs.update(_pairs(best))
        words.update(best.lower().split())
        yield best


def _fill(rng: random.Random) -> str:
    text = _PLACE.sub(lambda match: rng.choice(WORDS[match.group(1)]), rng.choice(PATTERNS))
    first = next(place for place, character in enumerate(text) if character.isalpha())
    text = text[:first] + text[first].upper() + text[first + 1 :]
    return re.sub(r"([.!?] )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text)


def _pairs(text: str) -> list[str]:
    plain = re.sub("[^a-z ]", "", text.lower())
    return [plain[place : place + 2] for place in range(len(plain) - 1)]


def _rarity(text: str, pairs: Counter[str], words: Counter[str]) -> float:
    """Mean rarity of letter pairs and of words, so that length does not count."""
    own_pairs, own_words = _pairs(text), text.lower().split()
    by_pair = sum(1 / (1 + pairs[pair]) for pair in own_pairs) / max(1, len(own_pairs))
    return by_pair + sum(1 / (1 + words[word]) for word in own_words) / max(1, len(own_words))


def main() -> int:
    """Print the sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for text in make(given.count, given.seed):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
