"""Texts from the command line, a file or stdin, as characters."""

import codecs
import sys
from pathlib import Path

from dia.errors import BadParameter, BadScript

__all__ = ["read_text", "read_transcript"]

MAX_TEXT_BYTES = 10_000_000
"""More than any book; a larger file is a mistake such as naming the recording instead of its transcript."""


def read_text(text: str | None, file: Path | None) -> str:
    """What is to be said: the text itself, a file's, or stdin's where either is `-`.

    Raises:
        BadParameter: none or both are given. BadScript: unreadable, no text file, or blank.
    """
    if text is not None and file is not None:
        raise BadParameter("both a text and --file are given; give one of them")
    if text is None and file is None:
        raise BadParameter('no text is given; write it in quotes, as in "[S1] Hello.", or use --file, or - for stdin')
    if text == "-" or (file is not None and str(file) == "-"):
        said = _decode(_read_stdin(), "stdin")
    elif file is not None:
        said = _read_file(file)
    else:
        said = text or ""
    if not said.strip():
        raise BadScript("text is empty; there is nothing to say; give at least one word")
    return said


def read_transcript(transcript: str | None, file: Path | None) -> str | None:
    """What is said in the voice prompt, or None if not given. Errors as in `read_text`."""
    if transcript is not None and file is not None:
        raise BadParameter("both --transcript and --transcript-file are given; give one of them")
    found = transcript if file is None else _read_file(file)
    if found is not None and not found.strip():
        raise BadScript("the transcript is empty; write what is said in the audio prompt, or leave it out")
    return found


def _read_stdin() -> bytes:
    return sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decode(file.read(MAX_TEXT_BYTES + 1), path.name)
    except OSError as error:
        raise BadScript(f"{path} cannot be read: {error.strerror}; name a text file") from error


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_TEXT_BYTES:
        raise BadScript(
            f"{name} holds more than {MAX_TEXT_BYTES // 1_000_000} MB; that is no script; name a text file"
        )
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadScript(
            f"{name} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}); save it as UTF-8"
        ) from error
