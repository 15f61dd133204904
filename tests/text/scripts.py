"""Scripts for the planner's tests: random dialogues, and the words of a text for comparison."""

import json
import random

from hypothesis import strategies as st

from dia.text.plan import Limits

MODEL = Limits(max_bytes=1024, max_frames=3072, frame_rate_hz=44100 / 512)
SMALL = Limits(max_bytes=96, max_frames=600, frame_rate_hz=86.0, reserved_bytes=10, reserved_frames=50)

WORDS = ["hello", "the", "Mr.", "3.14", "fox", "(laughs)", "(clears throat)", "and", "well-known", "naïve", "I"]
ENDS = [".", "?", "!", "...", ",", ";", "", "", ""]

sentences = st.lists(
    st.tuples(st.sampled_from(WORDS), st.sampled_from(ENDS)).map("".join), min_size=1, max_size=40
).map(" ".join)
turns = st.tuples(st.sampled_from(["[S1]", "[S2]", "[S3]"]), sentences).map(" ".join)
pauses = st.sampled_from(["[pause:1s]", "[pause:300ms]", '<break time="2s"/>'])
dialogues = st.lists(st.one_of(turns, turns, turns, pauses), min_size=1, max_size=12).map("\n".join)
monologues = st.lists(sentences, min_size=1, max_size=8).map("\n\n".join)

MESS = [
    *[
        "[S1]",
        "[S2]",
        "[s3]:",
        "Ann: ",
        "Bob: ",
        "\n",
        "\n\n",
        " ",
        "hello",
        "world.",
        "(laugh)",
        "(nods)",
        "*She nods.*",
    ],
    *['"Yes,"', "she said.", "# ", "- ", "```", "|a|b|", "[pause:1s]", "[pause:x]", "<break/>", "<think>", "</think>"],
    *[
        "你好。",
        "世界",
        "é",
        "😀",
        "“",
        "”",
        "—",
        "…",
        "\u200b",
        "\x00",
        "\ud800",
        "...",
        "a" * 70,
        "7" * 30,
        "{",
        '"text"',
    ],
    *[
        "1\n00:00:01,000 --> 00:00:02,000\n",
        "[",
        "]",
        "<i>",
        "*",
        "_",
        "Dr.",
        "J.",
        "e.g.",
        "5.",
        "I.",
        "x,",
        "y;",
        "(z)",
    ],
]
mess = st.lists(st.sampled_from(MESS), max_size=60).map("".join)


def random_script(rng: random.Random) -> str:
    """A script of any kind, whole or broken, much faster than hypothesis draws one."""

    def sentence() -> str:
        return " ".join(rng.choice(WORDS) + rng.choice(ENDS) for _ in range(rng.randrange(1, 25)))

    kind = rng.randrange(7)
    if kind == 0:
        return "".join(rng.choice(MESS) for _ in range(rng.randrange(60)))
    if kind == 1:
        return "\n".join(
            f"{rng.choice(['Ann', 'Bob', 'Cy', 'Note'])}: {sentence()}" for _ in range(rng.randrange(1, 12))
        )
    if kind == 2:
        return json.dumps([{"speaker": rng.choice("abc"), "text": sentence()} for _ in range(rng.randrange(1, 9))])
    if kind == 3:
        return "\n\n".join(
            f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{sentence()}" for n in range(1, rng.randrange(2, 9))
        )
    if kind == 4:
        return "\n\n".join(rng.choice(["# ", "- ", "> ", ""]) + sentence() for _ in range(rng.randrange(1, 9)))
    if kind == 5:
        return "".join(rng.choice("0123456789$%.,:/-'\"()[]<>#&@ aSs\n") for _ in range(rng.randrange(200)))
    tags = ["[S1] ", "[S2] ", "[S3] ", "[pause:1s] ", '<break strength="weak"/> ', ""]
    return "\n".join(rng.choice(tags) + sentence() for _ in range(rng.randrange(1, 12)))


def words(text):
    """Letters and digits only, since a cut may stand between ideographs or beside a mark."""
    return "".join(character for character in text if character.isalnum())
