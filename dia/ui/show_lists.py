"""How lists look on the page: voices, the report on a recording, history, the queue. Values in, HTML out."""

from collections.abc import Mapping, Sequence
from html import escape

from dia.media.prompt_check import PromptReport
from dia.service.clock import iso_utc
from dia.service.logs import LogEntry
from dia.service.prompts import PromptInfo
from dia.service.speech import Speech
from dia.service.voices import Voice
from dia.ui.archive import Queue
from dia.ui.shelf import HISTORY_PATH
from dia.ui.show import counted, duration, shorten, warning_list

__all__ = ["history_list", "queue_view", "report_view", "voice_choices", "voice_view"]

_BADGES = {"completed": "success", "failed": "error", "cancelled": "warning", "processing": "info"}


def voice_choices(voices: Sequence[Voice]) -> list[tuple[str, str]]:
    """Name and style, and the id, as the picker takes them."""
    return [(f"{voice.name} · {voice.style if voice.builtin else 'cloned'}", voice.id) for voice in voices]


def voice_view(voice: Voice, prompts: Mapping[str, PromptInfo]) -> str:
    """What a voice is, and what its recordings say."""
    facts = [voice.description or voice.style]
    if not prompts:
        facts.append("No recording: it is held by its seed." if voice.seed is not None else "A new voice each time.")
    parts = [f"<p>{escape(' '.join(facts))}</p>"]
    for slot, info in prompts.items():
        words = f"“{escape(shorten(info.transcript, 160))}”" if info.transcript else "<i>no transcript</i>"
        parts.append(
            f'<p><span class="dia-c{slot[1]}">{escape(slot)}</span> {duration(info.duration_s)} recorded: {words}</p>'
        )
        parts.append(warning_list(info.warnings))
    return f'<div class="dia-voice">{"".join(parts)}</div>'


def report_view(report: PromptReport) -> str:
    """Measurements of a recording, and what is wrong with it."""
    noise = "no pause to measure it in" if report.snr_db is None else f"{report.snr_db:.0f} dB below the speech"
    rows = {
        "Length": f"{duration(report.duration_s)} (best 5 to 10 s)",
        "Loudness": f"{report.loudness_lufs:.0f} LUFS, peak {report.peak_dbfs:.1f} dBFS",
        "Noise": noise,
        "Pauses": f"{report.silence_share:.0%}",
        "Bandwidth": f"up to {report.bandwidth_hz / 1000:.1f} kHz",
    }
    cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
    if not report.is_usable:
        verdict = "error", "This recording cannot be used."
    elif report.findings:
        verdict = "warning", "Usable, but it could be better."
    else:
        verdict = "success", "A good recording."
    return (
        f'<div class="dia-alert dia-{verdict[0]}" role="status">{verdict[1]}</div>'
        f"{warning_list([finding.message for finding in report.findings])}"
        f'<table class="dia-report">{cells}</table>'
    )


def history_list(entries: Sequence[LogEntry]) -> str:
    """The log, newest first, each entry with its buttons."""
    if not entries:
        return '<p class="dia-hint">Nothing has been spoken yet.</p>'
    return f'<ul class="dia-history">{"".join(_entry(entry) for entry in entries)}</ul>'


def _entry(entry: LogEntry) -> str:
    words = escape(shorten(entry.text, 140)) if entry.text else f"<i>{counted(entry.text_chars, 'character')}</i>"
    facts = [escape(entry.voice)]
    if entry.audio_duration_s:
        facts.append(duration(entry.audio_duration_s))
    if entry.seed is not None:
        facts.append(f"seed {entry.seed}")
    error = (
        f'<p class="dia-reason">{escape(entry.error_message)}</p>'
        if entry.status == "failed" and entry.error_message
        else ""
    )
    buttons = ""
    if entry.status == "completed":
        buttons += _button("replay", entry.id, "Replay", f"replay {shorten(entry.text or entry.voice, 40)}")
    if entry.file_name is not None:
        buttons += _files(entry)
    if entry.text:
        buttons += _button("reuse", entry.id, "Use again", f"use again {shorten(entry.text, 40)}")
    badge = (
        ""
        if entry.status == "completed"
        else f'<span class="dia-badge dia-{_BADGES[entry.status]}">{entry.status}</span>'
    )
    return (
        f'<li><div><time data-time="{iso_utc(entry.created_at)}">{iso_utc(entry.created_at)[:16]}</time>'
        f"{badge}<span>{' · '.join(facts)}</span></div><p>{words}</p>{error}<footer>{buttons}</footer></li>"
    )


def _files(entry: LogEntry) -> str:
    """Downloads; addresses are relative to the page, wherever it is mounted."""
    links = "".join(
        f'<a href="{HISTORY_PATH.lstrip("/")}/{escape(entry.id)}?format={name}" download aria-label="download {name}">{name}</a>'
        for name in ("wav", "mp3", "opus")
    )
    return f'<span class="dia-files">{links}</span>'


def _button(action: str, log_id: str, label: str, full_label: str) -> str:
    return (
        f'<button type="button" data-do="{action}" data-log="{escape(log_id)}" '
        f'aria-label="{escape(full_label)}">{label}</button>'
    )


def queue_view(queue: Queue) -> str:
    """How busy the engine is, and each request in it."""
    stats = queue.stats
    tiles = {
        "running": f"{stats.active_workers} of {stats.total_workers}",
        "waiting": f"{stats.waiting_requests} of {stats.queue_capacity}",
        "mean wait": duration(stats.queue_wait_seconds_avg),
        "jobs done": str(stats.completed_jobs),
        "jobs failed": str(stats.failed_jobs),
    }
    cells = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in tiles.items())
    rows = "".join(_running(speech) for speech in queue.speeches)
    listed = f'<ul class="dia-history">{rows}</ul>' if rows else '<p class="dia-hint">Nothing runs or waits.</p>'
    return f'<div class="dia-tiles">{cells}</div>{listed}'


def _running(speech: Speech) -> str:
    progress = speech.progress()
    state = f"{progress.percent:.0f} %" if speech.has_turn else f"waiting, {progress.position} ahead"
    kind = "job" if speech.plan.request.job_id else "direct"
    return (
        f'<li><div><span class="dia-badge dia-info">{state}</span><span>{escape(speech.plan.voice.id)} · {kind} · '
        f"about {duration(speech.plan.estimated_s)}</span></div>"
        f'<progress max="100" value="{progress.percent:g}" aria-label="progress"></progress>'
        f"<footer>{_button('cancel', speech.id, 'Cancel', 'cancel')}</footer></li>"
    )
