"""Audio prompts: take in an audio file safely, check it, keep original and clean copy, transcript and cached codes.

A prompt is a folder: `original` (the bytes as they came), `audio.wav` (what the model hears from), `prompt.json`
(what is known of it) and `codes-….npy` (the codec's view, for one model and length). Knows no voices and no HTTP.
"""

import hashlib
import io
import json
import logging
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from dia.errors import BadParameter, BadPrompt, Conflict, DiaError, NotFound, OperatorError
from dia.media.encode import encode_audio
from dia.media.loudness import normalise
from dia.media.prompt_check import check_prompt, require_usable
from dia.media.read import read_audio, read_audio_with_info, resample
from dia.media.writers import INT16_SCALE
from dia.service import asr
from dia.service.asr import Transcriber
from dia.service.clock import Clock, wall_clock
from dia.service.counters import Counters
from dia.service.settings import ConfigStore, Settings
from dia.service.storage import DataFolder, check_id, disk_errors, replace_folder, restore_replaced, write_file
from dia.service.takes import TakePiece
from dia.service.trimming import cut_at_pause, cut_transcript

TranscriptSource = Literal["manual", "reference", "txt", "whisper", "generation", "bundled"]
PromptSource = Literal["upload", "discover", "generation", "bundled", "import"]
SAMPLE_RATE_HZ = 44_100
MIN_PROMPT_S, MAX_PROMPT_S = 0.5, 60.0
MAX_TRANSCRIPT_CHARS = 4096
NORMAL_LUFS = -23.0  # the broadcast level of EBU R 128: quiet enough to leave headroom, loud enough for the codec
SLOWEST_CHARS_PER_S, FASTEST_CHARS_PER_S = 5.0, 30.0  # slow and fast speakers are at about 9 and 20
_LEVEL_FAULTS = {"clipped", "quiet"}
AUDIO_EXTENSIONS = frozenset(
    [".wav", ".mp3", ".m4a", ".mp4", ".flac", ".ogg", ".opus", ".aac", ".webm", ".mka", ".wma"]
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PromptInfo:
    """What is known of a prompt. `sha256` is the hash of the original bytes; times are seconds since 1970.

    `report` is the quality check's finding, field by field; `codes_model_hash` is set if the prompt came as codes.
    """

    id: str
    name: str
    duration_s: float
    sample_rate_hz: int
    original_sample_rate_hz: int
    original_channels: int | None
    container: str
    size_bytes: int
    sha256: str
    source: PromptSource
    uploaded_at: float
    transcript: str | None = None
    transcript_source: TranscriptSource | None = None
    language: str | None = None
    codes_model_hash: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a look into the watched folder brought: new or changed prompts, and files that were refused and why."""

    total_prompts: int
    discovered: tuple[PromptInfo, ...]
    refused: Mapping[str, str]


class PromptStore:
    """All prompts of a server. Any thread may call; decoding happens outside the lock."""

    def __init__(
        self,
        *,
        folder: DataFolder,
        settings: Settings,
        config: ConfigStore,
        transcriber: Transcriber,
        counters: Counters,
        clock: Clock = wall_clock,
    ) -> None:
        """Reads what is stored; a damaged prompt is left alone and reported in the log."""
        self.transcriber = transcriber
        self._folder = folder
        self._settings = settings
        self._config = config
        self._counters = counters
        self._clock = clock
        self._lock = threading.RLock()
        self._used_s: dict[tuple[str, str, float], float] = {}
        restore_replaced(folder.room("prompts"))
        self._infos = self._load()

    def all(self) -> dict[str, PromptInfo]:
        """Prompts by id, oldest first; bundled ones left out."""
        with self._lock:
            infos = [info for info in self._infos.values() if info.source != "bundled"]
        return {info.id: info for info in sorted(infos, key=lambda info: info.uploaded_at)}

    def exists(self, prompt_id: str) -> bool:
        with self._lock:
            return prompt_id in self._infos

    def get(self, prompt_id: str) -> PromptInfo:
        """One prompt.

        Raises:
            NotFound
        """
        with self._lock:
            info = self._infos.get(prompt_id)
        if info is None:
            raise NotFound(f"no audio prompt {prompt_id[:64]!r}; GET /audio_prompts lists them")
        return info

    def audio_path(self, prompt_id: str) -> Path:
        """The clean copy, a WAV file, for listening.

        Raises:
            NotFound
        """
        return self._folder.place("prompts", self.get(prompt_id).id, "audio.wav")

    def upload(
        self,
        prompt_id: str,
        source: bytes | BinaryIO | Path,
        *,
        transcript: str | None = None,
        transcript_source: TranscriptSource = "manual",
        name: str | None = None,
        language: str | None = None,
        overwrite: bool = False,
        origin: PromptSource = "upload",
    ) -> PromptInfo:
        """Decode, check and store a recording of 0.5 to 60 s; a transcript is made if none is given and ASR is ready.

        Raises:
            BadParameter: an id or transcript that may not be one; Conflict: it exists and `overwrite` is not set;
            BadPrompt: empty, too large, no audio, too short or too long, silent; DiskFull, OutputUnwritable.
        """
        check_id("prompt", prompt_id)
        transcript = clean_transcript(transcript)
        if self.exists(prompt_id) and not overwrite:
            raise Conflict(f"audio prompt {prompt_id!r} exists; choose another id or set overwrite")
        data = self._read_bytes(source)
        waveform, audio = read_audio_with_info(
            data,
            sample_rate_hz=SAMPLE_RATE_HZ,
            max_duration_s=MAX_PROMPT_S,
            time_limit_s=self._settings.decode_timeout_s,
        )
        self._counters.add("upload_bytes_total", len(data))
        info = PromptInfo(
            id=prompt_id, name=(name or prompt_id)[:120], duration_s=len(waveform) / SAMPLE_RATE_HZ, sample_rate_hz=SAMPLE_RATE_HZ,
            original_sample_rate_hz=audio.sample_rate_hz, original_channels=audio.channels, container=audio.container,
            size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), source=origin, uploaded_at=self._clock(),
            transcript=transcript, transcript_source=transcript_source if transcript else None, language=language,
        )  # fmt: skip
        info, waveform = _checked(info, waveform)
        info = self._transcribed_if_ready(info, waveform)
        return self._store(info, waveform, data, None, overwrite)

    def add_take(self, prompt_id: str, piece: TakePiece, sample_rate_hz: int, model_hash: str) -> PromptInfo:
        """Store a piece of a finished generation: its very codes, so nothing is lost by coding again.

        Raises:
            BadParameter, Conflict: see `upload`; BadPrompt: shorter than 0.5 s.
        """
        check_id("prompt", prompt_id)
        taken_s = len(piece.waveform) / sample_rate_hz
        if taken_s < MIN_PROMPT_S:
            raise BadPrompt(
                f"the take is {taken_s:.2f} s; at least {MIN_PROMPT_S} s make a voice; speak a longer text"
            )
        waveform = resample(piece.waveform.astype(np.float32) / INT16_SCALE, sample_rate_hz, SAMPLE_RATE_HZ)
        wav = encode_audio(waveform, SAMPLE_RATE_HZ, "wav")
        info = PromptInfo(
            id=prompt_id, name=prompt_id, duration_s=len(waveform) / SAMPLE_RATE_HZ, sample_rate_hz=SAMPLE_RATE_HZ,
            original_sample_rate_hz=sample_rate_hz, original_channels=1, container="codes", size_bytes=len(wav),
            sha256=hashlib.sha256(wav).hexdigest(), source="generation", uploaded_at=self._clock(),
            transcript=piece.text, transcript_source="generation", codes_model_hash=model_hash,
        )  # fmt: skip
        return self._store(info, waveform, wav, piece.codes, False)

    def set_transcript(
        self, prompt_id: str, transcript: str | None, source: TranscriptSource = "manual", language: str | None = None
    ) -> PromptInfo:
        """Replace the words, or take them away with None.

        Raises:
            NotFound, BadParameter
        """
        words = clean_transcript(transcript)
        with self._lock:
            old = self.get(prompt_id)
            info = replace(
                old, transcript=words, transcript_source=source if words else None, language=language or old.language
            )
            self._write_info(info)
        return info

    def transcribe(self, prompt_id: str) -> PromptInfo:
        """Hear the words by ASR and store them.

        Raises:
            NotFound; MissingExtra, OperatorError: no ASR here; BadPrompt: no words heard.
        """
        info = self.get(prompt_id)
        self.transcriber.load(self._config.current.whisper_model_size)
        waveform = read_audio(self.audio_path(prompt_id), sample_rate_hz=asr.SAMPLE_RATE_HZ)
        heard = self.transcriber.transcribe(waveform)
        if not heard.text:
            raise BadPrompt(f"no words heard in audio prompt {prompt_id!r}; give its transcript by hand")
        return self.set_transcript(info.id, heard.text, "whisper", heard.language)

    def discover(self, *, force_retranscribe: bool = False) -> Discovery:
        """Take in the audio files of the watched folder: the id is the file name without its ending.

        Words come from `NAME.reference.txt`, then `NAME.txt`, then what is stored if the audio is unchanged, then
        ASR if it is ready.
        """
        discovered: list[PromptInfo] = []
        refused: dict[str, str] = {}
        folder = self._settings.watched_prompts_dir
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in paths:
            if path.suffix.lower() not in AUDIO_EXTENSIONS or path.is_symlink() or not path.is_file():
                continue
            try:
                info = self._discover_file(path, force_retranscribe)
            except DiaError as error:
                refused[path.name] = str(error)
                continue
            if info is not None:
                discovered.append(info)
        return Discovery(len(self.all()), tuple(discovered), refused)

    def delete(self, prompt_id: str) -> None:
        """Delete files and all. Whether a voice uses it is asked by `VoiceStore.delete_prompt`.

        Raises:
            NotFound
        """
        with self._lock:
            info = self.get(prompt_id)
            path = self._folder.place("prompts", info.id)
            doomed = path.with_name(f".unfinished-{uuid.uuid4().hex}")
            with disk_errors():
                path.rename(doomed)
            del self._infos[prompt_id]
        _remove_folder(doomed)

    def codes(self, prompt_id: str, model: Any, max_s: float) -> np.ndarray:
        """Codes int16 [frames, channels] of the first `max_s` seconds at most, cut at a pause; encoded once per model.

        Args:
            model: a `SpeechModel`.

        Raises:
            NotFound; BadPrompt, CodecUnavailable: from the model.
        """
        info = self.get(prompt_id)
        used_s = self.used_duration_s(prompt_id, max_s)
        if info.codes_model_hash == model.model_hash:
            whole: np.ndarray = np.load(self._folder.place("prompts", prompt_id, "codes.npy"), allow_pickle=False)
            return whole[: max(round(len(whole) * used_s / info.duration_s), 1)]
        key = hashlib.sha256(f"{model.model_hash} {info.sha256} {used_s:.3f}".encode()).hexdigest()[:24]
        path = self._folder.place("prompts", prompt_id, f"codes-{key}.npy")
        if path.is_file():
            return np.asarray(np.load(path, allow_pickle=False))
        waveform = read_audio(self.audio_path(prompt_id), sample_rate_hz=model.sample_rate_hz)
        kept = waveform[: round(used_s * model.sample_rate_hz)]
        codes = np.asarray(model.encode_prompt(kept, "[S1] prompt").codes)
        write_file(path, _npy(codes))
        return codes

    def used_duration_s(self, prompt_id: str, max_s: float) -> float:
        """How much of a prompt the model hears if it may hear `max_s`."""
        info = self.get(prompt_id)
        if info.duration_s <= max_s:
            return info.duration_s
        key = (prompt_id, info.sha256, max_s)
        if key not in self._used_s:
            waveform = read_audio(self.audio_path(prompt_id), sample_rate_hz=SAMPLE_RATE_HZ)
            self._used_s[key] = cut_at_pause(waveform, SAMPLE_RATE_HZ, max_s) / SAMPLE_RATE_HZ
        return self._used_s[key]

    def transcript_for_use(self, prompt_id: str, max_s: float, given: str | None = None) -> str | None:
        """The words in the part that the model hears, out of `given` or the prompt's own; None if none are known."""
        info = self.get(prompt_id)
        whole = given or info.transcript
        if whole is None:
            return None
        return cut_transcript(whole, self.used_duration_s(prompt_id, max_s) / info.duration_s)

    def files(self, prompt_id: str) -> dict[str, bytes]:
        """The files that make up a prompt, for export: `original`, `prompt.json`, and `codes.npy` if it came so."""
        folder = self._folder.place("prompts", self.get(prompt_id).id)
        names = ("original", "prompt.json", "codes.npy")
        return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}

    def restore(
        self, prompt_id: str, files: Mapping[str, bytes], *, overwrite: bool, origin: PromptSource = "import"
    ) -> PromptInfo:
        """Take in what `files` gave, from anywhere: audio is decoded and checked as in an upload.

        Raises:
            What `upload` raises; BadParameter: files that were not made by `files`.
        """
        try:
            known = json.loads(files["prompt.json"])
            original = files["original"]
            transcript, name = known.get("transcript"), known.get("name")
            language, model_hash = known.get("language"), known.get("codes_model_hash")
        except (KeyError, ValueError, AttributeError) as error:
            raise BadParameter(f"prompt {prompt_id!r} in the archive is incomplete; export it again") from error
        info = self.upload(
            prompt_id, original, transcript=transcript, name=name, language=language, overwrite=overwrite,
            origin=origin,
        )  # fmt: skip
        if "codes.npy" in files and isinstance(model_hash, str):
            codes = _checked_codes(prompt_id, files["codes.npy"])
            with self._lock:
                info = replace(info, codes_model_hash=model_hash)
                write_file(self._folder.place("prompts", prompt_id, "codes.npy"), _npy(codes))
                self._write_info(info)
        return info

    def take_bundled(self, prompt_id: str, files: Mapping[str, bytes]) -> None:
        """Take in a prompt of the package, unless it is there already; one of a user under that id stays.

        Raises:
            Conflict: there is one of a user; and what `restore` raises.
        """
        known = self._infos.get(prompt_id)
        if known is not None and known.source != "bundled":
            raise Conflict(f"audio prompt {prompt_id!r} was uploaded by a user and is left alone")
        if known is None or known.sha256 != hashlib.sha256(files["original"]).hexdigest():
            self.restore(prompt_id, files, overwrite=True, origin="bundled")

    def _discover_file(self, path: Path, force_retranscribe: bool) -> PromptInfo | None:
        prompt_id = check_id("prompt", path.stem)
        words, source = _sidecar_words(path)
        known = self._infos.get(prompt_id)
        data = self._read_bytes(path)
        if known is not None and known.sha256 == hashlib.sha256(data).hexdigest():
            if words is not None and words != known.transcript:
                return self.set_transcript(prompt_id, words, source)
            if words is None and force_retranscribe and known.transcript_source in (None, "whisper"):
                return self.transcribe(prompt_id)
            return None
        if known is not None and known.source != "discover":
            raise Conflict(f"audio prompt {prompt_id!r} exists and is not from this folder; rename the file")
        return self.upload(
            prompt_id, data, transcript=words, transcript_source=source, overwrite=True, origin="discover"
        )

    def _read_bytes(self, source: bytes | BinaryIO | Path) -> bytes:
        limit = self._settings.max_upload_bytes
        if isinstance(source, Path):
            with source.open("rb") as file:
                data = file.read(limit + 1)
        else:
            data = source if isinstance(source, bytes) else source.read(limit + 1)
        if not data:
            raise BadPrompt("the audio file is empty; send a recording")
        if len(data) > limit:
            raise BadPrompt(f"the audio file is over {limit} bytes; that is the most; send a shorter or smaller one")
        return data

    def _transcribed_if_ready(self, info: PromptInfo, waveform: np.ndarray) -> PromptInfo:
        if info.transcript or not self._config.current.auto_transcribe or not self.transcriber.is_available:
            return info
        try:
            # Nobody asked for a download here, only whoever calls /whisper/load does.
            self.transcriber.load(self._config.current.whisper_model_size, may_download=False)
            heard = self.transcriber.transcribe(resample(waveform, SAMPLE_RATE_HZ, asr.SAMPLE_RATE_HZ))
        except OperatorError as error:
            return replace(info, warnings=(*info.warnings, f"not transcribed: {error}"))
        if not heard.text:
            return replace(info, warnings=(*info.warnings, "no words heard; give the transcript by hand"))
        return replace(
            info, transcript=heard.text, transcript_source="whisper", language=info.language or heard.language
        )

    def _store(
        self, info: PromptInfo, waveform: np.ndarray, original: bytes, codes: np.ndarray | None, overwrite: bool
    ) -> PromptInfo:
        unfinished = self._folder.room("prompts") / f".unfinished-{uuid.uuid4().hex}"
        with disk_errors():
            unfinished.mkdir()
        try:
            with disk_errors():
                (unfinished / "original").write_bytes(original)
                (unfinished / "audio.wav").write_bytes(encode_audio(waveform, SAMPLE_RATE_HZ, "wav"))
                (unfinished / "prompt.json").write_bytes(_json(info))
                if codes is not None:
                    (unfinished / "codes.npy").write_bytes(_npy(codes))
            with self._lock:
                if info.id in self._infos and not overwrite:
                    raise Conflict(f"audio prompt {info.id!r} exists; choose another id or set overwrite")
                replace_folder(unfinished, self._folder.place("prompts", info.id))
                self._infos[info.id] = info
        except BaseException:
            _remove_folder(unfinished)
            raise
        return info

    def _write_info(self, info: PromptInfo) -> None:
        write_file(self._folder.place("prompts", info.id, "prompt.json"), _json(info))
        self._infos[info.id] = info

    def _load(self) -> dict[str, PromptInfo]:
        known = {item.name for item in fields(PromptInfo)}
        infos = {}
        for path in sorted(self._folder.room("prompts").glob("*/prompt.json")):
            try:
                values = {name: value for name, value in json.loads(path.read_bytes()).items() if name in known}
                values["warnings"] = tuple(values.get("warnings", ()))
                info = PromptInfo(**values)
            except (OSError, ValueError, TypeError) as error:
                _logger.warning("audio prompt %s is damaged and left out: %s", path.parent.name, error)
                continue
            infos[info.id] = info
        return infos


def clean_transcript(transcript: str | None) -> str | None:
    """Words on one line, or None if there are none.

    Raises:
        BadParameter: longer than 4096 characters.
    """
    words = " ".join((transcript or "").split())
    if len(words) > MAX_TRANSCRIPT_CHARS:
        raise BadParameter(
            f"transcript is {len(words)} characters; at most {MAX_TRANSCRIPT_CHARS}; cut audio and words"
        )
    return words or None


def _checked(info: PromptInfo, waveform: np.ndarray) -> tuple[PromptInfo, np.ndarray]:
    """The quality report in the info, and the sound at a level that the codec hears well."""
    report = check_prompt(waveform, SAMPLE_RATE_HZ)
    require_usable(report)
    found = {finding.name: finding.message for finding in report.findings}
    if _LEVEL_FAULTS & set(found):
        waveform = normalise(waveform, SAMPLE_RATE_HZ, NORMAL_LUFS)
    pace = _pace_warning(info.transcript, info.duration_s * (1 - report.silence_share))
    warnings = (*found.values(), *pace)
    facts = {key: value for key, value in asdict(report).items() if key != "findings"}
    return replace(info, report={**facts, "findings": found}, warnings=warnings), waveform


def _pace_warning(transcript: str | None, speech_s: float) -> tuple[str, ...]:
    """Words that cannot be those of the recording: far more or fewer than anybody says in that time."""
    if transcript is None or speech_s <= 0:
        return ()
    pace = len(transcript) / speech_s
    if SLOWEST_CHARS_PER_S <= pace <= FASTEST_CHARS_PER_S:
        return ()
    return (
        f"transcript has {pace:.0f} characters for each second of speech; usual are {SLOWEST_CHARS_PER_S:g} to "
        f"{FASTEST_CHARS_PER_S:g}; check that it is what is said in the recording",
    )


def _sidecar_words(path: Path) -> tuple[str | None, TranscriptSource]:
    sources: tuple[tuple[str, TranscriptSource], ...] = ((".reference.txt", "reference"), (".txt", "txt"))
    for ending, source in sources:
        sidecar = path.with_name(path.stem + ending)
        if sidecar.is_file() and not sidecar.is_symlink():
            words = sidecar.read_text(encoding="utf-8", errors="replace")[: 4 * MAX_TRANSCRIPT_CHARS]
            return clean_transcript(words), source
    return None, "txt"


def _checked_codes(prompt_id: str, data: bytes) -> np.ndarray:
    try:
        codes = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadParameter(f"codes of prompt {prompt_id!r} in the archive are damaged; export it again") from error
    if codes.ndim != 2 or codes.dtype.kind not in "iu" or not len(codes):
        raise BadParameter(
            f"codes of prompt {prompt_id!r} in the archive are {codes.dtype} {codes.shape}; export again"
        )
    return np.asarray(codes)


def _npy(codes: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(codes), allow_pickle=False)
    return buffer.getvalue()


def _json(info: PromptInfo) -> bytes:
    return json.dumps(asdict(info), ensure_ascii=False, indent=1, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
