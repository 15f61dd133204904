"""Joined dialogues, their delayed targets, and where text meets sound: each against a slow oracle."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.audio import delay_prompt
from dia.config import DataConfig
from dia.text.script import prepare
from dia.text.tokens import decode_ids, encode_text
from dia.train.dialogues import DialogueConfig, DialogueSampler, expected_places, join_turns, splice
from dia.train.packing import CodeClip, CodePack, Sentence
from dia.train.targets import IGNORED, delayed_grid, group_by_length, make_batch
from tests.train.small import small_pack

DATA = DataConfig(text_length=256, audio_length=256, channels=3, delay_pattern=(0, 2, 3))


def spoken(pack: CodePack, turns: list[list[CodeClip]]) -> list[list[Sentence]]:
    return [[pack.sentence(clip) for clip in turn] for turn in turns]


def slow_grid(codes: np.ndarray, data: DataConfig) -> list[list[int]]:
    """Cell by cell, from the rule: frame f of channel c stands in row 1 + f + d."""
    frames, channels = codes.shape
    rows = []
    for row in range(frames + 2 + data.max_delay):
        cells = []
        for channel in range(channels):
            frame = row - 1 - data.delay_pattern[channel]
            if frame < 0:
                cells.append(data.audio_bos_value)
            elif frame < frames:
                cells.append(int(codes[frame, channel]))
            else:
                cells.append(data.audio_eos_value if frame == frames else data.audio_pad_value)
        rows.append(cells)
    return rows


@given(frames=st.integers(1, 12), delays=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_delayed_targets_equal_the_rule_cell_by_cell(frames: int, delays: list[int]):
    data = DataConfig(audio_length=64, channels=len(delays) + 1, delay_pattern=(0, *delays))
    codes = np.random.default_rng(frames).integers(0, 1024, (frames, len(delays) + 1))
    assert delayed_grid(codes, data).tolist() == slow_grid(codes, data)


def test_training_rows_begin_as_a_prompt_does_at_inference():
    import torch

    codes = np.random.default_rng(0).integers(0, 1024, (7, 3))
    grid = delayed_grid(codes, DATA)
    prompt = delay_prompt(torch.from_numpy(codes), len(grid), DATA.delay_pattern, DATA.audio_bos_value).numpy()
    known = prompt >= 0
    assert (grid[known] == prompt[known]).all()


def test_a_batch_predicts_the_next_row_and_ignores_what_is_no_choice():
    pack = small_pack()
    dialogues = DialogueSampler(pack, pack.clips, DialogueConfig(), seed=1).one_pass(0)[:5]
    batch = make_batch(dialogues, DATA)
    for item, dialogue in enumerate(dialogues):
        grid = delayed_grid(dialogue.codes, DATA)
        size = len(grid) - 1
        assert batch.rows[item, :size].tolist() == grid[:-1].tolist()
        wanted = [[cell if cell <= 1024 else IGNORED for cell in row] for row in grid[1:].tolist()]
        assert batch.targets[item, :size].tolist() == wanted
        assert (batch.targets[item, size:] == IGNORED).all()
        assert batch.real[item].sum() == size
        ends = (batch.targets[item] == DATA.audio_eos_value).nonzero().tolist()
        assert sorted(ends) == sorted([len(dialogue.codes) + d, c] for c, d in enumerate(DATA.delay_pattern))


def test_a_dialogue_reads_like_a_prepared_text_and_sounds_like_its_clips():
    pack = small_pack()
    first, second, third = pack.clips[0], pack.clips[2], pack.clips[1]
    config = DialogueConfig(sentence_pause_s=(0.1, 0.1), turn_pause_s=(0.2, 0.2))
    dialogue = join_turns(pack, spoken(pack, [[first, second], [third]]), config, np.random.default_rng(0))
    text = f"[S1] {first.text} {second.text} [S2] {third.text}"
    assert decode_ids(dialogue.ids) == prepare(text, max_bytes=500).text == f"{text} [S1]"
    for span, clip in zip(dialogue.spans, (first, second, third), strict=True):
        assert (dialogue.codes[span.first_frame : span.last_frame] == pack.clip_codes(clip)).all()
        assert dialogue.ids[span.first_id : span.last_id] == tuple(encode_text(clip.text))
    assert len(dialogue.codes) == first.frames + second.frames + third.frames + 3 + 6


def test_one_speaker_closes_with_its_own_tag():
    pack = small_pack()
    dialogue = join_turns(pack, spoken(pack, [[pack.clips[0]]]), DialogueConfig(), np.random.default_rng(0))
    assert decode_ids(dialogue.ids) == prepare(pack.clips[0].text, max_bytes=500).text


def test_turns_alternate_between_two_voices_and_keep_to_the_limits():
    pack = small_pack(60)
    voice_of = {clip.text: clip.voice for clip in pack.clips}
    config = DialogueConfig(max_duration_s=1.92, max_bytes=120)
    dialogues = DialogueSampler(pack, pack.clips, config, seed=2).one_pass(3)
    assert len(dialogues) == 60
    assert max(text.count("[S") for text in map(lambda d: decode_ids(d.ids), dialogues)) >= 3
    for dialogue in dialogues:
        assert len(dialogue.codes) <= 60
        assert len(dialogue.ids) <= config.max_bytes + 8
        voices: dict[int, set[str]] = {}
        for span in dialogue.spans:
            tag = next(i for i in reversed(dialogue.ids[: span.first_id]) if i in (1, 2))
            voices.setdefault(tag, set()).add(voice_of[decode_ids(dialogue.ids[span.first_id : span.last_id])])
        assert all(len(names) == 1 for names in voices.values())
        assert len(set.union(*voices.values())) == len(voices)


def test_a_pass_is_the_same_whenever_it_is_drawn():
    pack = small_pack()
    one = DialogueSampler(pack, pack.clips, DialogueConfig(), seed=2)
    other = DialogueSampler(pack, pack.clips, DialogueConfig(), seed=2)
    one.one_pass(0)
    assert [d.ids for d in one.one_pass(4)] == [d.ids for d in other.one_pass(4)]
    assert [d.ids for d in one.one_pass(4)] != [d.ids for d in one.one_pass(5)]


def test_expected_places_run_evenly_through_each_sentence_and_end_on_the_closing_tag():
    pack = small_pack()
    first, second = pack.clips[0], pack.clips[1]
    dialogue = join_turns(
        pack, spoken(pack, [[first], [second]]), DialogueConfig(turn_pause_s=(0.1, 0.1)), np.random.default_rng(0)
    )
    one, other = dialogue.spans
    places = expected_places(dialogue, len(dialogue.codes) + 4)
    pace = len(first.text) / first.frames
    assert places[0] == pytest.approx(one.first_id + pace / 2)
    assert places[first.frames - 1] == pytest.approx(one.last_id - pace / 2, abs=1e-3)
    assert one.last_id - pace < places[first.frames + 1] < other.first_id + 1
    assert places[other.first_frame] == pytest.approx(other.first_id + len(second.text) / second.frames / 2, abs=1e-3)
    assert places[-1] == len(dialogue.ids) - 1
    assert (np.diff(places) >= 0).all()


def test_aligned_places_are_kept_by_the_file_and_shifted_into_the_dialogue(tmp_path):
    pack = small_pack()
    places = np.concatenate([np.full(clip.frames, 3.25, np.float32) for clip in pack.clips])
    replace(pack, places=places).save(tmp_path / "codes.safetensors")
    aligned = CodePack.open(tmp_path / "codes.safetensors")
    dialogue = join_turns(aligned, spoken(aligned, [[aligned.clips[0]]]), DialogueConfig(), np.random.default_rng(0))
    assert (dialogue.places == dialogue.spans[0].first_id + 3.25).all()


def test_grouping_loses_nothing_and_keeps_batches_small():
    pack = small_pack(50)
    dialogues = DialogueSampler(pack, pack.clips, DialogueConfig(), seed=2).one_pass(0)
    groups = group_by_length(dialogues, 200, np.random.default_rng(0))
    assert sorted(id(d) for group in groups for d in group) == sorted(map(id, dialogues))
    assert all(len(group) == 1 or len(group) * max(len(d.codes) for d in group) <= 200 for group in groups)


def test_a_spliced_sentence_has_the_first_words_of_one_and_the_last_of_another():
    def sentence(text: str, first_code: int) -> Sentence:
        size = len(text.encode())
        # Two frames for every byte, so that the frames of a word are known.
        return Sentence(text, np.repeat(first_code + np.arange(size), 2)[:, None], np.repeat(np.arange(size) + 0.5, 2))

    head, tail = sentence("one two three four", 0), sentence("the café is shut", 100)
    seen = set()
    for seed in range(40):
        spliced = splice(head, tail, np.random.default_rng(seed))
        assert spliced is not None
        seen.add(spliced.text)
        front = spliced.codes[:, 0] < 100
        cut = int(front.sum()) // 2
        # Every frame still speaks the byte that it spoke in its own sentence.
        assert spliced.text.encode()[:cut] == head.text.encode()[:cut]
        rest = spliced.codes[~front, 0] - 100
        assert [tail.text.encode()[code] for code in rest] == [
            spliced.text.encode()[int(place)] for place in spliced.places[~front]
        ]
        assert (np.diff(spliced.places) >= 0).all()
        assert len(spliced.codes) == 2 * len(spliced.text.encode())
    assert "one two is shut" in seen
    assert splice(head, sentence("alone", 0), np.random.default_rng(0)) is None


def test_a_share_of_the_sentences_is_spliced_within_the_bounds():
    pack = small_pack()
    whole = {clip.text for clip in pack.clips}
    config = DialogueConfig(turn_odds=(1.0,), sentence_odds=(1.0,), splice_share=0.5)
    drawn = DialogueSampler(pack, pack.clips, config, seed=3)
    texts = [decode_ids(dialogue.ids).removeprefix("[S1] ").removesuffix(" [S1]") for dialogue in drawn.one_pass(0)]
    assert 0 < sum(text not in whole for text in texts) < len(texts)
    longest = max(clip.frames for clip in pack.clips)
    assert all(dialogue.frames <= longest for dialogue in drawn.one_pass(1))
