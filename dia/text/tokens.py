"""Text to the model's ids and back: UTF-8 bytes, with `[S1]` and `[S2]` as the single ids 1 and 2.

Byte for byte as published: only these two exact spellings become 1 and 2, wherever they stand. Knows no repair.
"""

from collections.abc import Iterable

from dia.errors import BadScript

__all__ = ["SPEAKER_TAGS", "count_bytes", "decode_ids", "encode_text"]

SPEAKER_TAGS = {1: "[S1]", 2: "[S2]"}
"""The id of each speaker and its tag in text."""

_NUM_IDS = 256


def _to_bytes(text: str) -> bytes:
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadScript(
            f"text holds half a character (U+{ord(text[error.start]):04X}) at position {error.start}; "
            "only whole Unicode characters can be encoded; remove it"
        ) from None
    position = encoded.find(0)
    if position >= 0:
        raise BadScript(f"text holds a NUL byte at byte {position}; the model reads 0 as padding; remove it")
    for speaker, tag in SPEAKER_TAGS.items():
        encoded = encoded.replace(tag.encode(), bytes([speaker]))
    return encoded


def encode_text(text: str) -> list[int]:
    """Ids in 1…255, one per byte of UTF-8, each speaker tag being one id.

    Raises:
        BadScript: a NUL byte (the model's padding) or an unpaired surrogate, which has no UTF-8 form.
    """
    return list(_to_bytes(text))


def count_bytes(text: str) -> int:
    """How many ids `text` becomes; a speaker tag counts as one. Raises as `encode_text` does."""
    return len(_to_bytes(text))


def decode_ids(ids: Iterable[int]) -> str:
    """The text of `ids`; padding (0) is left out, a character that was cut in the middle becomes U+FFFD.

    Raises:
        BadScript: an id outside 0…255.
    """
    values = list(ids)
    for value in values:
        if not 0 <= value < _NUM_IDS:
            raise BadScript(f"id {value} is no byte; ids are 0 to {_NUM_IDS - 1}; check what made them")
    encoded = bytes(value for value in values if value)
    for speaker, tag in SPEAKER_TAGS.items():
        encoded = encoded.replace(bytes([speaker]), tag.encode())
    return encoded.decode("utf-8", errors="replace")
