"""How words are said, letter by letter: what a dictionary teaches the encoder beside the sentences of a set.

Three hours of speech hold some thousand words, and English letters do not say how the others sound. A dictionary knows a
hundred thousand. Its phonemes are dealt out to the letters (each gets none, one or two: a many-to-many alignment by
hard expectation maximisation, after Jiampojamarn et al. 2007), so that a tutor can ask the encoder at every letter which
sounds it stands for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dia.errors import BadInput
from dia.text.tokens import encode_text
from dia.train.targets import IGNORED

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
PHONEME = re.compile(r"[ˈˌ]?[^ˈˌ]ː?")
"""Stress belongs to the vowel behind it, length to the one in front."""
LONGEST = 16
"""Letters, and phonemes, of the longest word that is used."""
ROUNDS = 6
FITTED = 20_000
"""Words that the alignment is fitted to; all are then aligned by it."""
RAREST = 20
"""A chunk of phonemes that fewer letters than this stand for is no label; its words are left out."""
INFLECTED = 0.2
COMMA, STOP, CAPITAL = 0.1, 0.1, 0.15
"""How often a drilled word takes a suffix, is followed by a mark, or begins with a capital."""

SIBILANTS, VOICELESS, STOPS = frozenset("szʃʒʧʤ"), frozenset("ptkfθsʃʧ"), frozenset("tdɾ")


class Pronunciations:
    """Words with one label per letter.

    `labels`: the phonemes that a label stands for, "" for a silent letter.
    """

    def __init__(self, dictionary: Mapping[str, str]) -> None:
        """`dictionary`: word to phonemes (IPA, one sign each, stress in front of its vowel)."""
        words = [(word, PHONEME.findall(said)) for word, said in sorted(dictionary.items()) if WORD.fullmatch(word)]
        words = [(word, said) for word, said in words if max(len(word), len(said)) <= LONGEST and said]
        if not words:
            raise BadInput("the dictionary holds no word of small letters a to z with its phonemes")
        chunks = _align([word for word, _ in words], [said for _, said in words])
        counts: dict[str, int] = {}
        for chunk in (chunk for word in chunks if word is not None for chunk in word):
            counts[chunk] = counts.get(chunk, 0) + 1
        suffixes = {"", "s", "z", "t", "d", "ᵻ"}
        self.labels = tuple(sorted(suffixes | {chunk for chunk, count in counts.items() if count >= RAREST}))
        number = {chunk: place for place, chunk in enumerate(self.labels)}
        self._number = number
        self._words = {
            word: tuple(number[chunk] for chunk in dealt)
            for (word, _), dealt in zip(words, chunks, strict=True)
            if dealt is not None and all(chunk in number for chunk in dealt)
        }
        self._list = tuple(self._words)

    @classmethod
    def open(cls, path: Path) -> Pronunciations:
        """Of a JSON object of words and their phonemes (a string, or an object of strings with one for DEFAULT).

        Raises:
            BadInput: the file is not of this form.
        """
        try:
            entries = json.loads(path.read_text("utf-8"))
            said = {word: entry if isinstance(entry, str) else entry["DEFAULT"] for word, entry in entries.items()}
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise BadInput(f"{path.name} is not a JSON object of words and their phonemes: {error}") from error
        return cls({word: phonemes for word, phonemes in said.items() if isinstance(phonemes, str)})

    def __len__(self) -> int:
        return len(self._words)

    def of_word(self, word: str) -> tuple[int, ...] | None:
        """A label for each letter; also of a known word with -s, -'s or -ed. None if the word is not known."""
        known = self._words.get(word)
        if known is not None:
            return known
        for suffix in ("'s", "es", "s", "ed", "d"):
            if word.endswith(suffix) and (stem := self._words.get(word[: -len(suffix)])) is not None:
                return self._inflected(word[: -len(suffix)], stem, suffix)
        return None

    def _inflected(self, word: str, stem: tuple[int, ...], suffix: str) -> tuple[int, ...] | None:
        said = "".join(self.labels[label] for label in stem)
        last = said[-1:]
        silent, extra = self._number[""], self._number["ᵻ"]
        if suffix in ("d", "ed"):
            ending = "d" if last in STOPS or last not in VOICELESS else "t"
            heard_e = last in STOPS
        else:
            ending = "s" if last in VOICELESS and last not in SIBILANTS else "z"
            heard_e = last in SIBILANTS
        vowel, consonant = extra if heard_e else silent, self._number[ending]
        if suffix in ("ed", "es", "'s"):
            return (*stem, vowel, consonant)
        if word.endswith("e"):
            return (*stem[:-1], vowel if heard_e else stem[-1], consonant)
        return None if suffix == "d" or heard_e else (*stem, consonant)

    def of_text(self, ids: np.ndarray) -> np.ndarray:
        """Labels of the text ids [R, S], `IGNORED` where no known word stands."""
        labels = np.full(ids.shape, IGNORED, np.int64)
        for row, text in enumerate(ids.astype(np.uint8)):
            for match in WORD.finditer(text.tobytes().decode("latin-1").lower()):
                word = self.of_word(match.group())
                if word is not None:
                    labels[row, match.start() : match.end()] = word
        return labels

    def drill(self, rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Text ids [rows, size] of words drawn from the dictionary, as they stand in sentences; cut at the end."""
        ids = np.zeros((rows, size), np.int64)
        for row in range(rows):
            text = "[S1]" if rng.random() < 0.5 else "[S2]"
            capital = True
            while len(text) < size + 8:
                word = self._list[int(rng.integers(len(self._list)))]
                draw = rng.random(3)
                if draw[0] < INFLECTED:
                    word = self._suffixed(word, rng)
                text += " " + (word.capitalize() if capital or draw[1] < CAPITAL else word)
                capital = draw[2] < STOP
                text += "." if capital else "," if draw[2] < STOP + COMMA else ""
            row_ids = encode_text(text)[: size + 1]
            # A word that the end would cut is said otherwise than it is written.
            whole = np.array(row_ids)
            end = size if len(whole) <= size or whole[size] in b" .," else int(np.flatnonzero(whole[:size] == 32)[-1])
            ids[row, :end] = whole[:end]
        return ids

    def _suffixed(self, word: str, rng: np.random.Generator) -> str:
        endings = ("s", "d", "'s") if word.endswith("e") else ("s", "ed", "'s")
        made = word + endings[int(rng.integers(3))]
        return made if self.of_word(made) is not None else word


def _align(words: Sequence[str], said: Sequence[Sequence[str]]) -> list[tuple[str, ...] | None]:
    """The chunk of phonemes of each letter; None for a word with more phonemes than two per letter."""
    phonemes = sorted({phoneme for word in said for phoneme in word})
    number = {phoneme: place + 1 for place, phoneme in enumerate(phonemes)}
    letters = np.zeros((len(words), LONGEST), np.int64)
    sounds = np.zeros((len(words), LONGEST), np.int64)
    for row, (word, heard) in enumerate(zip(words, said, strict=True)):
        letters[row, : len(word)] = [0 if letter == "'" else ord(letter) - 96 for letter in word]
        sounds[row, : len(heard)] = [number[phoneme] for phoneme in heard]
    letter_counts = np.array([len(word) for word in words])
    sound_counts = np.array([len(heard) for heard in said])
    base = len(phonemes) + 1
    some = np.random.default_rng(0).permutation(len(words))[:FITTED]
    counts = np.full((27, base * base), 1e-2)
    # Chunk p is phoneme p alone (0 = none), chunk p * base + q is p and q; first, all lie on the diagonal.
    for letter in range(LONGEST):
        alive = some[letter_counts[some] > letter]
        place = (letter + 0.5) * sound_counts[alive] / letter_counts[alive]
        np.add.at(counts, (letters[alive, letter], sounds[alive, place.astype(np.int64)]), 1.0)
        np.add.at(counts, (letters[alive, letter], np.zeros(len(alive), np.int64)), 0.3)
    fitted = (letters[some], sounds[some], letter_counts[some], sound_counts[some])
    for _ in range(ROUNDS):
        chunks, found = _best_chunks(*fitted, counts, base)
        counts = np.full_like(counts, 1e-2)
        for letter in range(LONGEST):
            there = found & (fitted[2] > letter)
            np.add.at(counts, (fitted[0][there, letter], chunks[there, letter]), 1.0)
    chunks, found = _best_chunks(letters, sounds, letter_counts, sound_counts, counts, base)
    names = ["", *phonemes]
    return [
        tuple(names[chunk // base] + names[chunk % base] for chunk in chunks[row, : letter_counts[row]])
        if found[row]
        else None
        for row in range(len(words))
    ]


def _best_chunks(
    letters: np.ndarray,
    sounds: np.ndarray,
    letter_counts: np.ndarray,
    sound_counts: np.ndarray,
    counts: np.ndarray,
    base: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Viterbi over all words at once: chunk per letter [N, LONGEST], and whether the word has a path at all."""
    # A pair costs an extra: where two letters can share two phonemes, each takes one.
    odds = np.log(counts / counts.sum(1, keepdims=True))
    odds[:, base:] -= 1.0
    total, everyone = len(letters), np.arange(len(letters))
    score = np.full((total, LONGEST + 1), -np.inf)
    score[:, 0] = 0.0
    taken = np.zeros((LONGEST, total, LONGEST + 1), np.int8)
    for letter in range(LONGEST):
        options = np.full((3, total, LONGEST + 1), -np.inf)
        here = letters[:, letter]
        options[0] = score + odds[here, 0][:, None]
        options[1, :, 1:] = score[:, :-1] + odds[here[:, None], sounds]
        options[2, :, 2:] = score[:, :-2] + odds[here[:, None], sounds[:, :-1] * base + sounds[:, 1:]]
        taken[letter] = options.argmax(0)
        alive = (letter_counts > letter)[:, None]
        score = np.where(alive, options.max(0), score)
    found = np.isfinite(score[everyone, sound_counts])
    chunks = np.zeros((total, LONGEST), np.int64)
    left = sound_counts.copy()
    for letter in range(LONGEST - 1, -1, -1):
        alive = letter_counts > letter
        size = np.where(alive & found, taken[letter, everyone, left], 0)
        last, before = sounds[everyone, np.maximum(left - 1, 0)], sounds[everyone, np.maximum(left - 2, 0)]
        chunks[:, letter] = np.where(size == 2, before * base + last, np.where(size == 1, last, 0))
        left = left - size
    return chunks, found
