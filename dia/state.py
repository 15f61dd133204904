"""What inference remembers between steps: text, keys and values, and the grid of tokens, for a fixed number of slots.

Each running request owns one slot; slots `0 … n-1` are the running ones, so that a step works on views and copies
nothing. Memory is taken once; reads are bounded by the lengths that are live.

Legend: `S` slots, `n` running slots, `B`=2 branches (0 conditional, 1 unconditional), `L` layers, `H` heads, `T` rows,
`D` head width, `C` channels, `E` encoder width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Literal

import torch

from dia.config import DiaConfig

COND, UNCOND, BRANCHES = 0, 1, 2
SMALLEST = 1e-12
"""Largest value of a row below which its scale in 8 bits no longer shrinks."""

KVKind = Literal["full", "int8"]


@dataclass(frozen=True, slots=True)
class EncoderInferenceState:
    """A batch of texts at their true lengths.

    Attributes:
        ids: int64 [N, S], padded with 0 behind each text.
        lengths: int64 [N].
    """

    ids: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def new(cls, texts: list[list[int]], device: torch.device) -> "EncoderInferenceState":
        lengths = torch.tensor([len(text) for text in texts], device=device)
        ids = torch.zeros(len(texts), max(len(text) for text in texts), dtype=torch.int64, device=device)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text, device=device)
        return cls(ids, lengths)

    @property
    def mask(self) -> torch.Tensor | None:
        """bool [N, 1, 1, S], True on text; None when every text fills its row."""
        if len(self.lengths) == 1:
            return None
        return (torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None])[:, None, None]


Place = tuple[int | slice | EllipsisType, ...]
"""Which rows of a cache: an index over all its axes but the last."""


class KVCache:
    """Keys and values of one decoder layer for all slots: [2, S, B, H, T, D] (self attention) or [2, S, H, T, D] (cross
    attention), keys first.

    Attributes:
        tensors: what is stored: the values alone, or int8 values and one scale a row, float32 [..., 1].
    """

    __slots__ = ("dtype", "tensors")

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, kind: KVKind = "full") -> None:
        """Zeros. `dtype` is what rows come and go in; `kind` "int8" keeps them in 8 bits, each with a scale of its own: a
        row is off by at most 1/254 of its largest value."""
        self.dtype = dtype
        if kind == "full":
            self.tensors = [torch.zeros(shape, dtype=dtype, device=device)]
        else:
            scales = torch.zeros((*shape[:-1], 1), device=device)
            self.tensors = [torch.zeros(shape, dtype=torch.int8, device=device), scales]

    @property
    def shape(self) -> torch.Size:
        return self.tensors[0].shape

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    def write(self, places: torch.Tensor, rows: torch.Tensor) -> None:
        """Store rows [m, D] at `places` int64 [m], counted over all axes but the last."""
        for tensor, part in zip(self.tensors, self._stored(rows), strict=True):
            tensor.view(-1, tensor.shape[-1]).index_copy_(0, places, part)

    def put(self, place: Place, rows: torch.Tensor) -> None:
        """Store rows [..., D]."""
        for tensor, part in zip(self.tensors, self._stored(rows), strict=True):
            tensor[place] = part

    def get(self, place: Place) -> torch.Tensor:
        """Rows [..., D] as attention reads them."""
        return self._read([tensor[place] for tensor in self.tensors])

    def read(self, count: int, span: int, branches: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of rows 0 … span-1 of the first `count` slots.

        `branches`: of self attention, the first so many, folded into the batch.
        """
        live = [tensor[:, :count, ..., :span, :] for tensor in self.tensors]
        if branches is not None:
            live = [part[:, :, :branches].flatten(1, 2) for part in live]
        rows = self._read(live)
        return rows[0], rows[1]

    def copy(self, place: Place) -> list[torch.Tensor]:
        """What is stored there, to be put back by `restore`."""
        return [tensor[place].clone() for tensor in self.tensors]

    def restore(self, place: Place, stored: list[torch.Tensor]) -> None:
        """Put back what `copy` gave."""
        for tensor, part in zip(self.tensors, stored, strict=True):
            tensor[place] = part

    def resize(self, slots: int, rows: int) -> None:
        """Room for so many slots and rows; what fits stays."""
        self.tensors = [_resized(tensor, slots, rows) for tensor in self.tensors]

    def _stored(self, rows: torch.Tensor) -> list[torch.Tensor]:
        if len(self.tensors) == 1:
            return [rows]
        exact = rows.float()
        scales = exact.abs().amax(-1, keepdim=True).clamp_min(SMALLEST) / 127
        return [(exact / scales).round().to(torch.int8), scales]

    def _read(self, stored: list[torch.Tensor]) -> torch.Tensor:
        if len(stored) == 1:
            return stored[0]
        values, scales = stored
        return values.to(self.dtype) * scales.to(self.dtype)


@dataclass(slots=True)
class ChunkView:
    """One layer's cache while one slot reads in rows it already knows (a voice prompt)."""

    cache: KVCache
    slot: int
    start: int
    branches: int = BRANCHES  # the first so many

    def update(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store k, v [B, H, T, D] at rows start … start+T-1; give back rows 0 … start+T-1."""
        end = self.start + k.shape[2]
        branches = slice(self.branches)
        for kind, rows in enumerate((k, v)):
            self.cache.put((kind, self.slot, branches, slice(None), slice(self.start, end)), rows)
        whole = self.cache.get((slice(None), self.slot, branches, slice(None), slice(end)))
        return whole[0], whole[1]


@dataclass(slots=True)
class DecoderInferenceState:
    """Keys and values of every slot: self attention for both branches, cross attention for the conditional one.

    The unconditional branch needs no cross attention: its output there is one constant per layer (see
    `dia.layers.DiaModel.unconditional_constants`). Room grows on demand (`reserve`), so that what was never used was
    never taken.
    """

    self_kv: list[KVCache]
    cross_kv: list[KVCache]
    text_lengths: torch.Tensor  # int64 [S]
    pointer: torch.Tensor  # float32 [S], the place in the text that was just spoken
    heading: torch.Tensor  # float32 [S], where the frame stands that is generated now
    # Where row 0 of (slot, branch, head) stands in a flattened self cache, keys then values per head: [S, B, 2 H].
    bases: torch.Tensor

    @classmethod
    def new(
        cls,
        config: DiaConfig,
        slots: int,
        rows: int,
        text_rows: int,
        device: torch.device,
        dtype: torch.dtype,
        kind: KVKind = "full",
    ) -> "DecoderInferenceState":
        """Empty slots. `kind`: how keys and values are kept, see `KVCache`."""
        decoder = config.model.decoder
        own = (2, slots, BRANCHES, decoder.kv_heads, rows, decoder.gqa_head_dim)
        cross = (2, slots, decoder.cross_query_heads, text_rows, decoder.cross_head_dim)

        return cls(
            self_kv=[KVCache(own, dtype, device, kind) for _ in range(decoder.n_layer)],
            cross_kv=[KVCache(cross, dtype, device, kind) for _ in range(decoder.n_layer)],
            text_lengths=torch.ones(slots, dtype=torch.int64, device=device),
            pointer=torch.zeros(slots, device=device),
            heading=torch.zeros(slots, device=device),
            bases=_bases(slots, decoder.kv_heads, rows, device),
        )

    @staticmethod
    def bytes_per_slot(config: DiaConfig, rows: int, text_rows: int, dtype: torch.dtype, kind: KVKind = "full") -> int:
        """Memory of one slot in bytes."""
        decoder = config.model.decoder

        def row_bytes(width: int) -> int:
            return width * dtype.itemsize if kind == "full" else width + torch.float32.itemsize

        own = BRANCHES * decoder.kv_heads * rows * row_bytes(decoder.gqa_head_dim)
        cross = decoder.cross_query_heads * text_rows * row_bytes(decoder.cross_head_dim)
        return 2 * decoder.n_layer * (own + cross)

    @property
    def slots(self) -> int:
        return len(self.text_lengths)

    @property
    def rows(self) -> int:
        return self.self_kv[0].shape[-2]

    @property
    def text_rows(self) -> int:
        return self.cross_kv[0].shape[-2]

    def reserve(self, slots: int, rows: int, text_rows: int) -> bool:
        """Make room for so many slots, decoder rows and text bytes; what is stored stays. True if anything moved.

        Layers grow one after the other, so that memory peaks at the new size plus one layer. Without memory for it
        everything is put back as it was and the allocator's error is raised.
        """
        old = (self.slots, self.rows, self.text_rows)
        new = (max(slots, old[0]), max(rows, old[1]), max(text_rows, old[2]))
        if new == old:
            return False
        try:
            self._resize(*new)
        except (RuntimeError, MemoryError):
            self._resize(*old)
            raise
        lengths = torch.ones(new[0], dtype=torch.int64, device=self.text_lengths.device)
        lengths[: old[0]] = self.text_lengths
        more = lengths.new_zeros(new[0] - old[0], dtype=torch.float32)
        self.pointer, self.heading = torch.cat((self.pointer, more)), torch.cat((self.heading, more))
        self.bases = _bases(new[0], self.self_kv[0].shape[3], new[1], lengths.device)
        self.text_lengths = lengths
        return True

    def _resize(self, slots: int, rows: int, text_rows: int) -> None:
        for cache in self.cross_kv:
            cache.resize(slots, text_rows)
        for cache in self.self_kv:
            cache.resize(slots, rows)

    def places(self, rows: torch.Tensor, branches: int = BRANCHES) -> torch.Tensor:
        """Where row `rows` [n] of slots 0 … n-1 goes in a flattened self cache: int64 [n*branches*2H]."""
        return (self.bases[: len(rows), :branches] + rows[:, None, None]).flatten()

    def put_text(
        self, slot: int, cross: list[tuple[torch.Tensor, torch.Tensor]], length: int, place: float = 0.0
    ) -> None:
        """Store one request's cross keys and values, each [1, H, length, D] per layer, and where its speech begins."""
        for cache, (k, v) in zip(self.cross_kv, cross, strict=True):
            cache.put((0, slot, slice(None), slice(length)), k[0])
            cache.put((1, slot, slice(None), slice(length)), v[0])
        self.text_lengths[slot] = length
        self.pointer[slot] = place

    def follow(self, count: int, stands: torch.Tensor) -> None:
        """The frame that was generated is now the one just spoken, for slots 0 … count-1 less those that stand still.

        `stands` bool [count]. A slot whose prompt is still being read in may take part in steps of rounded shape.
        """
        self.pointer[:count] = torch.where(stands, self.pointer[:count], self.heading[:count])

    def move(self, source: int, target: int, rows: int, text_rows: int) -> None:
        """Copy one slot's live rows over another's."""
        for caches, count in ((self.self_kv, rows), (self.cross_kv, text_rows)):
            for tensor in _tensors(caches):
                tensor[:, target, ..., :count, :] = tensor[:, source, ..., :count, :]
        self.text_lengths[target] = self.text_lengths[source]
        self.pointer[target] = self.pointer[source]

    def clear(self, slot: int) -> None:
        """Zero a slot: a value that is not finite must not leak through a mask into its successor."""
        for tensor in _tensors((*self.self_kv, *self.cross_kv)):
            tensor[:, slot].zero_()


def _tensors(caches: Iterable[KVCache]) -> Iterator[torch.Tensor]:
    return (tensor for cache in caches for tensor in cache.tensors)


def _resized(old: torch.Tensor, slots: int, rows: int) -> torch.Tensor:
    shape = [2, slots, *old.shape[2:]]
    shape[-2] = rows
    if list(old.shape) == shape:
        return old
    new = old.new_zeros(shape)
    slots, rows = min(slots, old.shape[1]), min(rows, old.shape[-2])
    new[:, :slots, ..., :rows, :] = old[:, :slots, ..., :rows, :]
    return new


def _bases(slots: int, heads: int, rows: int, device: torch.device) -> torch.Tensor:
    """[S, B, 2H]: entry (s, b, h) for keys of head h, (s, b, H + h) for its values."""
    order = torch.arange(2 * slots * BRANCHES * heads, device=device).view(2, slots, BRANCHES, heads)
    return order.permute(1, 2, 0, 3).flatten(2) * rows


@dataclass
class DecoderOutput:
    """The token grid of every slot and the machine that ends a request: all tensors, no host synchronisation.

    A grid cell is -1 while it is free; cells of the BOS staircase and of the prompt are known from the start and win
    over what is sampled. When channel 0 holds EOS in row `e` (sampled, or forced in the slot's `stop_row`), channel `c`
    is EOS in row `e + delay[c]` and PAD behind it; the request is finished with row `e + max_delay - 1`.

    Attributes:
        grid: int64 [S, T, C].
        row: int64 [S], the last row that is complete and has not been fed to the decoder yet.
        eos_row: int64 [S], `e`, or -1 while the request goes on.
        stop_row: int64 [S], the row in which EOS is forced into channel 0.
        finished: bool [S]; such a slot stands still, whatever is computed for it. Unused slots are finished, too.
        delays: int64 [C].
    """

    grid: torch.Tensor
    row: torch.Tensor
    eos_row: torch.Tensor
    stop_row: torch.Tensor
    finished: torch.Tensor
    delays: torch.Tensor
    eos: int
    pad: int
    max_delay: int
    slot_ids: torch.Tensor = field(init=False)  # 0 … S-1

    def __post_init__(self) -> None:
        self.slot_ids = torch.arange(self.grid.shape[0], device=self.grid.device)

    @classmethod
    def new(cls, config: DiaConfig, slots: int, rows: int, device: torch.device) -> "DecoderOutput":
        data = config.data

        def integers() -> torch.Tensor:
            return torch.zeros(slots, dtype=torch.int64, device=device)

        grid = torch.full((slots, rows, data.channels), -1, dtype=torch.int64, device=device)
        grid[:, 0] = data.audio_bos_value  # unused slots may take part in a step and must hold tokens to read
        return cls(
            grid=grid,
            row=integers(),
            eos_row=integers() - 1,
            stop_row=integers(),
            finished=torch.ones(slots, dtype=torch.bool, device=device),
            delays=torch.tensor(data.delay_pattern, device=device),
            eos=data.audio_eos_value,
            pad=data.audio_pad_value,
            max_delay=data.max_delay,
        )

    def begin(self, slot: int, grid: torch.Tensor, prompt_frames: int, stop_row: int) -> None:
        """Lay out a request in `slot`, standing still: `grid` [rows, C] from `dia.audio.delay_prompt`."""
        self.grid[slot].fill_(-1)
        self.grid[slot, : grid.shape[0]] = grid
        self.row[slot] = prompt_frames
        self.eos_row[slot] = -1
        self.stop_row[slot] = stop_row
        self.finished[slot] = True

    def activate(self, slot: int) -> None:
        """Let a slot's request move from the next step on."""
        self.finished[slot] = False

    def retire(self, slot: int) -> None:
        """Make a slot unused: it stands still in row 0, where whatever it writes is inside its own memory."""
        self.row[slot] = 0
        self.finished[slot] = True

    def tokens(self, count: int) -> torch.Tensor:
        """The row each running slot feeds next, int64 [n, C]."""
        return self.grid[self.slot_ids[:count], self.row[:count]]

    def advance(self, sampled: torch.Tensor) -> None:
        """Write the next row of slots 0 … n-1 from sampled tokens [n, C] and move on; finished slots stand still."""
        count = sampled.shape[0]
        stands = self.finished[:count]
        slots, row = self.slot_ids[:count], self.row[:count] + (~stands).long()
        known = self.grid[slots, row]
        tokens = torch.where(known < 0, sampled, known)
        eos_row = self.eos_row[:count]
        ends_now = (eos_row < 0) & ((tokens[:, 0] == self.eos) | (row >= self.stop_row[:count]))
        eos_row = torch.where(ends_now, row, eos_row)
        ended = (eos_row >= 0)[:, None]
        since = (row - eos_row)[:, None]
        tokens = torch.where(ended & (since == self.delays), self.eos, tokens)
        tokens = torch.where(ended & (since > self.delays), self.pad, tokens)
        tokens = torch.where(stands[:, None], known, tokens)
        finished = stands | ((eos_row >= 0) & (row - eos_row >= self.max_delay - 1))
        self._commit(slots, row, tokens, eos_row, finished)

    def _commit(
        self,
        slots: torch.Tensor,
        row: torch.Tensor,
        tokens: torch.Tensor,
        eos_row: torch.Tensor,
        finished: torch.Tensor,
    ) -> None:
        """Store what `advance` has computed. Nothing large is allocated any more: running out of memory before this
        leaves the state as it was, and the step may be repeated."""
        count = len(row)
        self.grid[slots, row] = tokens
        self.row[:count] = row
        self.eos_row[:count] = eos_row
        self.finished[:count] = finished

    def move(self, source: int, target: int) -> None:
        """Copy one slot's request over another's."""
        for tensor in (self.grid, self.row, self.eos_row, self.stop_row, self.finished):
            tensor[target] = tensor[source]
