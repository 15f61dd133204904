"""What a recording is worth as a voice prompt: measurements, and for each fault a sentence with its cure.

Everything is read off the power of 20 ms frames and one spectrum; nothing is decided about who speaks or what.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dia.errors import BadParameter, BadPrompt
from dia.media.loudness import integrated_loudness

__all__ = ["Finding", "PromptReport", "check_prompt", "require_usable"]

MIN_DURATION_S, MAX_DURATION_S = 0.5, 60.0
# Lossy files decode to slightly more than was encoded; see `read.py`.
_DURATION_TOLERANCE_S = 0.1
_BEST_MIN_S, _BEST_MAX_S = 3.0, 20.0
_FRAME_S = 0.020
_SILENCE_DBFS = -60.0
# Stands for anything below: reports go out as JSON, which has no infinity.
_LEAST_DB = -120.0
# Frames this far below the loud ones (95th percentile) are pauses between words.
_PAUSE_RANGE_DB = 30.0
_CLIPPED_AT = 0.999
_SPECTRUM_SIZE = 2048

Severity = Literal["refused", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: a stable name, whether it makes the recording useless, and a sentence with value, limit and cure."""

    name: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class PromptReport:
    """Measurements of a recording.

    Attributes:
        duration_s: length.
        loudness_lufs: integrated loudness; -120 for silence, as for the other levels.
        peak_dbfs: highest sample.
        clipped_share: samples in runs of two or more at full scale, 0 to 1.
        silence_share: frames of 20 ms that are pauses or silence, 0 to 1.
        noise_floor_dbfs: RMS of the quietest tenth of the frames.
        snr_db: loud frames over the noise floor, an estimate; None if there is no pause to measure the noise in.
        bandwidth_hz: the frequency below which 99.9 % of the power above 100 Hz lies.
        findings: what is wrong, the worst first.
    """

    duration_s: float
    loudness_lufs: float
    peak_dbfs: float
    clipped_share: float
    silence_share: float
    noise_floor_dbfs: float
    snr_db: float | None
    bandwidth_hz: float
    findings: tuple[Finding, ...]

    @property
    def is_usable(self) -> bool:
        """Whether no finding refuses the recording."""
        return all(finding.severity != "refused" for finding in self.findings)


def check_prompt(waveform: np.ndarray, sample_rate_hz: int) -> PromptReport:
    """Measures a recording (float [samples], ±1) and says what is wrong with it. Never raises for a bad recording.

    Raises:
        BadParameter: not a mono float array, or a rate below 8,000 Hz.
    """
    if waveform.ndim != 1 or waveform.dtype.kind != "f":
        raise BadParameter(f"waveform is {waveform.dtype} of shape {waveform.shape}; it must be mono floats [samples]")
    samples = np.asarray(waveform, dtype=np.float64)
    frames_db = _frame_levels(samples, sample_rate_hz)
    loud_db = float(np.percentile(frames_db, 95))
    floor_db = float(np.percentile(frames_db, 10))
    pause_share = float(np.mean(frames_db < max(loud_db - _PAUSE_RANGE_DB, _SILENCE_DBFS)))
    report = PromptReport(
        duration_s=len(samples) / sample_rate_hz,
        loudness_lufs=max(_LEAST_DB, integrated_loudness(samples, sample_rate_hz)),
        peak_dbfs=_decibels(float(np.abs(samples).max(initial=0.0))),
        clipped_share=_clipped_share(samples),
        silence_share=pause_share,
        noise_floor_dbfs=floor_db,
        # Without a pause the quietest frames are speech, and say nothing about the noise.
        snr_db=loud_db - floor_db if loud_db - floor_db >= 10.0 else None,
        bandwidth_hz=_bandwidth(samples, sample_rate_hz),
        findings=(),
    )
    findings = sorted(_findings(report, loud_db), key=lambda finding: finding.severity != "refused")
    return replace(report, findings=tuple(findings))


def require_usable(report: PromptReport) -> None:
    """Raises BadPrompt with the first finding that refuses the recording, if there is one."""
    for finding in report.findings:
        if finding.severity == "refused":
            raise BadPrompt(finding.message)


def _findings(report: PromptReport, loud_db: float) -> list[Finding]:
    found = _duration_findings(report.duration_s)
    if loud_db < _SILENCE_DBFS:
        level = f"prompt is silent, its level is {loud_db:.1f} dBFS"
        found.append(Finding("silent", "refused", _message(level, "at least -60", "record it louder")))
        return found
    if report.clipped_share > 0.001:
        share = f"{report.clipped_share:.2%} of the samples are clipped"
        found.append(Finding("clipped", "warning", _message(share, "at most 0.1 %", "record it with less gain")))
    if report.loudness_lufs < -40.0:
        level = f"loudness is {report.loudness_lufs:.0f} LUFS"
        found.append(Finding("quiet", "warning", _message(level, "best above -40", "record closer to the microphone")))
    if report.snr_db is not None and report.snr_db < 25.0:
        noise = f"speech is {report.snr_db:.0f} dB above the noise"
        found.append(Finding("noisy", "warning", _message(noise, "best above 25", "record in a quieter room")))
    if report.silence_share > 0.5:
        pauses = f"{report.silence_share:.0%} of the recording is pause or silence"
        found.append(Finding("pauses", "warning", _message(pauses, "best below 50 %", "cut the pauses out")))
    if report.bandwidth_hz < 3_400.0:
        band = f"the sound ends at {report.bandwidth_hz:,.0f} Hz"
        found.append(Finding("muffled", "warning", _message(band, "best above 3,400", "use a better recording")))
    return found


def _duration_findings(duration_s: float) -> list[Finding]:
    length = f"prompt is {duration_s:.2f} s"
    if duration_s < MIN_DURATION_S:
        cure = "send 5 to 10 s of clean speech"
        return [Finding("too_short", "refused", _message(length, f"at least {MIN_DURATION_S:g} s", cure))]
    if duration_s > MAX_DURATION_S + _DURATION_TOLERANCE_S:
        return [Finding("too_long", "refused", _message(length, f"at most {MAX_DURATION_S:g} s", "cut it shorter"))]
    if duration_s < _BEST_MIN_S:
        return [Finding("short", "warning", _message(length, f"best from {_BEST_MIN_S:g} s up", "add more speech"))]
    if duration_s > _BEST_MAX_S:
        return [Finding("long", "warning", _message(length, f"best up to {_BEST_MAX_S:g} s", "keep the best part"))]
    return []


def _message(value: str, limit: str, cure: str) -> str:
    return f"{value}; {limit}; {cure}"


def _frame_levels(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """RMS of each whole frame in dBFS [frames]; one frame for a shorter sound."""
    frame = round(sample_rate_hz * _FRAME_S)
    whole = samples[: len(samples) // frame * frame].reshape(-1, frame)
    if not len(whole):
        whole = samples.reshape(1, -1) if len(samples) else np.zeros((1, 1))
    power = np.maximum(np.mean(whole**2, axis=1), 10.0 ** (_LEAST_DB / 10.0))
    levels: np.ndarray = 10.0 * np.log10(power)
    return levels


def _clipped_share(samples: np.ndarray) -> float:
    """A single sample at full scale is a normalised peak; two in a row are a flattened one."""
    full = np.abs(samples) >= _CLIPPED_AT
    flattened = np.zeros(len(full) + 1, bool)
    flattened[1:-1] = full[1:] & full[:-1]
    return float(np.mean(flattened[:-1] | flattened[1:])) if len(full) else 0.0


def _bandwidth(samples: np.ndarray, sample_rate_hz: int) -> float:
    window = np.hanning(_SPECTRUM_SIZE)
    power = np.zeros(_SPECTRUM_SIZE // 2 + 1)
    for start in range(0, len(samples) - _SPECTRUM_SIZE + 1, _SPECTRUM_SIZE):
        power += np.abs(np.fft.rfft(samples[start : start + _SPECTRUM_SIZE] * window)) ** 2
    frequencies = np.arange(len(power)) * sample_rate_hz / _SPECTRUM_SIZE
    # Hum and rumble would hide where speech ends.
    power[frequencies < 100.0] = 0.0
    total = np.cumsum(power)
    return float(frequencies[np.searchsorted(total, 0.999 * total[-1])]) if total[-1] > 0.0 else 0.0


def _decibels(amplitude: float) -> float:
    return max(_LEAST_DB, 20.0 * math.log10(amplitude)) if amplitude > 0.0 else _LEAST_DB
