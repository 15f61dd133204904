"""`narrate`: a text of any length as a stream of sound. The first piece is heard while it is made, the next ones are
made while it is heard.
"""

import secrets
import weakref
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from dia.errors import BadParameter
from dia.media.loudness import block_powers, gated_loudness
from dia.narration.ahead import Ahead
from dia.narration.delivery import Delivery
from dia.narration.passes import Making, Narrator, Passes, plan_for
from dia.narration.producer import Producer
from dia.narration.script import PlannedScript, read_text
from dia.narration.voices import Cast, default_voice, make_cast
from dia.text.plan import Plan
from dia.text.roles import Roleplay

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.prompts import VoicePrompt
    from dia.sampling import SamplingParams

__all__ = ["Narration", "narrate"]

_MEASURED_S = 6.0  # of each prompt; enough for the loudness of a voice


def narrate(
    dia: "Dia",
    text: str,
    *,
    voices: "Mapping[str, VoicePrompt] | VoicePrompt | None" = None,
    params: "SamplingParams | None" = None,
    making: Making | None = None,
    delivery: Delivery | None = None,
    format: str = "auto",
    roleplay: Roleplay | None = None,
    ahead_s: float = 60.0,
) -> "Narration":
    """Start to speak a text of any length; everything that can be refused is refused here.

    Args:
        voices: one voice, or a voice by speaker's name; None is the model's own, if it has one. The first piece becomes
            the voice of those without one.
        params: sampling; None takes the checkpoint's. Its seed is the run's.
        making: how pieces are made.
        delivery: tempo and pauses. Its loudness is reached by one gain for all, taken from the loudness of the voices'
            prompts; None leaves levels as they come.
        format: of the text; see `dia.text.formats.FORMATS`.
        roleplay: gives asterisks and quotes voices of their own.
        ahead_s: how many seconds of sound may be made before they are heard, 1 to 3,600.

    Raises:
        BadScript, BadParameter, UnknownVoice, BadPrompt: the caller changes something. QueueFull, EngineStopped.
        CodecUnavailable: the model was loaded without its codec.
    """
    if not 1.0 <= ahead_s <= 3600.0:
        raise BadParameter(f"ahead_s is {ahead_s:g}; it must be 1 to 3600 seconds")
    making, delivery = making or Making(), delivery or Delivery(loudness_lufs=None)
    params = params or dia.defaults
    rate = dia.sample_rate_hz
    script = read_text(text, format=format, roleplay=roleplay)
    passes = Passes.of(dia)
    passes.check(params)
    cast = make_cast(voices or default_voice(dia.default_voice, passes), script.speakers, dia.frame_rate_hz)
    planned = plan_for(passes, script, cast, making, delivery.gaps)
    delivery.check_names(planned.plan.speakers)
    seed = secrets.randbits(63) if params.seed is None else params.seed
    narrator = Narrator(dia, passes, planned.plan, cast, making, seed, params, "interactive")
    producer = Producer(narrator, delivery, gain_db=lambda: _gain_db(delivery, cast, dia))
    if delivery.loudness_lufs is not None and not cast.sounds:
        producer.warnings.append(
            "without a voice prompt the loudness is not known in advance; levels are as they come"
        )
    producer.begin()
    return Narration(planned, producer, seed, rate, round(ahead_s * rate), passes.frame_rate_hz)


class Narration:
    """Iterator of sound: float32 chunks [samples] at `sample_rate_hz`. Also a context manager; leaving it stops.

    Attributes:
        plan: the pieces.
        headings: the chapters.
        seed: of the run; the same text, voices, seed and parameters give the same sound.
        frame_rate_hz: of `frames_done` and `frames_estimate`.
    """

    def __init__(
        self,
        planned: PlannedScript,
        producer: Producer,
        seed: int,
        sample_rate_hz: int,
        max_samples: int,
        frame_rate_hz: float,
    ) -> None:
        self.plan: Plan = planned.plan
        self.headings = planned.headings
        self.seed = seed
        self.sample_rate_hz = sample_rate_hz
        self.frame_rate_hz = frame_rate_hz
        self._producer = producer
        self._ahead = Ahead(producer.chunks, max_samples, producer.cancel)
        # A narration that nobody holds any more must not keep its thread waiting.
        weakref.finalize(self, self._ahead.stop)
        self._ahead.start()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller should know; complete at the end."""
        return tuple(dict.fromkeys([*self.plan.warnings, *self._producer.warnings]))

    @property
    def pieces_made(self) -> int:
        """Pieces that are finished, heard or not."""
        return self._producer.pieces_made

    @property
    def frames_done(self) -> int:
        """Frames of finished pieces and of the one being made."""
        return self._producer.frames_done

    @property
    def frames_estimate(self) -> int:
        """Expected length in frames, for progress bars."""
        return max(1, self.frames_done, round(self.plan.estimated_s * self.frame_rate_hz))

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        chunk = self._ahead.take()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop, unless it is over."""
        self._ahead.stop()
        self._ahead.join(30.0)

    def __enter__(self) -> "Narration":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _gain_db(delivery: Delivery, cast: Cast, dia: "Dia") -> float:
    """From the loudness of the prompts to the wanted one; the same for all pieces, so that nothing jumps."""
    if delivery.loudness_lufs is None or not cast.sounds:
        return 0.0
    assert dia.codec is not None
    frames = round(_MEASURED_S * dia.frame_rate_hz)
    powers = [
        block_powers(dia.codec.decode(codes[:frames]), dia.sample_rate_hz) for codes in (cast.codes or {}).values()
    ]
    loudness = gated_loudness(np.concatenate(powers))
    return float(np.clip(delivery.loudness_lufs - loudness, -20.0, 20.0)) if np.isfinite(loudness) else 0.0
