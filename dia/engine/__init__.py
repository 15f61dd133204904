"""Many requests, one model: token ids in, codec codes out. Knows no text and no waveform."""

from dia.engine.loop import Engine, Health
from dia.engine.options import EngineOptions
from dia.engine.request import Priority, Request, Ticket

__all__ = ["Engine", "EngineOptions", "Health", "Priority", "Request", "Ticket"]
