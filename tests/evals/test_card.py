"""The model card tells the figures that were measured, and what a reader must know besides."""

import json
from pathlib import Path

import pytest

from dia.errors import BadInput
from dia.evals.card import BEGIN, END, NOT_MEASURED, fill, main, render
from dia.evals.report import Report
from tests.evals.test_run import example

CARD = Path(__file__).parents[2] / "docs" / "model-card.md"
SETUP = {
    "model": "m",
    "model_hash": "abc",
    "parameters": 5_000_000,
    "device": "cpu",
    "threads": 2,
    "seed": 0,
    "sampling": {"temperature": 1.2, "max_tokens": None},
}


def test_the_card_in_the_repository_tells_the_figures_beside_it():
    kept = CARD.with_suffix(".json")
    figures = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None
    text = CARD.read_text(encoding="utf-8")
    assert fill(text, figures) == text
    for heading in ("## Data", "## Licences", "## Figures", "## Limits", "## Not to be used for"):
        assert heading in text


def test_a_report_fills_the_card_and_is_kept_beside_it(tmp_path: Path):
    card = tmp_path / "card.md"
    card.write_text(f"# A\n{BEGIN}\nold\n{END}\nend\n", encoding="utf-8")
    report = Report(SETUP, {"sentences": [example(), example(mos=1.0)]})
    report.save(tmp_path / "report.json")
    assert main([str(tmp_path / "report.json"), str(card)]) == 0
    text = card.read_text(encoding="utf-8")
    assert "old" not in text and text.startswith("# A\n") and text.endswith("end\n")
    assert "| sentences | 2 | 0.0 (0.0 to 0.0) | 2.25" in text
    assert "DistillMOS: 2.25, wanted at least 3: **not reached**" in text
    assert "5.0 M parameters" in text and "temperature 1.2" in text and "max_tokens" not in text
    figures = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert "takes" not in figures
    assert fill(text, figures) == text


def test_without_figures_the_card_says_so():
    assert render(None) == NOT_MEASURED


def test_what_is_no_card_or_no_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(BadInput, match="no part to fill"):
        fill("# A card", None)
    with pytest.raises(BadInput, match="not those of a report"):
        render({"setup": {}})
    assert main([str(tmp_path / "none.json"), str(tmp_path / "card.md")]) == 2
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
