"""How things look on the page: values in, HTML or words out. Everything that people typed is escaped here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any, Literal

from dia.service.request import Progress, SpeechPlan
from dia.ui.desk import Estimate, TakeCard
from dia.ui.marks import Mark, colour_of, turn_marks

__all__ = [
    "alert",
    "clock",
    "duration",
    "ended",
    "estimate_line",
    "model_line",
    "note_list",
    "player",
    "progress_line",
    "sign_out",
    "take_cards",
]

Kind = Literal["info", "warning", "error", "success"]
_MOST_WARNINGS = 6


def duration(seconds: float) -> str:
    """`0.8 s`, `14 s`, `2 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def clock(seconds: float) -> str:
    """`0:14`, `2:05`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def counted(number: int, what: str) -> str:
    """`1 turn`, `3 turns`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def alert(kind: Kind, text: str) -> str:
    """A message that stays; screen readers say it at once."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="dia-alert dia-{kind}" role="{role}">{escape(text)}</div>' if text else ""


def model_line(state: str, reason: str, name: str) -> str:
    """Which model speaks, or why none does yet."""
    if state == "ready":
        return f'<span class="dia-model dia-ready"><i></i>model {escape(name)}</span>'
    kind = "dia-loading" if state == "loading" else "dia-broken"
    return f'<span class="dia-model {kind}" role="status"><i></i>{escape(reason)}</span>'


def sign_out(owner: str | None) -> str:
    """The way out for who came in by a key; `static/session.js` does it."""
    return "" if owner is None else '<button type="button" data-sign-out>Sign out</button>'


def estimate_line(estimate: Estimate) -> str:
    """Seconds, turns and passes of a text, then what the planner noted."""
    if estimate.problem is not None:
        return alert("warning", estimate.problem)
    if estimate.plan is None:
        return '<p class="dia-hint">Write a dialogue: begin each turn with [S1] or [S2].</p>'
    plan = estimate.plan
    turns = len({turn.turn_idx for piece in plan.pieces for turn in piece.turns})
    facts = [f"about <b>{duration(plan.estimated_s)}</b>", counted(turns, "turn")]
    if len(plan.pieces) > 1:
        facts.append(f"{len(plan.pieces)} passes")
    return f'<p class="dia-facts">{" · ".join(facts)}</p>{warning_list(plan.warnings)}{_legend(plan)}'


def warning_list(warnings: Sequence[str]) -> str:
    """Notes of the planner or the model, the first few of them."""
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings[:_MOST_WARNINGS])
    more = len(warnings) - _MOST_WARNINGS
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    return f'<ul class="dia-warnings">{items}{rest}</ul>'


def note_list(notes: Sequence[str]) -> str:
    """What was mended in a take, folded away: it is known and done, nobody has to do anything."""
    if not notes:
        return ""
    return (
        f'<details class="dia-notes"><summary>{counted(len(notes), "note")}</summary>{warning_list(notes)}</details>'
    )


def _legend(plan: SpeechPlan) -> str:
    speakers = plan.script.speakers
    if set(speakers) <= {"S1", "S2"}:
        return ""
    names = "".join(f'<span class="dia-c{colour_of(name, speakers)}">{escape(name)}</span>' for name in speakers)
    return f'<p class="dia-legend" aria-label="speakers">{names}</p>'


def progress_line(progress: Progress, estimated_s: float, *, is_waiting: bool) -> str:
    """A bar with words: place in the queue, or seconds made and time left."""
    if is_waiting:
        ahead = progress.position
        words = f"waiting, {ahead} ahead" if ahead else "waiting for its turn"
        return f'<div class="dia-progress"><progress max="100"></progress><span>{words}</span></div>'
    made = f"{duration(progress.audio_duration_s)} of about {duration(estimated_s)}"
    left = "" if progress.eta_s is None else f" · {duration(max(progress.eta_s, 0.0))} left"
    bar = f'<progress max="100" value="{progress.percent:g}" aria-label="progress"></progress>'
    return f'<div class="dia-progress">{bar}<span>{progress.percent:.0f} % · {made}{left}</span></div>'


def done_line(log_id: str, duration_s: float, generation_s: float, seed: int, *, was_stopped: bool = False) -> str:
    """What a speech came to."""
    how = "stopped after" if was_stopped else "Done:"
    times = duration_s / max(generation_s, 0.05)
    speed = f" · {times:.{1 if times >= 1 else 2}f} × real time" if duration_s and generation_s > 0.05 else ""
    return (
        f'<div class="dia-progress" data-log="{escape(log_id)}"><span role="status">{how} {duration(duration_s)} in '
        f"{duration(generation_s)}{speed} · seed {seed}</span></div>"
    )


def ended(token: str, told: str = "") -> str:
    """What is told at the end of the speech whose sound has that token, so that nobody asks on for news of it; an empty
    token ends whatever is asked for."""
    return f'<div data-ended="{escape(token)}">{told}</div>'


def player(
    token: str,
    *,
    label: str,
    marks: Sequence[Mark] = (),
    estimated_s: float = 0.0,
    autoplay: bool = False,
    small: bool = False,
) -> str:
    """The element that plays and draws a sound of the shelf; see `static/player.js`."""
    facts: Mapping[str, Any] = {
        "token": token, "label": label, "estimated_s": round(estimated_s, 2),
        "marks": [asdict(mark) for mark in marks], "autoplay": autoplay, "small": small,
    }  # fmt: skip
    return f'<dia-player data-sound="{escape(json.dumps(facts, ensure_ascii=False))}"></dia-player>'


def plan_player(token: str, plan: SpeechPlan) -> str:
    """The large player of a speech that begins now."""
    return player(
        token, label=plan.voice.name, marks=turn_marks(plan.script, plan.speed), estimated_s=plan.estimated_s,
        autoplay=True,
    )  # fmt: skip


def take_cards(cards: Iterable[TakeCard]) -> str:
    """Takes side by side, the newest first, each with its player and what can be done with it."""
    shown = [_take_card(card) for card in cards]
    return f'<div class="dia-takes">{"".join(reversed(shown))}</div>' if shown else ""


def _take_card(card: TakeCard) -> str:
    log = escape(card.log_id)
    return (
        f'<article class="dia-card" aria-label="take {card.number}"><header><b>Take {card.number}</b>'
        f"<span>{escape(card.voice)} · {duration(card.duration_s)} · seed {card.seed}</span></header>"
        f'<p class="dia-said">{escape(shorten(card.text, 90))}</p>'
        f"{player(card.token, label=f'take {card.number}', small=True)}"
        f'<footer><button type="button" data-do="lock" data-log="{log}">Lock seed</button>'
        f'<input type="text" aria-label="name of the new voice" placeholder="name" maxlength="64">'
        f'<button type="button" data-do="keep" data-log="{log}">Keep as voice</button></footer></article>'
    )


def shorten(text: str, most: int) -> str:
    """One line of at most that many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
