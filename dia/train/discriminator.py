"""A small judge of spectrograms that a codec's decoder learns to please, and the losses between the two.

Log magnitude spectrograms at several resolutions, each seen by a stack of 2-D convolutions that halve the
frequency axis (after the multi-resolution discriminators of UnivNet, Jang et al. 2021, and EnCodec, Defossez et al.
2022; magnitudes only and 16 channels, because the codec itself is small). Hinge losses, features matched as in
MelGAN (Kumar et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm


@dataclass(frozen=True)
class Judgement:
    """`scores` of one resolution (positive = taken for real) and the `features` it was judged by."""

    scores: Tensor
    features: tuple[Tensor, ...]

    def float(self) -> Judgement:
        """In float32."""
        return Judgement(self.scores.float(), tuple(feature.float() for feature in self.features))


class SpectrogramJudge(nn.Module):
    """One resolution: hop is a quarter of `window`."""

    taper: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        sizes = [1, channels, channels, channels, channels]
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    sizes[i], sizes[i + 1], (5, 3) if i else (7, 3), stride=(2, 1), padding=(3 if i == 0 else 2, 1)
                )
            )
            for i in range(len(sizes) - 1)
        )
        self.last = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: Tensor) -> Judgement:
        """[batch, samples] → scores [batch, 1, bands, frames]."""
        spectrum = torch.stft(waveform, self.window, self.window // 4, window=self.taper, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1)
        # Range about -1 … 1 for speech, so that the first layer starts well scaled.
        x = 0.2 * (power + 1e-6).log()[:, None]
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.1)
            features.append(x)
        return Judgement(self.last(x), tuple(features))


class Discriminator(nn.Module):
    """Several resolutions side by side."""

    def __init__(self, windows: Sequence[int] = (1024, 512, 256), channels: int = 16) -> None:
        super().__init__()
        self.judges = nn.ModuleList(SpectrogramJudge(window, channels) for window in windows)

    def forward(self, waveform: Tensor) -> list[Judgement]:
        """Judgements of [batch, samples], one per resolution."""
        return [judge(waveform) for judge in self.judges]


def judge_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Hinge loss of the discriminator; 2 when it cannot tell, 0 when it always can by a margin."""
    total = real[0].scores.new_zeros(())
    for one, other in zip(real, fake, strict=True):
        total = total + functional.relu(1 - one.scores).mean() + functional.relu(1 + other.scores).mean()
    return total / len(real)


def decoder_losses(real: Sequence[Judgement], fake: Sequence[Judgement]) -> tuple[Tensor, Tensor]:
    """(adversarial, feature matching) losses of the decoder; features of `real` are taken as given."""
    adversarial = fake[0].scores.new_zeros(())
    matching = fake[0].scores.new_zeros(())
    count = 0
    for one, other in zip(real, fake, strict=True):
        adversarial = adversarial - other.scores.mean()
        for wanted, got in zip(one.features, other.features, strict=True):
            matching = matching + (got - wanted.detach()).abs().mean() / wanted.detach().abs().mean().clamp_min(1e-4)
            count += 1
    return adversarial / len(fake), matching / count
