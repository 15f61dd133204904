"""Dia: two-person dialogue from a transcript, on your own machine.

`from dia import Dia` is the one door to the model. Names are resolved on first use (PEP 562), so that
`import dia` and `dia --help` do not pay for torch.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dia.errors import DiaError
    from dia.model import Dia, VoicePrompt
    from dia.sampling import SamplingParams

__all__ = ["Dia", "DiaError", "SamplingParams", "VoicePrompt", "__version__"]

_HOMES = {"Dia": "dia.model", "VoicePrompt": "dia.model", "SamplingParams": "dia.sampling", "DiaError": "dia.errors"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dia' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
