"""What a codec's decoder is trained to make small: distances of mel spectra, and of the low band with its phase."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dia.measured.mel import mel_filters

LOG_FLOOR = 1e-4


class MultiScaleMel(nn.Module):
    """Two distances of mel spectra, each the mean over several windows with a hop of a quarter window.

    `log`: |log10 x - log10 y| (as in DAC), every band alike however quiet; magnitudes below -80 dB of a full-scale
    sine count as equal. `peaks`: |sqrt x - sqrt y| relative to the mean of sqrt y, where loud bands count most: with
    the logarithm alone the harmonics of a voice, few bins among many, stay too weak for long.
    """

    def __init__(self, sample_rate_hz: int, windows: Sequence[int], bands: Sequence[int]) -> None:
        super().__init__()
        self.windows = tuple(windows)
        for window, count in zip(windows, bands, strict=True):
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)
            self.register_buffer(f"mel_{window}", mel_filters(sample_rate_hz, window, count), persistent=False)

    def mel(self, waveform: Tensor, window: int) -> Tensor:
        """[batch, samples] to mel magnitudes [batch, bands, frames]; a full-scale sine gives about 0.5 in its band."""
        taper: Tensor = getattr(self, f"window_{window}")
        filters: Tensor = getattr(self, f"mel_{window}")
        spectrum = torch.stft(waveform, window, window // 4, window=taper, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1)
        return filters @ ((power + 1e-9).sqrt() * (2.0 / window))

    def forward(self, estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(`log`, `peaks`) of two [batch, samples]; both 0 for equal sounds."""
        log, peaks = estimate.new_zeros(()), estimate.new_zeros(())
        for window in self.windows:
            with torch.no_grad():
                wanted = self.mel(target, window)
            got = self.mel(estimate, window)
            log = log + (got.clamp_min(LOG_FLOOR).log10() - wanted.clamp_min(LOG_FLOOR).log10()).abs().mean()
            peaks = peaks + (got.sqrt() - wanted.sqrt()).abs().mean() / wanted.sqrt().mean().clamp_min(1e-3)
        return log / len(self.windows), peaks / len(self.windows)


class LowBandPhase(nn.Module):
    """How far the phases of two sounds differ below `top_hz`: 1 - cos of the angle between their spectra, weighted by
    the square root of the target's magnitude. 0 for equal phases, 1 for random ones.

    Low harmonics follow from the voice's phase. Magnitudes are left out on purpose: a distance of complex spectra is
    least for silence wherever the phase cannot be told, and made everything above the third harmonic 10 dB too soft.
    """

    window: Tensor

    def __init__(self, sample_rate_hz: int, top_hz: float = 1500.0, window: int = 512) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self._bins = max(2, round(top_hz * window / sample_rate_hz))

    def spectrum(self, waveform: Tensor) -> Tensor:
        """[batch, samples] to real and imaginary parts [batch, bins, frames, 2]."""
        size = len(self.window)
        whole = torch.stft(waveform, size, size // 4, window=self.window, return_complex=True)
        return torch.view_as_real(whole[:, 1 : self._bins])

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.spectrum(target)
            power = wanted.square().sum(-1)
        got = self.spectrum(estimate)
        lengths = ((got.square().sum(-1) + 1e-6) * (power + 1e-6)).sqrt()
        cosine = (got * wanted).sum(-1) / lengths
        weight = power.pow(0.25)
        return (weight * (1 - cosine)).sum() / weight.sum().clamp_min(1e-6)
