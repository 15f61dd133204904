"""The tensors of one device: takes requests into slots, reads voice prompts in, makes one step for all at once.

No queues, no threads, no host synchronisation in `step`: what the host needs is packed into one small tensor, which
may be read some steps later (`Runner.lag`).

Legend: `n` running slots, `C` channels, `B` branches.
"""

import contextlib
import gc
from collections.abc import Callable

import torch

from dia.adapters import Adapter
from dia.audio import delay_prompt
from dia.engine.graphs import StepGraphs
from dia.engine.linear import Quantization, prepare
from dia.engine.request import Request
from dia.engine.shapes import StepResult, StepShape
from dia.engine.voices import VOICE_CACHE_BYTES, VoiceCache, voice_key
from dia.layers import DiaModel
from dia.sampling import SamplingTensors, draw_streams, sample
from dia.state import BRANCHES, COND, UNCOND, DecoderInferenceState, DecoderOutput, EncoderInferenceState, KVKind

ROW_BLOCK, TEXT_BLOCK = 256, 128
"""Rows and text bytes by which slots grow."""

PREFILL_ROWS = {"cpu": 32, "mps": 128, "cuda": 256}
"""Rows of a voice prompt read in between two steps, so that running streams do not stall: about one step's time."""

LAG = {"cpu": 0, "mps": 0, "cuda": 4}
"""Steps that are launched before the result of the first is looked at, so that the device never waits for the host."""


class Runner:
    """A loaded model with places for up to `slots` requests. Room is taken as it is needed."""

    def __init__(
        self,
        model: DiaModel,
        slots: int,
        *,
        lag: int | None = None,
        quantization: Quantization | None = None,
        reload: Callable[[Adapter | None], DiaModel] | None = None,
        adapter: Adapter | None = None,
        voice_cache_bytes: int = VOICE_CACHE_BYTES,
        kv_cache: KVKind = "full",
        graphs: bool = True,
        rounds: bool = False,
    ) -> None:
        """
        Args:
            lag: how many steps may be launched before the first one's result is read; None: by device.
            quantization: what the weights are held in, see `dia.engine.linear`.
            reload: loads the model again, with an adapter or without; without it a model can neither be unloaded nor swap
                adapters.
            adapter: the one that the model has been loaded with.
            kv_cache: how keys and values are kept, see `dia.state.KVCache`.
            graphs: capture steps where the device can (CUDA).
            rounds: make steps in rounded shapes, as captured graphs do, on any device.
        """
        self.config, self.slots = model.config, slots
        self.device, self.dtype = model.device, model.dtype
        self.lag = LAG[self.device.type] if lag is None else lag
        self.prefill_rows = PREFILL_ROWS[self.device.type]
        self._quantization, self._reload = quantization, reload
        self._adapter = adapter
        self._data = model.config.data
        self._voice_cache_bytes, self._kv_cache = voice_cache_bytes, kv_cache
        self._graphs, self._rounds = graphs, rounds
        self._loaded: _Loaded | None = None
        self._load(model)

    # ---- life ----

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None

    @property
    def captures(self) -> bool:
        """Whether steps are captured graphs."""
        if self._loaded is not None:
            return self._loaded.graphs.usable
        return self._graphs and self.device.type == "cuda"

    @property
    def model(self) -> DiaModel:
        """The model; loaded again if it was unloaded."""
        return self._tensors.model

    @property
    def _tensors(self) -> "_Loaded":
        if self._loaded is None:
            assert self._reload is not None
            self._load(self._reload(self._adapter))
        assert self._loaded is not None
        return self._loaded

    @torch.inference_mode()
    def _load(self, model: DiaModel) -> None:
        prepare(model, self._quantization)
        self._loaded = self._around(model)

    def _around(self, model: DiaModel) -> "_Loaded":
        graphs = StepGraphs(self.device, wanted=self._graphs, rounds=self._rounds)
        return _Loaded(model, self.slots, self._voice_cache_bytes, self._kv_cache, graphs)

    @property
    def can_unload(self) -> bool:
        return self._reload is not None

    def unload(self) -> None:
        """Give back all memory of weights, slots and voices; the next request loads them again."""
        if self._reload is not None and self._loaded is not None:
            self._loaded = None
            gc.collect()
            self.release_memory()

    @property
    def adapter(self) -> Adapter | None:
        """The one in the weights."""
        return self._adapter

    def swap(self, adapter: Adapter | None) -> None:
        """Have another adapter in the weights, or none: they are loaded again, and everything that was made from them is
        made anew. Nothing may run."""
        assert self._reload is not None, "callers check that the model can be loaded again"
        self.unload()
        self._adapter = adapter

    def release_memory(self) -> None:
        """Give memory that nothing uses back to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def drop_voices(self) -> None:
        """Forget what is kept of voices; a way to find memory."""
        if self._loaded is not None:
            self._loaded.voices.clear()

    @torch.inference_mode()
    def reset(self) -> None:
        """Throw away what is in the slots, their memory included."""
        if self._loaded is not None:
            model, graphs = self._loaded.model, self._loaded.graphs
            graphs.forget()
            self._loaded = None
            self.release_memory()
            self._loaded = self._around(model)

    @torch.inference_mode()
    def reserve(self) -> None:
        """Take the memory of all slots at full length now, and get ready to run them without further allocation."""
        loaded = self._tensors
        loaded.state.reserve(self.slots, self._data.audio_length, self._data.text_length)
        loaded.graphs.capture_all(self)

    @property
    def state(self) -> DecoderInferenceState:
        return self._tensors.state

    @property
    def output(self) -> DecoderOutput:
        return self._tensors.output

    @property
    def voices(self) -> VoiceCache:
        return self._tensors.voices

    # ---- work ----

    @torch.inference_mode()
    def begin(self, slot: int, request: Request) -> None:
        """Put a request into a slot: encode its text, lay out its grid. Its prompt is read in by `prefill`."""
        loaded, device = self._tensors, self.device
        self._make_room(slot + 1, request.prompt_frames + 1, len(request.text))
        memory = loaded.model.encode(EncoderInferenceState.new([request.text], device))
        cross = loaded.model.decoder.cross_keys_values(memory)
        loaded.state.put_text(slot, cross, len(request.text), request.prompt_end)
        prompt = torch.zeros(0, self._data.channels, dtype=torch.int64)
        if request.prompt is not None:
            prompt = torch.from_numpy(request.prompt.astype("int64"))
        grid = delay_prompt(prompt, request.rows, self._data.delay_pattern, self._data.audio_bos_value)
        # Without any delay the end still takes a row of its own.
        stop_row = request.rows - max(self._data.max_delay, 1)
        loaded.output.begin(slot, grid.to(device), request.prompt_frames, stop_row)
        seed = request.params.seed or 0
        loaded.params.put(slot, request.params, seed, self.config.learnt_guidance)
        rows = torch.arange(self._data.audio_length)
        loaded.streams[slot] = draw_streams(torch.full_like(rows, seed), rows, self._data.channels).to(device)
        loaded.only_conditional[slot] = request.prompt is not None and (
            not self.config.needs_guidance(request.params.cfg_scale)
            or loaded.voices.restore(voice_key(request.prompt), loaded.state, slot)
        )

    @torch.inference_mode()
    def prefill(self, slot: int, request: Request, start: int, end: int) -> None:
        """Read rows start … end-1 of the slot's prompt into its caches."""
        loaded = self._tensors
        loaded.model.prefill(
            loaded.state,
            slot,
            loaded.output.grid[slot, start:end],
            start,
            loaded.constants,
            text_length=len(request.text),
            only_conditional=loaded.only_conditional[slot],
            spoken=self._prompt_places(request, start, end),
        )
        if end == request.prompt_frames and request.prompt is not None and not loaded.only_conditional[slot]:
            with contextlib.suppress(torch.OutOfMemoryError):
                loaded.voices.keep(voice_key(request.prompt), loaded.state, slot, end)

    def _prompt_places(self, request: Request, start: int, end: int) -> torch.Tensor | None:
        """Where a prompt's rows stand in the text, [end - start]: on a straight line, for want of better knowledge."""
        if self.config.model.pointer is None:
            return None
        share = torch.arange(start, end, dtype=torch.float32, device=self.device) / request.prompt_frames
        return request.first_spoken + share * (request.prompt_end - request.first_spoken)

    @torch.inference_mode()
    def step(self, shape: StepShape) -> StepResult:
        """One row for slots 0 … n-1. Repeatable after running out of memory: nothing moves on before the last line."""
        loaded = self._tensors
        self._make_room(shape.count, shape.span, shape.text_span)
        return loaded.graphs.step(self, shape)

    def compute(self, shape: StepShape) -> torch.Tensor:
        """The work of `step` as device operations alone; `packed` of `StepResult`."""
        loaded, count = self._tensors, shape.count
        output = loaded.output
        row = output.row[:count]
        logits = loaded.model.step(
            loaded.state,
            output.tokens(count),
            row,
            loaded.constants,
            shape.span,
            shape.text_span,
            BRANCHES if shape.guided else 1,
        )
        finite = torch.isfinite(logits.sum(dim=(1, 2, 3)))
        next_row = (row + 1).clamp_max(self._data.audio_length - 1)
        sampled = sample(
            logits[:, COND],
            logits[:, UNCOND if shape.guided else COND],
            loaded.params.first(count),
            next_row,
            output.eos,
            shape.candidates(logits.shape[-1]),
            any_combined=shape.combined,
            streams=loaded.streams[output.slot_ids[:count], next_row],
        )
        output.advance(sampled)
        if self.config.model.pointer is not None:
            loaded.state.follow(count, output.finished[:count])
        extra = torch.stack((output.eos_row[:count], finite.long()), dim=1)
        return torch.cat((output.tokens(count), extra), dim=1)

    def _make_room(self, slots: int, rows: int, text_rows: int) -> None:
        """Let the caches grow to hold this, doubling up to what the model has."""
        loaded, data = self._tensors, self._data
        state = loaded.state
        if slots <= state.slots and rows <= state.rows and text_rows <= state.text_rows:
            return
        moved = state.reserve(
            min(max(slots, 2 * state.slots), self.slots) if slots > state.slots else state.slots,
            min(max(_round_up(rows, ROW_BLOCK), 2 * state.rows), data.audio_length) if rows > state.rows else 0,
            min(_round_up(text_rows, TEXT_BLOCK), data.text_length),
        )
        if moved:
            loaded.graphs.forget()

    @torch.inference_mode()
    def move(self, source: int, target: int, rows: int, text_rows: int) -> None:
        """Move a request with `rows` live rows to another slot."""
        loaded = self._tensors
        loaded.state.move(source, target, min(rows, loaded.state.rows), text_rows)
        loaded.output.move(source, target)
        loaded.params.move(source, target)
        loaded.streams[target] = loaded.streams[source]
        loaded.only_conditional[target] = loaded.only_conditional[source]

    @torch.inference_mode()
    def activate(self, slot: int) -> None:
        """Let the request in a slot, its prompt read in, take part in steps."""
        self.output.activate(slot)

    @torch.inference_mode()
    def retire(self, slot: int) -> None:
        """Declare a slot unused."""
        self.output.retire(slot)

    @torch.inference_mode()
    def clear(self, slot: int) -> None:
        """Zero a slot's caches: a value that is not finite must not leak through a mask into its successor."""
        self.state.clear(slot)


class _Loaded:
    """Everything of a runner that `unload` gives back."""

    def __init__(
        self, model: DiaModel, slots: int, voice_cache_bytes: int, kv_cache: KVKind, graphs: StepGraphs
    ) -> None:
        data, device = model.config.data, model.device
        self.model = model
        rows, text_rows = min(ROW_BLOCK, data.audio_length), min(TEXT_BLOCK, data.text_length)
        self.state = DecoderInferenceState.new(model.config, 1, rows, text_rows, device, model.dtype, kv_cache)
        self.output = DecoderOutput.new(model.config, slots, data.audio_length, device)
        self.params = SamplingTensors.empty(slots, device)
        self.streams = torch.zeros(slots, data.audio_length, data.channels, dtype=torch.int64, device=device)
        self.voices = VoiceCache(voice_cache_bytes)
        self.only_conditional = [False] * slots  # nobody needs the unconditional branch, or it is there already
        self.constants = model.unconditional_constants()
        self.graphs = graphs


def _round_up(value: int, block: int) -> int:
    return -(-value // block) * block
