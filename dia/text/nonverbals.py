"""The sounds that are not words, `(laughs)` and twenty more: the known list, its near misses, and unknown remarks.

The model was published with 21 sounds that it learned, written in round brackets. People also write `(laugh)`,
`[Laughs]`, `*coughing*` or `(sigs)`. What is clearly one of the 21 is written as the model knows it. Any other short
bracketed remark, such as `(nods)`, stays as it is: the model may read it aloud, so it is counted and reported, and
the writer decides.
"""

import re

from dia.text.repairs import Repairs

__all__ = ["MARK", "NONVERBALS", "correct_nonverbals", "correct_starred", "find_nonverbal", "note_unlearnt"]

# The published list, in its published order and spelling ("chuckle" and "whistles" as they stand there).
NONVERBALS = (
    "laughs",
    "clears throat",
    "sighs",
    "gasps",
    "coughs",
    "singing",
    "sings",
    "mumbles",
    "beep",
    "groans",
    "sniffs",
    "claps",
    "screams",
    "inhales",
    "exhales",
    "applause",
    "burps",
    "humming",
    "sneezes",
    "chuckle",
    "whistles",
)

MARK = re.compile(r"\((?:" + "|".join(NONVERBALS) + r")\)")
"""One known nonverbal as the model knows it, brackets included."""

# Verbs whose every form means the one sound that the model knows: stem -> known name.
_STEMS = {
    "laugh": "laughs",
    "sigh": "sighs",
    "gasp": "gasps",
    "cough": "coughs",
    "mumbl": "mumbles",
    "beep": "beep",
    "groan": "groans",
    "sniff": "sniffs",
    "clap": "claps",
    "scream": "screams",
    "inhal": "inhales",
    "exhal": "exhales",
    "applaud": "applause",
    "burp": "burps",
    "humm": "humming",
    "sneez": "sneezes",
    "chuckl": "chuckle",
    "whistl": "whistles",
}
_ENDINGS = ("", "e", "s", "es", "ed", "ing")
_IRREGULAR = {
    "laughter": "laughs",
    "giggle": "chuckle",
    "giggles": "chuckle",
    "clear throat": "clears throat",
    "clearing throat": "clears throat",
    "cleared throat": "clears throat",
    "throat clear": "clears throat",
    "throat clearing": "clears throat",
    "sing": "sings",
    "sang": "sings",
    "bleep": "beep",
    "clapping": "claps",
    "clapped": "claps",
    "hum": "humming",
    "hums": "humming",
    "sniffles": "sniffs",
    "sniffle": "sniffs",
    "breathes in": "inhales",
    "breathes out": "exhales",
}
_ALIASES = {stem + ending: name for stem, name in _STEMS.items() for ending in _ENDINGS} | _IRREGULAR

# Real words one keystroke away from a known sound: taking these for typing errors would change what was written.
_REAL_WORDS = """
    signs sights sight gaps grasps slaps flaps clips clasps clamps creams streams boughs doughs roughs grins
    groins grants grows snuffs stiffs bumps burns thistles bristles buckle beef beer been bees keep deep jeep
    weep seep peep sling swinging stinging swings slings stings thumbs tumbles fumbles rumbles bumbles bumming
    coming booming sneers lights rings wings kings sins signing sinking bringing ringing winging
    """

# Whatever is no letter, digit or space: signs are not said, so a sound with one in it is that sound.
_SIGNS = re.compile(r"[^\w\s]|_")
_FILLER = re.compile(
    r"^(?:(?:he|she|they|it|softly|loudly|slightly|quietly|nervously|heavily|deeply)\s+)+|"
    r"\s+(?:softly|loudly|slightly|quietly|nervously|heavily|deeply)$"
)
# One short remark in round or square brackets; never across a line, never nested.
_BRACKETED = re.compile(r"( ?)(?:\(([^()\[\]\n]{1,40})\)|\[([^()\[\]\n]{1,40})\])")
_STARRED = re.compile(r"(?<![*(\[])\*{1,2}([^*\n]{1,40})\*{1,2}(?!\*)")
_SPEAKER = re.compile(r"\s*s\s*[0-9]+\s*", re.IGNORECASE)
_STAGE_WORDS = 4  # longer bracketed text is an aside that is meant to be spoken
_LEAST_TYPO_LETTERS = 5  # below that one keystroke makes too many other words


def find_nonverbal(remark: str) -> str | None:
    """The known sound that `remark` (without its brackets) means, or None.

    Exact spelling, other forms of the same verb, an adverb beside it, and one wrong, missing, extra or swapped
    letter in words of five letters or more are recognised.
    """
    words = " ".join(_SIGNS.sub("", remark.lower()).split())
    bare = _FILLER.sub("", words)
    for candidate in (words, bare):
        if candidate in NONVERBALS:
            return candidate
        if candidate in _ALIASES:
            return _ALIASES[candidate]
    return _nearest(bare)


def _nearest(word: str) -> str | None:
    if len(word) < _LEAST_TYPO_LETTERS or word in _REAL_WORDS.split():
        return None
    found = {name for name in NONVERBALS if _one_keystroke_apart(word, name)}
    found |= {name for alias, name in _ALIASES.items() if _one_keystroke_apart(word, alias)}
    return found.pop() if len(found) == 1 else None


def _one_keystroke_apart(a: str, b: str) -> bool:
    """Whether one inserted, deleted, changed or swapped letter turns `a` into `b`."""
    if abs(len(a) - len(b)) > 1 or min(len(a), len(b)) < _LEAST_TYPO_LETTERS - 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    swapped = len(rest_a) > 1 and rest_a[1::-1] + rest_a[2:] == rest_b
    return swapped or rest_a[1:] == rest_b or rest_a == rest_b[1:] or rest_a[1:] == rest_b[1:]


def correct_starred(text: str, repairs: Repairs) -> str:
    """Writes sounds between asterisks, `*laughs*`, in round brackets; everything else between asterisks stays."""

    def replace(match: re.Match[str]) -> str:
        name = find_nonverbal(match.group(1))
        return match.group() if name is None else _respelled(match.group(), name, repairs)

    return _STARRED.sub(replace, text)


def correct_nonverbals(text: str, repairs: Repairs, *, drops_remarks: bool = False) -> str:
    """Spells every sound in round or square brackets as the model knows it and notes remarks that it does not know.

    Bracketed asides of more than four words or with digits are left alone without a word; unknown short remarks stay, or
    are dropped, and are noted in `repairs`.
    """

    def replace(match: re.Match[str]) -> str:
        blank, remark = match.group(1), match.group(2) or match.group(3)
        written = match.group()[len(blank) :]
        if _SPEAKER.fullmatch(remark):
            return match.group()
        name = find_nonverbal(remark)
        if name is not None:
            return f"{blank}{_respelled(written, name, repairs)}"
        if not _is_stage_direction(remark):
            return match.group()
        done = "left out" if drops_remarks else "left as written"
        repairs.add(f"remarks in brackets that are no known nonverbal, {done}", detail=written)
        return "" if drops_remarks else match.group()

    return _BRACKETED.sub(replace, text)


def note_unlearnt(text: str, repairs: Repairs, *, left_out: bool = False) -> None:
    """Notes the known sounds of `text` for a model that has learnt none of them; they stay as they are, or are left out
    by the caller."""
    what = "left out" if left_out else "and may read as words"
    for sound in MARK.findall(text):
        repairs.add(
            f"sounds that this model has not learnt{', ' if left_out else ' '}{what} (Dia-1.6B performs them)",
            detail=sound,
        )


def _respelled(written: str, name: str, repairs: Repairs) -> str:
    spelled = f"({name})"
    if written != spelled:
        repairs.add("nonverbals corrected", detail=f"{written} to {spelled}")
    return spelled


def _is_stage_direction(remark: str) -> bool:
    words = remark.split()
    return 0 < len(words) <= _STAGE_WORDS and all(word.strip("'.,!?-").isalpha() for word in words)
