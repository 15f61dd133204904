"""The tensors of one device: takes requests into slots, reads voice prompts in, makes one step for all at once.

No queues, no threads, no host synchronisation in `step`: what the host needs is packed into one small tensor.

Legend: `n` running slots, `C` channels, `B` branches.
"""

from dataclasses import dataclass

import torch

from dia.audio import delay_prompt
from dia.engine.request import Request
from dia.layers import DiaModel
from dia.sampling import SamplingTensors, sample
from dia.state import COND, UNCOND, DecoderInferenceState, DecoderOutput, EncoderInferenceState

MIN_CANDIDATES = 64
"""Tokens kept per channel before top-k masks them to each request's own number; grows in powers of two when asked."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step wrote: `packed` int64 [n, C + 2] holds the new row, the slot's eos_row and 1 where the logits were
    finite."""

    packed: torch.Tensor


class Runner:
    """A loaded model with `slots` places for requests."""

    def __init__(self, model: DiaModel, slots: int, rows: int | None = None, text_rows: int | None = None) -> None:
        """
        Args:
            rows: decoder rows per slot; None for all the model has.
            text_rows: text bytes per slot; None for all the model has.
        """
        data = model.config.data
        self.model, self.slots = model, slots
        self.rows = rows or data.audio_length
        self.text_rows = text_rows or data.text_length
        device = model.device
        self.state = DecoderInferenceState.new(model.config, slots, self.rows, self.text_rows, device, model.dtype)
        self.output = DecoderOutput.new(model.config, slots, self.rows, device)
        self.params = SamplingTensors.empty(slots, device)
        self._data = data
        with torch.inference_mode():
            self.constants = model.unconditional_constants()

    @torch.inference_mode()
    def begin(self, slot: int, request: Request) -> None:
        """Put a request into a slot: encode its text, lay out its grid. Its prompt is read in by `prefill`."""
        device = self.model.device
        memory = self.model.encode(EncoderInferenceState.new([request.text], device))
        self.state.put_text(slot, self.model.decoder.cross_keys_values(memory), len(request.text))
        prompt = torch.zeros(0, self._data.channels, dtype=torch.int64)
        if request.prompt is not None:
            prompt = torch.from_numpy(request.prompt.astype("int64"))
        grid = delay_prompt(prompt, request.rows, self._data.delay_pattern, self._data.audio_bos_value)
        self.output.begin(slot, grid.to(device), request.prompt_frames, request.rows - self._data.max_delay)
        self.params.put(slot, request.params, request.params.seed or 0)

    @torch.inference_mode()
    def prefill(self, slot: int, start: int, end: int) -> None:
        """Read rows start … end-1 of the slot's grid into its caches; they lie before the prompt's last frame."""
        self.model.prefill(self.state, slot, self.output.grid[slot, start:end], start, self.constants)

    @torch.inference_mode()
    def step(self, count: int, span: int, text_span: int, top_k: int) -> StepResult:
        """One row for slots 0 … count-1.

        Args:
            span: the most rows any of them has, the new one excluded.
            text_span: the longest text among them.
            top_k: the largest cfg_filter_top_k among them.
        """
        output = self.output
        row = output.row[:count]
        logits = self.model.step(self.state, output.tokens(count), row, self.constants, span, text_span)
        finite = torch.isfinite(logits.sum(dim=(1, 2, 3)))
        params = self.params.first(count)
        candidates = min(max(MIN_CANDIDATES, 1 << (top_k - 1).bit_length()), logits.shape[-1])
        sampled = sample(logits[:, COND], logits[:, UNCOND], params, row + 1, output.eos, candidates)
        output.advance(sampled)
        extra = torch.stack((output.eos_row[:count], finite.long()), dim=1)
        return StepResult(torch.cat((output.tokens(count), extra), dim=1))

    @torch.inference_mode()
    def move(self, source: int, target: int, rows: int, text_rows: int) -> None:
        """Move a request with `rows` live rows to another slot."""
        self.state.move(source, target, rows, text_rows)
        self.output.move(source, target)
        self.params.move(source, target)

    @torch.inference_mode()
    def clear(self, slot: int) -> None:
        """Zero a slot's caches: a value that is not finite must not leak through a mask into its successor."""
        self.state.clear(slot)
