"""What the judges have spoken: fifty sentences and twenty two-turn dialogues that no training text contains.

They were written for this purpose. `refuse_seen` compares them, or any other script, with a training manifest.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from dia.errors import BadInput, BadParameter
from dia.text.words import normalise

__all__ = ["dialogues", "read_script", "refuse_seen", "seen_in", "sentences"]


def sentences() -> tuple[str, ...]:
    """Fifty everyday sentences of 4 to 18 words."""
    return _lines("sentences.txt")


def dialogues() -> tuple[str, ...]:
    """Twenty tagged dialogues, one turn of S1 and one of S2 each."""
    return _lines("dialogues.txt")


def read_script(path: Path) -> tuple[str, ...]:
    """One text a line, blank lines left out.

    Raises:
        BadInput: the file cannot be read or is empty.
    """
    try:
        found = _nonblank(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path.name} cannot be read ({type(error).__name__}); give a UTF-8 text, one line each"
        ) from error
    if not found:
        raise BadInput(f"{path.name} holds no text; give one sentence or dialogue a line")
    return found


def seen_in(script: Iterable[str], training: Iterable[str]) -> list[str]:
    """Those texts of `script` that occur among the training texts, spelling and punctuation aside."""
    known = {" ".join(normalise(text)) for text in training}
    return [text for text in script if " ".join(normalise(text)) in known]


def refuse_seen(script: Iterable[str], training: Iterable[str]) -> None:
    """Figures on texts that were trained on would flatter.

    Raises:
        BadParameter: names the first such text and how many there are.
    """
    seen = seen_in(script, training)
    if seen:
        raise BadParameter(
            f"{len(seen)} texts of the script are in the training manifest, the first: {seen[0]!r}; use others"
        )


def _lines(name: str) -> tuple[str, ...]:
    return _nonblank(resources.files("dia.evals").joinpath("data", name).read_text(encoding="utf-8"))


def _nonblank(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
