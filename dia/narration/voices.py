"""The voices of a run: which prompt every speaker of a script has, its words, its codes and its pace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from dia.errors import BadPrompt, UnknownVoice
from dia.narration.casting import LABELS, Sound, cast, piece_words
from dia.text.pace import Pace
from dia.text.plan import Piece
from dia.text.script import TAG
from dia.text.tokens import count_bytes

if TYPE_CHECKING:
    from dia.narration.passes import Passes
    from dia.prompts import VoicePrompt

__all__ = ["Cast", "default_voice", "make_cast"]


@dataclass(frozen=True, slots=True)
class Cast:
    """Prompts as they are used, the codes int16 [frames, channels] in each slot, and who speaks with which."""

    sounds: tuple[Sound, ...] = ()
    codes: Mapping[str, np.ndarray] | None = None
    casting: Mapping[str, str] | None = None

    def slot_of(self, name: str) -> str | None:
        return (self.casting or {}).get(name)

    def prompts_of(self, piece: Piece) -> tuple[list[np.ndarray], str]:
        """Codes of the prompts that a piece needs, and the words in them under the piece's labels."""
        chosen, words = piece_words(piece, self.sounds, self.casting or {})
        return [(self.codes or {})[sound.slot] for sound in chosen], words

    @property
    def most_frames(self) -> int:
        """Frames that the prompts of any two speakers take at most."""
        return max((sum(self._frames(sound) for sound in pair) for pair in self._pairs()), default=0)

    @property
    def most_bytes(self) -> int:
        """Ids of text that the words of any two prompts take at most, labels included."""
        return max((sum(count_bytes(sound.words or "") + 3 for sound in pair) for pair in self._pairs()), default=0)

    def paces(self) -> dict[str, Pace]:
        """How fast each speaker with a known transcript speaks in his prompt."""
        by_slot = {slot: sound for sound in self.sounds for slot in (LABELS if sound.has_both else (sound.slot,))}
        found = {name: by_slot[slot] for name, slot in (self.casting or {}).items()}
        return {
            name: Pace.from_prompt(sound.words, sound.used_s)
            for name, sound in found.items()
            if sound.words and sound.used_s > 0
        }

    def _frames(self, sound: Sound) -> int:
        return len((self.codes or {})[sound.slot])

    def _pairs(self) -> list[tuple[Sound, ...]]:
        return list(combinations(self.sounds, 2)) if len(self.sounds) > 1 else [self.sounds]


def default_voice(voice: "VoicePrompt | None", passes: "Passes") -> "VoicePrompt | None":
    """The model's own voice, for a run that names none: it holds from piece to piece as any other. None where it would
    leave less than half of a pass, or has no words."""
    if voice is None or not voice.transcript.strip():
        return None
    takes = max(len(voice.codes) / passes.max_frames, count_bytes(voice.transcript) / passes.text_bytes)
    return voice if takes <= 0.5 else None


def make_cast(
    voices: "Mapping[str, VoicePrompt] | VoicePrompt | None", names: Sequence[str], frame_rate_hz: float
) -> Cast:
    """Which of the `names` of a script speaks with which of the `voices`.

    One voice alone is that of the first speaker, or of both if its transcript is tagged with two. Voices called S1
    and S2 go to the speakers in the order of their appearance; any other name must be one of the script's.

    Raises:
        UnknownVoice: a voice for a name that the script does not have. BadPrompt: a voice without its transcript.
    """
    given = {} if voices is None else dict(voices) if isinstance(voices, Mapping) else {LABELS[0]: voices}
    for name in given:
        if name not in names and name not in LABELS:
            raise UnknownVoice(
                f"there is a voice for {name[:64]!r}, who does not speak; the script has {', '.join(names)[:300]}; "
                "name one of these"
            )
    sounds = tuple(_sound(name, voice, len(given) == 1, frame_rate_hz) for name, voice in given.items())
    codes = {name: np.asarray(voice.codes, dtype=np.int16) for name, voice in given.items()}
    return Cast(sounds, codes, cast(names, sounds))


def _sound(name: str, voice: "VoicePrompt", is_alone: bool, frame_rate_hz: float) -> Sound:
    said = voice.transcript.strip()
    if not said:
        raise BadPrompt(f"the voice of {name[:64]!r} has no transcript; write down what is said in the recording")
    has_both = is_alone and len(set(TAG.findall(said))) == len(LABELS)
    words = said if has_both else " ".join(TAG.sub(" ", said).split())
    return Sound(name, name, words, len(voice.codes) / frame_rate_hz, has_both)
