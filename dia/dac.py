"""DAC's decoder as a stream: every frame is computed once, whatever the pieces that it comes in.

Each layer needs a few inputs beyond the one that it answers, and no more. So a stream remembers the last inputs of every
layer, with zeros before the first and behind the last as `DacModel.decode` has them, and the pieces join to what that
makes of the whole. Walks through the modules of a transformers `DacModel`; knows nothing of files and windows.

Legend: `n` streams, `T` steps of a layer's input, `C` channels, `Q` codebooks. Sound is [n, T, C] inside, all channels of
a step together: products are fastest on that, and pieces are joined without moving what is in them.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from transformers import DacModel

SNAKE_VALUES = 1 << 17
"""Values that Snake takes at a time: its four passes then find them in the cache."""

Past = tuple[torch.Tensor, ...]
"""What streams remember: for each layer its last inputs, [n, kept, C]."""


class _Layer:
    """A part of the decoder.

    Attributes:
        takes, gives: channels of input and output.
        padding: zeros before the first and behind the last input of a stream.
        kept: inputs that the next output needs again.
        rise: outputs for each input.
        cut: outputs that are dropped at the beginning and at the end of a stream.
    """

    def __init__(self, conv: Any, *, padding: int, kept: int, rise: int = 1, cut: tuple[int, int] = (0, 0)) -> None:
        self.takes, self.gives = int(conv.in_channels), int(conv.out_channels)
        self.padding, self.kept, self.rise, self.cut = padding, kept, rise, cut

    def write(self, x: torch.Tensor, out: torch.Tensor) -> None:
        """Answer x [n, kept + T, takes] into `out` [n, T * rise, gives]."""
        raise NotImplementedError


class _Convolution(_Layer):
    """A convolution, behind Snake where there is one."""

    def __init__(self, conv: Any, snake: Any | None = None) -> None:
        super().__init__(conv, padding=conv.padding[0], kept=_reach(conv))
        self._conv, self._snake = _laid_out(conv), snake

    def write(self, x: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(_convolve(self._conv, x if self._snake is None else _snake(self._snake, x)))


class _Residual(_Layer):
    """A residual unit: x + conv2(snake(conv1(snake(x)))), where conv2 looks at one step."""

    def __init__(self, unit: Any) -> None:
        super().__init__(unit.conv1, padding=unit.conv1.padding[0], kept=_reach(unit.conv1))
        _laid_out(unit.conv1)
        self._unit = unit

    def write(self, x: torch.Tensor, out: torch.Tensor) -> None:
        unit = self._unit
        y = _convolve(unit.conv1, _snake(unit.snake1, x))
        y = _snake(unit.snake2, y, out=y)
        torch.add(x[:, self.padding : self.padding + y.shape[1]], unit.conv2.bias, out=out)
        out.baddbmm_(y, _for_all(unit.conv2.weight[..., 0].T, y))


class _Transposed(_Layer):
    """Snake, and a transposed convolution of kernel 2 s and stride s.

    The s outputs between two inputs come of these two alone: two products with s * C columns.
    """

    def __init__(self, snake: Any, conv: Any) -> None:
        stride, padding = conv.stride[0], conv.padding[0]
        if conv.kernel_size[0] != 2 * stride:
            raise ValueError(f"DAC's transposed convolutions are of kernel 2 s and stride s, not {conv}")
        super().__init__(conv, padding=1, kept=1, rise=stride, cut=(padding, padding - conv.output_padding[0]))
        conv.weight.data = conv.weight.data.permute(2, 1, 0).contiguous().permute(2, 1, 0)
        self._snake, self._conv = snake, conv

    def write(self, x: torch.Tensor, out: torch.Tensor) -> None:
        after, before = (
            self._conv.weight.permute(0, 2, 1).flatten(1).chunk(2, dim=1)
        )  # [C, s * C'] for an output's sides
        x, spread = _snake(self._snake, x), out.unflatten(1, (-1, self.rise)).flatten(2)
        torch.baddbmm(self._conv.bias.repeat(self.rise), x[:, 1:], _for_all(after, x), out=spread)
        spread.baddbmm_(x[:, :-1], _for_all(before, x))


class DacStream:
    """The decoder of a model, for any number of streams. It remembers none of them: `decode` takes and gives their past."""

    def __init__(self, model: "DacModel") -> None:
        """Lays the decoder's weights out anew in memory; their shapes and values stay."""
        decoder = cast(Any, model.decoder)
        self._quantizers = cast(Any, model.quantizer).quantizers
        self._layers: list[_Layer] = [_Convolution(decoder.conv1)]
        for block in decoder.block:
            self._layers.append(_Transposed(block.snake1, block.conv_t1))
            self._layers += [_Residual(unit) for unit in (block.res_unit1, block.res_unit2, block.res_unit3)]
        self._layers.append(_Convolution(decoder.conv2, decoder.snake1))

    @torch.inference_mode()
    def decode(self, codes: torch.Tensor, past: Past | None, is_last: bool) -> tuple[torch.Tensor, Past]:
        """Go on with n streams.

        Args:
            codes: int64 [n, Q, T] on the model's device. At the beginning T is beyond the decoder's reach, or all there is.
            past: what the last call gave; None at the beginning.
            is_last: no more will come.

        Returns:
            All samples that are certain by now, float32 [n, samples], and the past for the next call.
        """
        x = self._latents(codes)
        begins = past or tuple(x.new_zeros(len(x), layer.padding, layer.takes) for layer in self._layers)
        ends = [layer.padding if is_last else 0 for layer in self._layers]
        x = torch.cat((begins[0], x, x.new_zeros(len(x), ends[0], x.shape[-1])), dim=1)
        kept = []
        for layer, begin, end in zip(self._layers, (*begins[1:], x[:, :0, :1]), (*ends[1:], 0), strict=True):
            kept.append(x[:, x.shape[1] - layer.kept :].clone())
            made = (x.shape[1] - layer.kept) * layer.rise
            # The answers are written to where the next layer takes them; what is cut off lies under the ends.
            room = x.new_empty(len(x), begin.shape[1] + made + end, layer.gives)
            layer.write(x, room[:, begin.shape[1] : begin.shape[1] + made])
            first, last = 0 if past else layer.cut[0], layer.cut[1] if is_last else 0
            x = room[:, first : room.shape[1] - last]
            x[:, : begin.shape[1]] = begin
            x[:, x.shape[1] - end :] = 0
        return x[..., 0].tanh(), tuple(kept)

    def _latents(self, codes: torch.Tensor) -> torch.Tensor:
        """What the codes stand for, [n, T, C]."""
        parts = (
            F.linear(part.codebook(codes[:, index]), part.out_proj.weight[..., 0], part.out_proj.bias)
            for index, part in enumerate(self._quantizers)
        )
        return torch.stack(tuple(parts)).sum(0)


def _reach(conv: Any) -> int:
    return int(conv.dilation[0] * (conv.kernel_size[0] - 1))


def _laid_out(conv: Any) -> Any:
    """The convolution; what its weight [C', C, k] holds for a step lies together in memory."""
    conv.weight.data = conv.weight.data.transpose(1, 2).contiguous().transpose(1, 2)
    return conv


def _convolve(conv: Any, x: torch.Tensor) -> torch.Tensor:
    """[n, T, C] to [n, T - reach, C'], without padding. As an image of one line: only images may lie so in memory."""
    out = F.conv2d(x.transpose(1, 2).unsqueeze(2), conv.weight.unsqueeze(2), conv.bias, dilation=(1, conv.dilation[0]))
    return out.squeeze(2).transpose(1, 2)


def _for_all(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return weight.expand(len(x), -1, -1)


def _snake(snake: Any, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """x + sin²(alpha x) / alpha, into `out` (which may be x)."""
    alpha = snake.alpha.view(-1)
    inverse = (alpha + 1e-9).reciprocal()
    out = torch.empty_like(x) if out is None else out
    steps = max(1, SNAKE_VALUES // (len(x) * len(alpha)))
    for part, into in zip(x.split(steps, dim=1), out.split(steps, dim=1), strict=True):
        torch.addcmul(part, (part * alpha).sin_().square_(), inverse, out=into)
    return out
