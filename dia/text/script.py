"""What one pass of the model is told to say: a script of turns by two speakers, repaired, closed and counted.

The model learned texts that start with `[S1]`, change the speaker at every tag, and whose ending is cleaner when the
tag of the second-to-last speaker follows the last word. Whatever is done to bring a text into that form is reported.
Nothing is ever cut: a text that does not fit is an error with the numbers; `dia.text.planner` makes pieces that fit.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from dia.errors import BadParameter, BadScript
from dia.text.nonverbals import MARK, correct_nonverbals, correct_starred, note_unlearnt
from dia.text.pauses import PAUSE_TAG
from dia.text.repairs import Repairs
from dia.text.tokens import SPEAKER_TAGS, count_bytes
from dia.text.typography import begin_with_capital, join_lines, lower_shouting, plain_characters, remove_markup

__all__ = ["Prepared", "Script", "Turn", "as_learnt", "check_exact", "parse_script", "prepare"]

TAG = re.compile(r"\[ ?[sS] ?([0-9]{1,6}) ?\](?::(?=\s|$))?")
"""A speaker tag in any case and spacing, a colon behind it included; the group is the number."""

LINE_TAG = re.compile(r"(?:^|(?<=[\]>]))[ \t]*(?:s|speaker)[ \t]?([0-9]{1,6})[ \t]*:", re.IGNORECASE | re.MULTILINE)
"""`S1:` or `Speaker 1:` at the start of a line or behind a pause tag, which means the tag."""

_WORDS_PER_NONVERBAL = 8  # denser than that, speech tends to break


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker (1 or 2) says without a break: one line of text without tags."""

    speaker: int
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """Turns in order, neighbours by different speakers; `closing` is a tag that the writer put behind the last word."""

    turns: tuple[Turn, ...]
    closing: int | None = None

    def text(self, *, close_tag: bool = True) -> str:
        """The tagged text. A closing tag of the writer stays; else `close_tag` adds the second-to-last speaker's."""
        closing = self.closing
        if closing is None and close_tag:
            closing = self.turns[max(len(self.turns) - 2, 0)].speaker
        spoken = " ".join(f"{SPEAKER_TAGS[turn.speaker]} {turn.text}" for turn in self.turns)
        return spoken if closing is None else f"{spoken} {SPEAKER_TAGS[closing]}"

    def swapped(self) -> "Script":
        """The same script with the labels of the two speakers exchanged."""
        turns = tuple(Turn(3 - turn.speaker, turn.text) for turn in self.turns)
        return Script(turns, None if self.closing is None else 3 - self.closing)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text as it goes to the model, its size in ids, the prompt's share of them, and what was done to it."""

    text: str
    warnings: tuple[str, ...]
    num_bytes: int
    num_transcript_bytes: int = 0


def prepare(
    text: str, *, transcript: str | None = None, max_bytes: int, close_tag: bool = True, knows_sounds: bool = True
) -> Prepared:
    """Brings `text` into the form that the model learned, the prompt's `transcript` before it.

    Untagged text is spoken by the speaker who starts the transcript, or by S1. If the whole would start with `[S2]`,
    the two labels are exchanged throughout. A text that was prepared once comes back unchanged.

    Args:
        text: plain or tagged, in any case and with any typography.
        transcript: what is said in the audio prompt, or None without one.
        max_bytes: most ids that one pass takes, transcript and tags included.
        close_tag: False adds no closing tag; one that the text brings along stays.
        knows_sounds: False notes sounds such as `(laughs)`, which the model has not learnt.

    Raises:
        BadScript: nothing to say, a third speaker, or more than `max_bytes`; BadParameter: `max_bytes` below 1.
    """
    _check_limit(max_bytes)
    repairs = Repairs()
    first = Script(()) if transcript is None else parse_script(transcript, repairs, name="the prompt's transcript")
    second = parse_script(text, repairs, default_speaker=first.turns[0].speaker if first.turns else 1)
    script = Script(_merged((*first.turns, *second.turns)), second.closing)
    if script.turns[0].speaker != 1:
        script, first = script.swapped(), first.swapped()
        # With a transcript in front, who comes first is no choice of the text's.
        repairs.add(
            "labels S1 and S2 exchanged, so that the text starts with [S1], turns",
            0 if first.turns else len(script.turns),
        )
    script = Script(tuple(Turn(turn.speaker, begin_with_capital(turn.text)) for turn in script.turns), script.closing)
    _note_density(script, repairs)
    if not knows_sounds:
        note_unlearnt(" ".join(turn.text for turn in second.turns), repairs)
    full = script.text(close_tag=close_tag)
    num_transcript = count_bytes(first.text(close_tag=False)) + 1 if first.turns else 0
    _check_length(count_bytes(full), num_transcript, max_bytes)
    return Prepared(full, repairs.warnings(), count_bytes(full), num_transcript)


def check_exact(text: str, max_bytes: int) -> Prepared:
    """Takes `text` byte for byte, with no repair; refuses only what cannot be encoded, is blank or does not fit.

    Raises:
        BadScript: blank, a NUL byte, half a character, or more than `max_bytes` ids; BadParameter: limit below 1.
    """
    _check_limit(max_bytes)
    num_bytes = count_bytes(text)
    if not text.strip():
        raise BadScript("text is blank; there is nothing to say; give at least one word")
    _check_length(num_bytes, 0, max_bytes)
    return Prepared(text, (), num_bytes)


def parse_script(text: str, repairs: Repairs, *, default_speaker: int = 1, name: str = "text") -> Script:
    """Turns of `text`, cleaned, with equal neighbours merged; every change is noted in `repairs`.

    Raises:
        BadScript: nothing to say, or a speaker other than S1 and S2.
    """
    cleaned = clean_text(text, repairs)
    pieces = TAG.split(cleaned)  # text, number, text, number, text …
    numbers = [default_speaker, *(int(number) for number in pieces[1::2])]
    _refuse_other_speakers(numbers, name)
    said = [lower_shouting(text.strip(), repairs) for text in pieces[::2]]
    turns = [Turn(number, text) for number, text in zip(numbers, said, strict=True)]
    spoken = [turn for turn in turns if is_speakable(turn.text)]
    if not spoken:
        raise BadScript(f"{name} is empty; there is nothing to say; give at least one word")
    closing = turns[-1].speaker if len(turns) > 1 and not turns[-1].text else None
    if is_speakable(turns[0].text):
        repairs.add(f"untagged start of {name} given to a speaker", detail=SPEAKER_TAGS[default_speaker])
    empty = sum(not is_speakable(turn.text) for turn in turns[1:]) - (closing is not None)
    repairs.add("tags without words removed", empty)
    merged = _merged(spoken)
    if name == "text":  # a transcript is often put together from turns of one speaker
        repairs.add("neighbouring turns of one speaker merged", len(spoken) - len(merged))
    return Script(merged, closing)


def as_learnt(text: str) -> str:
    """A tagged text as `prepare` has it in the end: turns begin with a capital, shouted words are small."""
    parts = TAG.split(text)
    said = (begin_with_capital(lower_shouting(part.strip(), Repairs())) for part in parts[2::2])
    return " ".join(f"[S{number}] {words}" for number, words in zip(parts[1::2], said, strict=True))


def clean_text(text: str, repairs: Repairs, *, drops_remarks: bool = False) -> str:
    """One line of plain characters, tags as `[S1]`, sounds as the model knows them, no markup and no pause tags; remarks
    in brackets that are no known sound stay, or are dropped."""
    text = plain_characters(text, repairs)
    text, count = LINE_TAG.subn(r"[S\1]", text)
    repairs.add("speakers at the start of a line made tags", count)
    text = remove_markup(correct_starred(text, repairs), repairs)
    text = join_lines(text, repairs)
    text, count = PAUSE_TAG.subn(" ", text)
    repairs.add("pause tags left out, since one pass has no pauses between pieces", count)
    text = correct_nonverbals(" ".join(text.split()), repairs, drops_remarks=drops_remarks)
    return TAG.sub(lambda match: _plain_tag(match, repairs), text)


def is_speakable(text: str) -> bool:
    """Whether there is a letter or a digit to be said; a sound such as `(laughs)` has letters."""
    return any(character.isalnum() for character in text)


def _plain_tag(match: re.Match[str], repairs: Repairs) -> str:
    plain = f"[S{int(match.group(1))}]"
    if match.group() != plain:
        repairs.add("speaker tags respelled", detail=f"{match.group()} to {plain}")
    return plain


def _merged(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    groups = groupby(turns, key=lambda turn: turn.speaker)
    return tuple(Turn(speaker, " ".join(turn.text for turn in group)) for speaker, group in groups)


def _refuse_other_speakers(numbers: list[int], name: str) -> None:
    for number in numbers:
        if number not in SPEAKER_TAGS:
            raise BadScript(
                f"{name} has speaker [S{number}]; one pass has the speakers S1 and S2; "
                "rename the speaker, or plan the text as a long script, which maps any two to S1 and S2"
            )


def _note_density(script: Script, repairs: Repairs) -> None:
    spoken = " ".join(turn.text for turn in script.turns)
    sounds = len(MARK.findall(spoken))
    words = len(MARK.sub(" ", spoken).split())
    if sounds > 1 and sounds * _WORDS_PER_NONVERBAL > words:
        repairs.add(f"more than one nonverbal in {_WORDS_PER_NONVERBAL} words, which tends to break speech", sounds)


def _check_limit(max_bytes: int) -> None:
    if max_bytes < 1:
        raise BadParameter(f"max_bytes is {max_bytes}; at least 1; use the model's own limit")


def _check_length(num_bytes: int, num_transcript: int, max_bytes: int) -> None:
    if num_bytes <= max_bytes:
        return
    share = f", {num_transcript} of them the prompt's transcript" if num_transcript else ""
    raise BadScript(
        f"text is {num_bytes} bytes with its tags{share}; one pass takes at most {max_bytes}; "
        f"shorten it by {num_bytes - max_bytes} bytes or let it be planned as a long script"
    )
