"""`Dia`, the one door to the model: load a checkpoint, turn text into speech, whole or as a stream."""

import logging
import math
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from dia import hub
from dia.adapters import MARKED, Adapter, load_adapter, mark_of
from dia.checkpoint import load_model
from dia.codec import Codec, read_frame_rate_hz
from dia.config import DiaConfig, Family
from dia.device import ComputeDtype, Placement, place
from dia.engine import Engine, EngineOptions, Priority, Request
from dia.engine.linear import choose_quantization
from dia.engine.options import choose_slots
from dia.engine.runner import Runner
from dia.errors import (
    BadParameter,
    BadPrompt,
    BadScript,
    CheckpointMismatch,
)
from dia.fingerprint import fingerprint
from dia.layers import DiaModel, count_parameters
from dia.media.encode import write_audio
from dia.prompts import AudioPrompt, PromptEncoder, VoicePrompt, read_voice, require_codec
from dia.sampling import MAX_SEED, SamplingParams
from dia.stream import SpeechStream
from dia.text.script import check_exact, prepare
from dia.text.tokens import encode_text

__all__ = ["ComputeDtype", "Dia", "SpeechStream", "VoicePrompt"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
AdapterFile = str | os.PathLike[str] | Adapter
"""An adapter of `dia finetune`: its file, or what `Dia.load_adapter` has read."""

BYTES_PER_SECOND = 15.0
"""Of English text spoken by Dia, for estimates only (about 15 characters a second)."""

NO_ROOM = "the text leaves no room for the default voice; its speakers are whoever the seed brings"

ADAPTERS_KEPT = 8
"""Adapters whose tensors are remembered, so that a file is read once: about 80 MB each for Dia-1.6B at rank 16."""

ONE_THREAD_BELOW = 50_000_000
"""Parameters of a model whose steps on a CPU are shorter than sharing them out takes: the bundled one needs 8 ms with
one thread and 11 ms with two."""


class Dia:
    """A loaded model with its codec and engine.

    Attributes:
        name: hub id, folder or file it came from.
        config: architecture, lengths, family.
        codec: None when loaded with `load_dac=False`.
        frame_rate_hz: frames per second of sound.
        defaults: the checkpoint's recommended sampling.
        default_voice: who speaks where no voice is given: the one in the checkpoint's folder, if there is one; None: whoever
            the seed brings. May be set.
        adapter: the one that requests are spoken with where they name none; None: the checkpoint's own weights.
        placement: device and number type.
        quantization: what the weights are held in besides ("int8", "int8-weights"); None: nothing.
        engine: takes requests; started by `start`, else driven by whoever waits for sound.
    """

    def __init__(
        self,
        model: DiaModel,
        codec: Codec | None,
        *,
        name: str,
        slots: int | None = None,
        quantization: str | None = None,
        options: EngineOptions | None = None,
        reload: Callable[[Adapter | None], DiaModel] | None = None,
        adapter: Adapter | None = None,
        default_voice: VoicePrompt | None = None,
        frame_rate_hz: float | None = None,
    ) -> None:
        """Use `from_pretrained` or `from_local`; this takes parts that are already loaded.

        The model's linear layers are exchanged in place for those that decode fastest on its device.

        Args:
            slots, quantization, options: as in `from_pretrained`.
            reload: loads the same model again after `unload`, with an adapter or without.
            adapter: the one in the weights of `model`.
            default_voice: see the attribute.
            frame_rate_hz: of the codes, where there is no codec to tell it; None: that of DAC at 44.1 kHz.

        Raises:
            CheckpointMismatch: the codec does not speak the model's codes. BadCodes: the default voice has others.
        """
        config = model.config
        if codec is not None:
            _check_codec(codec, config)
        self.codec, self.name, self.config, self.adapter = codec, name, config, adapter
        self._prompts = PromptEncoder(codec, config.data)
        self.frame_rate_hz = codec.frame_rate_hz if codec else frame_rate_hz or 44_100 / 512
        self.placement = Placement(model.device, model.dtype)
        self.defaults = SamplingParams(**config.defaults.model_dump())
        header = config.model_dump_json(exclude={"generation", "quantization", "sounds"})
        weights = model.state_dict()
        self._fingerprint, self._num_parameters = fingerprint(header, weights), count_parameters([model])
        self._shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        self._mark = mark_of(weights[MARKED])
        self.quantization = choose_quantization(quantization, config, self.placement)
        options = options or EngineOptions()
        if slots is not None:
            options = replace(options, slots=slots)
        weight_bytes = sum(tensor.nbytes for tensor in weights.values())
        del weights
        self._runner = Runner(
            model,
            choose_slots(config, self.placement, options, weight_bytes),
            lag=options.lag,
            quantization=self.quantization,
            reload=reload,
            adapter=adapter,
            kv_cache=options.kv_cache,
            graphs=options.graphs,
        )
        self.engine = Engine(
            self._runner, options.max_waiting, keep_alive_s=options.keep_alive_s, watchdog_s=options.watchdog_s
        )
        self.default_voice = None if default_voice is None else self.encode_prompt(default_voice)
        self._adapters: OrderedDict[tuple[object, ...], Adapter] = OrderedDict()
        self._adapters_lock = threading.Lock()

    @property
    def hangs_s(self) -> float:
        """How long a step of the engine's thread is overdue and has not come back, seconds; 0 while it is well."""
        health = self.engine.health
        return health.round_s if health.state == "wedged" else 0.0

    @property
    def captures_steps(self) -> bool:
        """Whether decode steps are replayed as captured graphs (CUDA, unless `EngineOptions.graphs` says no)."""
        return self._runner.captures

    @property
    def model(self) -> DiaModel:
        """The transformer, with the adapter of whatever ran last; loaded again if it was unloaded."""
        return self._runner.model

    def settle_threads(self) -> int:
        """Have torch use one thread in this process if the model is small and on a CPU; for applications to call.

        The sound is then decoded on another core meanwhile. Whoever sets OMP_NUM_THREADS has chosen already.

        Returns:
            The number of threads that torch uses now.
        """
        small = self.placement.device.type == "cpu" and self._num_parameters < ONE_THREAD_BELOW
        if small and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)
        return torch.get_num_threads()

    # ---- loading ----

    @classmethod
    def from_pretrained(
        cls,
        model_name: str | os.PathLike[str] = hub.DEFAULT_MODEL,
        compute_dtype: str | ComputeDtype | torch.dtype | None = None,
        device: str | torch.device | None = None,
        load_dac: bool = True,
        *,
        codec: str | os.PathLike[str] | None = None,
        family: Family | None = None,
        revision: str | None = None,
        offline: bool = False,
        token: str | bool | None = None,
        slots: int | None = None,
        quantization: str | None = None,
        options: EngineOptions | None = None,
        adapter: AdapterFile | None = None,
    ) -> "Dia":
        """A model from a local folder or the Hugging Face hub, in any of the three dialects.

        Args:
            model_name: folder, hub id "owner/name", "nano" (the small model that comes with the package), or "auto": see
                `dia.hub.choose_default`.
            compute_dtype: "float32", "float16" or "bfloat16"; None: bfloat16 on CUDA, else float32.
            device: "cuda", "mps", "cpu" or a torch.device; None: the best one here.
            load_dac: False loads no codec; `generate` then returns codes.
            codec: folder, original `.pth` file or hub id of the codec; None: the checkpoint's own, else DAC 44.1 kHz.
            family: overrides the family that the dialect of config.json implies ("v0_1" or "0626").
            revision, offline, token: see `dia.hub.from_hub`.
            slots: how many requests may run at once; None: from free memory.
            quantization: "int8" or "int8-weights" holds the weights in 8 bits (CPU): faster, a quarter of the memory, less
                exact (see `dia.engine.linear`). "none" does not. None: as the checkpoint advises for this device.
            options: more about the engine: memory limit, unloading when idle, waiting line.
            adapter: of `dia finetune`, for every request that names no other.

        Raises:
            CheckpointNotFound, CheckpointMismatch, DeviceUnavailable, CodecUnavailable, BadParameter.
        """
        placement = place(device, compute_dtype)
        if model_name == "auto":
            chosen = hub.choose_default(placement, offline=offline)
            _log.info("model: %s (%s)", chosen.model, chosen.reason)
            model_name = chosen.model
        source = hub.find(model_name, revision=revision, offline=offline, token=token)
        return cls._load(
            source, placement, load_dac, codec, family, offline, token, slots, quantization, options, adapter
        )

    @classmethod
    def from_local(
        cls,
        config_path: str | os.PathLike[str],
        checkpoint_path: str | os.PathLike[str],
        compute_dtype: str | ComputeDtype | torch.dtype | None = None,
        device: str | torch.device | None = None,
        load_dac: bool = True,
        *,
        codec: str | os.PathLike[str] | None = None,
        family: Family | None = None,
        offline: bool = False,
        slots: int | None = None,
        quantization: str | None = None,
        options: EngineOptions | None = None,
        adapter: AdapterFile | None = None,
    ) -> "Dia":
        """A model from its two files; arguments and errors as in `from_pretrained`."""
        placement = place(device, compute_dtype)
        source = hub.from_files(Path(config_path), Path(checkpoint_path))
        return cls._load(
            source, placement, load_dac, codec, family, offline, None, slots, quantization, options, adapter
        )

    @classmethod
    def _load(
        cls,
        source: hub.Source,
        placement: Placement,
        load_dac: bool,
        codec: str | os.PathLike[str] | None,
        family: Family | None,
        offline: bool,
        token: str | bool | None,
        slots: int | None,
        quantization: str | None,
        options: EngineOptions | None,
        adapter: AdapterFile | None,
    ) -> "Dia":
        config = DiaConfig.load(source.config, family)
        choose_quantization(quantization, config, placement)
        chosen = adapter if adapter is None or isinstance(adapter, Adapter) else load_adapter(adapter)
        model = load_model(config, source.weights, placement, chosen)
        loaded, rate_hz = None, None
        if load_dac:
            loaded = Codec.load(hub.find_codec(codec, source.codec, offline=offline, token=token), placement)
        elif source.codec is not None:
            rate_hz = read_frame_rate_hz(source.codec)
        return cls(
            model,
            loaded,
            name=source.name,
            slots=slots,
            quantization=quantization,
            options=options,
            reload=lambda adapter: load_model(config, source.weights, placement, adapter),
            adapter=chosen,
            default_voice=None if source.voice is None else read_voice(source.voice),
            frame_rate_hz=rate_hz,
        )

    # ---- speaking ----

    def generate(
        self,
        text: str | Sequence[str],
        max_tokens: int | None = None,
        cfg_scale: float | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        use_torch_compile: bool | None = None,
        cfg_filter_top_k: int | None = None,
        audio_prompt: AudioPrompt | Sequence[AudioPrompt | None] | None = None,
        *,
        transcript: str | Sequence[str | None] | None = None,
        seed: int | None = None,
        guidance: Literal["filter", "combined"] | None = None,
        exact_text: bool = False,
        adapter: AdapterFile | Sequence[AdapterFile | None] | None = None,
        verbose: bool = False,
    ) -> Any:
        """Speech for one text, or for several at once.

        Args:
            text: a script such as "[S1] Hello. [S2] Hi!", or a list of them.
            audio_prompt: a voice for every text, or a list with one (or None) for each.
            transcript: what is said in the prompt. None: the text holds it already, in front.
            seed: the same for every text of a list; None draws one for each.
            exact_text: send the text byte for byte, without repair; what a prompt says must then stand in it.
            adapter: of `dia finetune` for every text, or a list with one (or None) for each; None: the default one. See
                `stream` for what a change costs.
            verbose: tell on stderr how far each text is, about once for each second of speech.
            use_torch_compile: a hint that changes nothing here: steps are captured graphs on CUDA already, and `torch.compile`
                gains nothing on a CPU (docs/performance.md).
            others: None takes the checkpoint's default; ranges as in `SamplingParams`.

        Returns:
            float32 [samples] at `sample_rate_hz`; without a codec int16 codes [frames, channels]. A list in, a list out.

        Raises:
            BadInput: any of its kinds, before anything is generated. GenerationFailed: while generating.
        """
        params = self.defaults.updated(
            max_tokens=max_tokens,
            cfg_scale=cfg_scale,
            temperature=temperature,
            top_p=top_p,
            cfg_filter_top_k=cfg_filter_top_k,
            seed=seed,
            guidance=guidance,
        )
        is_list = isinstance(text, Iterable) and not isinstance(text, (str, bytes))
        texts = cast("list[str]", list(text) if is_list else [text])
        if not texts:
            raise BadParameter("the list of texts is empty; give at least one")
        for item in texts:
            _require_text(item)
        prompts = _one_for_each(texts, audio_prompt, "audio_prompt")
        transcripts = _one_for_each(texts, transcript, "transcript")
        for prompt, words in zip(prompts, transcripts, strict=True):
            if prompt is None and words:
                raise BadParameter(f"a transcript is given without audio_prompt ({words[:40]!r}); give its recording")
        voices = [
            None if prompt is None else self.encode_prompt(prompt, words or "")
            for prompt, words in zip(prompts, transcripts, strict=True)
        ]
        adapters = [
            None if item is None else self.load_adapter(item) for item in _one_for_each(texts, adapter, "adapter")
        ]
        streams: list[SpeechStream] = []
        try:
            for item, voice, chosen in zip(texts, voices, adapters, strict=True):
                streams.append(
                    self.stream(
                        item, prompt=voice, params=params, exact_text=exact_text, priority="batch", adapter=chosen
                    )
                )
                streams[-1].verbose = verbose
            results = [stream.run_codes() if self.codec is None else stream.run() for stream in streams]
        finally:
            for stream in streams:
                stream.close()
        return results if is_list else results[0]

    def stream(
        self,
        text: str,
        *,
        prompt: VoicePrompt | None = None,
        params: SamplingParams | None = None,
        exact_text: bool = False,
        close_tag: bool = True,
        holds_prompt: bool = True,
        priority: Priority = "interactive",
        deadline_s: float | None = None,
        adapter: AdapterFile | None = None,
    ) -> SpeechStream:
        """Start one passage and give back the iterator of its sound. Everything that can be refused is refused here.

        Args:
            prompt: a voice from `encode_prompt`; its transcript is put before the text. None: the default voice, unless
                `exact_text` is set or it leaves no room for the text (which is then a warning).
            params: None takes the checkpoint's defaults.
            close_tag: False leaves out the closing speaker tag that makes endings cleaner.
            holds_prompt: whether the text begins with what a prompt without transcript says (as `generate` has it). Models
                with a pointer have to know where to go on.
            deadline_s: give up after so many seconds, waiting included; at once if it is not above 0.
            adapter: of `dia finetune`; None: the default one. Passes with different adapters never run together: one with
                another waits until those that run have ended, and the weights are then loaded again, which takes about as
                long as loading the model.

        Raises:
            BadScript: empty, too long for one pass, unreadable. BadPrompt, BadCodes: the voice does not fit.
            BadParameter: max_tokens beyond the model or too small for the prompt; `exact_text` and a prompt whose
                transcript would have to go before it; an adapter for a model that was not loaded from files.
            CheckpointNotFound, CheckpointMismatch: the adapter. QueueFull, EngineStopped.
        """
        _require_text(text)
        if exact_text and prompt is not None and prompt.transcript.strip():
            raise BadParameter(
                "exact_text sends the text alone; put the prompt's transcript in front of it yourself and give the prompt "
                "without one"
            )
        chosen = self.adapter if adapter is None else self.load_adapter(adapter)
        params = params or self.defaults
        limit = self.config.data.text_length
        spoken_by_default = prompt is None and not exact_text and self.default_voice is not None
        prompt = self.default_voice if spoken_by_default else prompt
        if exact_text:
            prepared = check_exact(text, limit)
        else:
            words = prompt.transcript if prompt and prompt.transcript.strip() else None
            sounds = self.config.knows_sounds
            try:
                prepared = prepare(text, transcript=words, max_bytes=limit, close_tag=close_tag, knows_sounds=sounds)
            except BadScript:
                if not spoken_by_default:
                    raise
                prompt, spoken_by_default = None, False
                prepared = prepare(text, max_bytes=limit, close_tag=close_tag, knows_sounds=sounds)
                prepared = replace(prepared, warnings=(*prepared.warnings, NO_ROOM))
        codes = None if prompt is None else self._prompts.check(prompt.codes)
        if deadline_s is not None and math.isnan(deadline_s):
            raise BadParameter("deadline_s is not a number; give seconds, or None for no deadline")
        if spoken_by_default and codes is not None and params.max_tokens is not None:
            # Asked for are rows of speech; the caller knows of no prompt.
            self._rows(params, 0)
            params = params.updated(max_tokens=min(params.max_tokens + len(codes), self.config.data.audio_length))
        rows = self._rows(params, 0 if codes is None else len(codes))
        prompt_ids = prepared.num_transcript_bytes
        if codes is not None and not prompt_ids and holds_prompt:
            # How far the transcript goes, only the prompt's length tells.
            prompt_ids = round(len(codes) / self.frame_rate_hz * BYTES_PER_SECOND)
        seed = secrets.randbelow(MAX_SEED + 1) if params.seed is None else params.seed
        request = Request(
            text=encode_text(prepared.text),
            params=params.updated(seed=seed),
            rows=rows,
            prompt=codes,
            prompt_ids=prompt_ids,
            priority=priority,
            deadline=None if deadline_s is None else time.monotonic() + deadline_s,
            adapter=chosen,
        )
        ticket = self.engine.submit(request)
        new_bytes = prepared.num_bytes - prepared.num_transcript_bytes
        room = rows - max(self.config.data.max_delay, 1) - 1 - request.prompt_frames
        return SpeechStream(
            ticket,
            self.codec,
            None if self.engine.is_threaded else self.engine.step,
            channels=self.config.data.channels,
            seed=seed,
            text=prepared.text,
            warnings=prepared.warnings,
            frames_estimate=max(1, min(room, round(new_bytes / BYTES_PER_SECOND * self.frame_rate_hz))),
            frame_rate_hz=self.frame_rate_hz,
        )

    def _rows(self, params: SamplingParams, prompt_frames: int) -> int:
        """Decoder rows of one pass, checked against the model and the prompt."""
        data, rate = self.config.data, self.frame_rate_hz
        rows = params.max_tokens or data.audio_length
        if rows > data.audio_length:
            raise BadParameter(
                f"max_tokens is {rows}; one pass of this model has {data.audio_length}; use that or less"
            )
        least = prompt_frames + max(data.max_delay, 1) + 2
        if least > data.audio_length:
            room = data.audio_length - max(data.max_delay, 1) - 2
            raise BadPrompt(
                f"the voice prompt is {prompt_frames / rate:.1f} s ({prompt_frames} frames); at most {room / rate:.1f} s "
                f"({room} frames) fit this model; cut it shorter"
            )
        if rows < least:
            beside = f"with a prompt of {prompt_frames} frames " if prompt_frames else ""
            raise BadParameter(f"max_tokens is {rows}; {beside}at least {least} are needed for one frame of sound")
        return rows

    # ---- voices and files ----

    @property
    def sample_rate_hz(self) -> int:
        """Of all sound that goes in or comes out. Raises CodecUnavailable without a codec."""
        return require_codec(self.codec).sample_rate_hz

    def encode_prompt(self, audio: AudioPrompt, transcript: str = "") -> VoicePrompt:
        """A voice from a recording, a waveform, codes or an encoded prompt (whose transcript a given one replaces).

        Raises:
            BadPrompt: no audio, shorter than 0.5 s, longer than 60 s, silent. BadCodes: codes of a wrong shape or range.
            CodecUnavailable: sound was given and there is no codec.
        """
        return self._prompts.encode(audio, transcript)

    def load_audio(self, path: str | os.PathLike[str]) -> Array:
        """Codes int16 [frames, channels] of a recording; errors as in `encode_prompt`."""
        return self.encode_prompt(path).codes

    def save_audio(
        self, path: str | os.PathLike[str], audio: Array, *, metadata: dict[str, str] | None = None
    ) -> None:
        """Write a waveform; the format follows the extension (wav, flac, mp3, opus, aac, m4a). Atomic.

        Raises:
            UnknownFormat, OutputUnwritable.
        """
        write_audio(path, audio, self.sample_rate_hz, metadata=metadata)

    def load_adapter(self, adapter: AdapterFile) -> Adapter:
        """An adapter of `dia finetune` from its file, found to fit this model. The last eight are remembered.

        Raises:
            CheckpointNotFound: no such file. CheckpointMismatch: another kind of file, or trained on another model.
            BadParameter: this model was not loaded from files, so that its weights cannot be loaded with another adapter.
        """
        found = adapter if isinstance(adapter, Adapter) else self._read_adapter(Path(adapter).expanduser())
        found.check(self._shapes, self._mark)
        if found != self.adapter and not self._runner.can_unload:
            raise BadParameter(
                f"the adapter {found.name} needs the weights loaded anew, and this model was not loaded from files; load it "
                "with Dia.from_pretrained or Dia.from_local"
            )
        return found

    def _read_adapter(self, path: Path) -> Adapter:
        if not path.is_file():
            return load_adapter(path)  # which says what is wrong
        about = path.stat()
        key = (path.resolve(), about.st_mtime_ns, about.st_size, about.st_ino)
        with self._adapters_lock:
            found = self._adapters.get(key) or load_adapter(path)
            self._adapters[key] = found
            self._adapters.move_to_end(key)
            while len(self._adapters) > ADAPTERS_KEPT:
                self._adapters.popitem(last=False)
        return found

    # ---- life ----

    @property
    def model_hash(self) -> str:
        """Twelve hex digits that change with any bit of the weights as they are loaded, the default adapter included, and
        with the configuration.

        Made at load by reading the weights (`dia.fingerprint`): 0.15 s for each GB on one core of an EPYC.
        """
        return self._fingerprint

    @property
    def num_parameters(self) -> int:
        """Weights of the transformer, codec excluded."""
        return self._num_parameters

    def start(self) -> None:
        """Run the engine in its own thread: streams then make progress whoever waits, many at once."""
        if self.placement.device.type == "cuda":
            self._runner.reserve()
        self.engine.start()

    def unload(self) -> bool:
        """Give back the memory of weights and slots, if nothing runs; the next request loads them again.

        Returns:
            False where something runs or waits, or the model was not loaded from files.
        """
        return self.engine.unload()

    def close(self, drain_s: float = 0.0) -> None:
        """Stop the engine; running requests get `drain_s` seconds to finish."""
        self.engine.close(drain_s)


def _require_text(text: object) -> None:
    if not isinstance(text, str):
        raise BadScript(
            f"text is {type(text).__name__}, not a string; give the words to say, or a list of such strings"
        )


def _one_for_each(texts: list[str], given: Any, name: str) -> list[Any]:
    if not isinstance(given, (list, tuple)):
        return [given] * len(texts)
    if len(given) != len(texts):
        raise BadParameter(f"{name} has {len(given)} entries for {len(texts)} texts; give one for each, or None")
    return list(given)


def _check_codec(codec: Codec, config: DiaConfig) -> None:
    data = config.data
    if codec.num_codebooks != data.channels or codec.codebook_size != data.audio_eos_value:
        raise CheckpointMismatch(
            f"the codec has {codec.num_codebooks} codebooks of {codec.codebook_size} codes, the model speaks "
            f"{data.channels} channels of {data.audio_eos_value}; name the codec that belongs to the model"
        )
