"""Many requests, one model: token ids in, codec codes out. Knows no text and no waveform."""

from dia.engine.loop import Engine
from dia.engine.request import Priority, Request, Ticket

__all__ = ["Engine", "Priority", "Request", "Ticket"]
