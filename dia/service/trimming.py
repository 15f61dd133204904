"""Which part of a long prompt the model hears: cut where the speaker pauses, and the transcript cut to match."""

import re

import numpy as np

WINDOW_S = 0.2  # a pause between two sentences is rarely shorter
_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*(?=\s|$)")
_WORD_END = re.compile(r"\S(?=\s|$)")
_TAGS_IN_FRONT = re.compile(r"^(\s*\[S[12]\])*\s*")
_SENTENCE_REACH = 0.15  # a sentence end this near, as a share of the text, is better than the exact word


def cut_at_pause(waveform: np.ndarray, sample_rate_hz: int, max_s: float) -> int:
    """How many samples of float32 [samples] to keep: all if they fit, else up to the quietest 0.2 s in the second
    half of what fits."""
    limit = int(max_s * sample_rate_hz)
    if len(waveform) <= limit:
        return len(waveform)
    window = max(int(WINDOW_S * sample_rate_hz), 1)
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform[:limit], dtype=np.float64))])
    starts = np.arange(limit // 2, limit - window)
    if not len(starts):
        return limit
    loudness = energy[starts + window] - energy[starts]
    # Several stretches can be equally silent: the last one keeps the most.
    quietest = starts[len(loudness) - 1 - int(np.argmin(loudness[::-1]))]
    return int(quietest + window // 2)


def cut_transcript(transcript: str, share: float) -> str:
    """The first `share` (0 to 1) of the words, ending at a sentence if one ends nearby; at least the first
    word."""
    if share >= 1.0:
        return transcript
    wanted = share * len(transcript)
    first = len(transcript) - len(_TAGS_IN_FRONT.sub("", transcript))
    sentences = [match.end() for match in _SENTENCE_END.finditer(transcript) if match.end() > first]
    words = [match.end() for match in _WORD_END.finditer(transcript) if match.end() > first]
    for ends, reach in ((sentences, _SENTENCE_REACH * len(transcript)), (words, float("inf"))):
        if ends:
            nearest = min(ends, key=lambda end: abs(end - wanted))
            if abs(nearest - wanted) <= reach:
                return transcript[:nearest].strip()
    return transcript
