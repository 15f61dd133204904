"""Which event does what: Gradio's events to the desk, the library and the archive, and their answers back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dia.errors import DiaError
from dia.service.logs import LogEntry
from dia.ui import show, show_lists
from dia.ui.archive import Archive
from dia.ui.desk import Access, Desk, Form, SeedMode
from dia.ui.layout import TOKENS_INFO, Widgets
from dia.ui.library import Library
from dia.ui.live import LiveSpeech

if TYPE_CHECKING:
    import gradio

__all__ = ["Rooms", "wire"]

WATCH_S = 0.2  # how often progress is shown
MAX_TAKES = 6
_QUIET: Mapping[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_SETTINGS = ("temperature", "cfg_scale", "top_p", "top_k", "max_tokens", "speed")


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the events work on; `access` tells who sits at the page from Starlette's request."""

    desk: Desk
    library: Library
    archive: Archive
    access: Callable[[Any], Access]


def wire(blocks: "gradio.Blocks", widgets: Widgets, rooms: Rooms) -> None:
    """Attach all events; called inside the blocks."""
    _wire_start(blocks, widgets, rooms)
    _wire_script(widgets, rooms)
    _wire_speaking(blocks, widgets, rooms)
    _wire_takes(widgets, rooms)
    _wire_voice(widgets, rooms)
    _wire_cloning(widgets, rooms)
    _wire_history(widgets, rooms)
    _wire_queue(widgets, rooms)


def _wire_start(blocks: "gradio.Blocks", w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    service = rooms.desk.service

    def line() -> str:
        speech = service.speech
        name = speech.model.name if speech.model_state == "ready" else ""
        return show.model_line(speech.model_state, speech.model_state_reason, name)

    def welcome(text: str, request: gr.Request) -> list[Any]:
        voices = rooms.library.all()
        choices = show_lists.voice_choices(voices)
        chosen = voices[0]
        estimate = show.estimate_line(rooms.desk.estimate(text, chosen.id, 1.0))
        custom = show_lists.voice_choices([voice for voice in voices if not voice.builtin])
        ready = service.speech.model_state == "ready"
        return [
            line(), show_lists.voice_view(chosen, rooms.library.prompts_of(chosen)),
            gr.Radio(choices=choices, value=chosen.id), gr.Radio(choices=custom, value=None), estimate,
            gr.Timer(active=not ready), show.sign_out(rooms.access(request.request).owner), *_settled(rooms, chosen.id),
        ]  # fmt: skip

    def look_again(text: str, voice: str, speed: float) -> list[Any]:
        ready = service.speech.model_state == "ready"
        settings = _settled(rooms, voice) if ready else [gr.skip() for _ in _SETTINGS]
        return [
            line(),
            gr.Timer(active=not ready),
            show.estimate_line(rooms.desk.estimate(text, voice, speed)),
            *settings,
        ]

    settings = [getattr(w, name) for name in _SETTINGS]
    blocks.load(
        welcome,
        w.script,
        [w.model_line, w.voice_info, w.voice, w.managed, w.estimate, w.load_timer, w.sign_out, *settings],
        **_QUIET,
    )
    w.load_timer.tick(
        look_again, [w.script, w.voice, w.speed], [w.model_line, w.load_timer, w.estimate, *settings], **_QUIET
    )


def _settled(rooms: Rooms, voice: str) -> list[Any]:
    """New values of the settings' controls; as they are while no model is there to say."""
    import gradio as gr

    try:
        settled = rooms.desk.settled(voice)
    except DiaError:
        return [gr.skip() for _ in _SETTINGS]
    rate_hz = rooms.desk.service.speech.passes.frame_rate_hz
    info = f"{TOKENS_INFO} This model makes {rate_hz:.0f} frames a second."
    values = {name: getattr(settled, name) for name in _SETTINGS}
    return list((values | {"max_tokens": gr.Number(settled.max_tokens, info=info)}).values())


def _wire_script(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def estimate(text: str, voice: str, speed: float) -> str:
        return show.estimate_line(rooms.desk.estimate(text, voice, speed))

    # always_last: while one estimate runs, typing only marks that another is due.
    gr.on(
        [w.script.change, w.voice.change, w.speed.change], estimate, [w.script, w.voice, w.speed], w.estimate,
        trigger_mode="always_last", **_QUIET,
    )  # fmt: skip


def _wire_speaking(blocks: "gradio.Blocks", w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    desk = rooms.desk

    def speaker(seed_mode: SeedMode | None) -> Callable[..., AsyncIterator[dict[Any, Any]]]:
        async def speak(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
            form, session = _form(values, seed_mode), str(request.session_hash)
            try:
                live, token = await asyncio.to_thread(desk.speak, session, form, rooms.access(request.request))
            except DiaError as error:
                yield {w.message: show.alert("error", str(error))}
                return
            try:
                player = show.plan_player(token, live.speech.plan)
                yield {w.message: "", w.player: player}
                async for words in _watched(live):
                    yield {w.progress: words}
                yield ended(live, token, values[-1])
            finally:
                live.cancel()

        return speak

    def ended(live: LiveSpeech, token: str, takes: list[Any]) -> dict[Any, Any]:
        speech = live.speech
        update: dict[Any, Any] = {w.progress: ""}
        if live.failure is not None:
            return update | {w.message: show.alert("error", live.failure)}
        line = show.done_line(
            speech.id, live.track.duration_s, speech.generation_s, speech.seed, was_stopped=live.status == "cancelled"
        )
        update |= {w.progress: line + show.note_list(speech.warnings)}
        if live.status == "completed":
            number = takes[-1].number + 1 if takes else 1
            kept = [*takes, desk.card(live, token, number)][-MAX_TAKES:]
            update |= {w.kept_takes: kept, w.takes: show.take_cards(kept)}
        return update

    def stop(request: gr.Request) -> None:
        desk.stop(str(request.session_hash))

    inputs = [
        w.script, w.voice, w.temperature, w.cfg_scale, w.top_p, w.top_k, w.max_tokens, w.speed, w.seed_mode, w.seed,
        w.kept_takes,
    ]  # fmt: skip
    outputs = [w.message, w.player, w.progress, w.takes, w.kept_takes]
    settings = desk.service.settings
    limits = {"concurrency_limit": settings.workers + settings.queue_capacity, "concurrency_id": "speak"}
    w.speak.click(speaker(None), inputs, outputs, **limits, **_QUIET)
    w.again.click(speaker("new"), inputs, outputs, **limits, **_QUIET)
    w.stop.click(stop, None, None, queue=False, **_QUIET)
    blocks.unload(stop)


async def _watched(live: LiveSpeech) -> AsyncIterator[str]:
    """Progress in words and a bar, whenever it has changed, until the end."""
    said = ""
    while not live.track.is_done:
        words = show.progress_line(live.progress(), live.speech.plan.estimated_s, is_waiting=not live.speech.has_turn)
        if words != said:
            said = words
            yield words
        await asyncio.sleep(WATCH_S)


def _form(values: tuple[Any, ...], seed_mode: SeedMode | None = None) -> Form:
    text, voice, temperature, cfg_scale, top_p, top_k, max_tokens, speed, chosen, seed, _ = values
    mode: SeedMode = seed_mode or chosen
    return Form(
        text or "", voice or "", temperature, cfg_scale, top_p, int(top_k),
        None if max_tokens is None else int(max_tokens), speed, mode, seed or "",
    )  # fmt: skip


def _wire_takes(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def act(event: gr.EventData, request: gr.Request, takes: list[Any]) -> dict[Any, Any]:
        card = next((card for card in takes if card.log_id == event.log), None)
        if card is None:
            return {w.message: show.alert("error", "this take is no longer here; speak it again")}
        if event.action == "lock":
            return _locked(w, card.seed)
        try:
            voice = rooms.desk.keep(card.log_id, event.name, rooms.access(request.request))
        except DiaError as error:
            return {w.message: show.alert("error", str(error))}
        words = f"Take {card.number} is now the voice {voice.name}."
        return {w.message: show.alert("success", words), **_new_voices(w, rooms, voice.id)}

    w.takes.click(act, w.kept_takes, [w.message, w.seed_mode, w.seed, w.voice, w.managed], **_QUIET)
    w.seed_mode.change(lambda mode: gr.Textbox(visible=mode == "locked"), w.seed_mode, w.seed, queue=False, **_QUIET)


def _locked(w: Widgets, seed: int) -> dict[Any, Any]:
    import gradio as gr

    return {w.seed_mode: "locked", w.seed: gr.Textbox(str(seed), visible=True)}


def _new_voices(w: Widgets, rooms: Rooms, chosen: str | None) -> dict[Any, Any]:
    """Both lists of voices, one of them chosen."""
    import gradio as gr

    voices = rooms.library.all()
    custom = show_lists.voice_choices([voice for voice in voices if not voice.builtin])
    mine = chosen if any(voice_id == chosen for _, voice_id in custom) else None
    return {
        w.voice: gr.Radio(choices=show_lists.voice_choices(voices), value=chosen or voices[0].id),
        w.managed: gr.Radio(choices=custom, value=mine),
    }


def _wire_voice(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def chosen(voice_id: str) -> tuple[str, str]:
        try:
            voice = rooms.desk.service.voices.get(voice_id)
        except DiaError as error:
            return show.alert("error", str(error)), ""
        return show_lists.voice_view(voice, rooms.library.prompts_of(voice)), ""

    def defaults(voice_id: str) -> list[Any]:
        try:
            has_defaults = bool(rooms.desk.service.voices.get(voice_id).defaults)
        except DiaError:
            has_defaults = False
        return _settled(rooms, voice_id) if has_defaults else [gr.skip() for _ in _SETTINGS]

    def listen(voice_id: str, request: gr.Request) -> str:
        try:
            preview = rooms.library.preview(voice_id, rooms.access(request.request))
        except DiaError as error:
            return show.alert("error", str(error))
        return show.player(preview.token, label=f"voice {voice_id}", autoplay=True, small=True)

    settings = [getattr(w, name) for name in _SETTINGS]
    w.voice.change(chosen, w.voice, [w.voice_info, w.voice_player], **_QUIET)
    # A voice that a person chooses brings its settings; one that comes back from the history must not undo them.
    w.voice.input(defaults, w.voice, settings, **_QUIET)
    w.listen.click(listen, w.voice, w.voice_player, **_QUIET)
    w.reset.click(lambda voice: _settled(rooms, voice), w.voice, settings, **_QUIET)


def _wire_cloning(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def check(path: str | None) -> str:
        if path is None:
            return ""
        try:
            return show_lists.report_view(rooms.library.check(path))
        except DiaError as error:
            return show.alert("error", str(error))

    def transcribe(path: str | None) -> tuple[Any, str]:
        if path is None:
            return gr.skip(), show.alert("error", "there is no recording yet; choose a file or record one")
        try:
            return rooms.library.transcribe(path), ""
        except DiaError as error:
            return gr.skip(), show.alert("error", str(error))

    def clone(name: str, path: str | None, transcript: str) -> dict[Any, Any]:
        try:
            voice, info = rooms.library.clone(name, path, transcript)
        except DiaError as error:
            return {w.clone_message: show.alert("error", str(error))}
        words = f"Voice {voice.name} is saved and chosen on the Speak tab."
        said = show.alert("success", words) + show.warning_list(info.warnings)
        cleared = {w.recording: None, w.report: "", w.transcript: "", w.clone_name: ""}
        return {w.clone_message: said, **cleared, **_new_voices(w, rooms, voice.id)}

    def ask(name: str | None) -> dict[Any, Any]:
        if not name:
            return {w.clone_message: show.alert("error", "no voice is chosen; choose the one to delete")}
        try:
            voice = rooms.library.service.voices.get(name)
        except DiaError as error:
            return {w.clone_message: show.alert("error", str(error))}
        words = f"Delete the voice {voice.name} and its recording? They cannot be brought back."
        return {w.question: show.alert("warning", words), w.sure: gr.Column(visible=True), w.clone_message: ""}

    def delete(name: str | None, request: gr.Request) -> dict[Any, Any]:
        closed = {w.sure: gr.Column(visible=False)}
        try:
            voice = rooms.library.delete(name or "", rooms.access(request.request))
        except DiaError as error:
            return {w.clone_message: show.alert("error", str(error)), **closed}
        said = show.alert("success", f"Voice {voice.name} is deleted.")
        return {w.clone_message: said, **closed, **_new_voices(w, rooms, None)}

    lists = [w.clone_message, w.voice, w.managed]
    w.recording.change(check, w.recording, w.report, **_QUIET)
    w.transcribe.click(transcribe, w.recording, [w.transcript, w.clone_message], **_QUIET)
    w.clone.click(
        clone, [w.clone_name, w.recording, w.transcript],
        [*lists, w.recording, w.report, w.transcript, w.clone_name], **_QUIET,
    )  # fmt: skip
    w.delete.click(ask, w.managed, [w.clone_message, w.question, w.sure], **_QUIET)
    w.delete_now.click(delete, w.managed, [*lists, w.sure], **_QUIET)
    # Another voice is another question.
    gr.on([w.keep.click, w.managed.input], lambda: gr.Column(visible=False), None, w.sure, queue=False, **_QUIET)


def _wire_history(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def refresh(request: gr.Request) -> str:
        return show_lists.history_list(rooms.archive.entries(rooms.access(request.request)))

    def act(event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        access = rooms.access(request.request)
        try:
            if event.action == "replay":
                entry, token = rooms.archive.replay(event.log, access)
                label = f"{entry.voice}, {show.shorten(entry.text or '', 60)}"
                return {w.history_player: show.player(token, label=label, autoplay=True), w.history_message: ""}
            entry = rooms.archive.entry(event.log, access)
        except DiaError as error:
            return {w.history_message: show.alert("error", str(error))}
        settings, is_voice_here = _settings_of(w, rooms, entry)
        if is_voice_here:
            said = show.alert("success", "The script, its voice and its settings are back on the Speak tab.")
        else:
            words = (
                f"The script and its settings are back on the Speak tab; the voice {entry.voice} is no longer here."
            )
            said = show.alert("warning", words)
        return {w.history_message: said, **settings}

    outputs = [w.history_player, w.history_message, w.script, w.voice, w.seed_mode, w.seed]
    outputs += [getattr(w, name) for name in _SETTINGS]
    gr.on([w.history_tab.select, w.refresh.click], refresh, None, w.history, **_QUIET)
    w.history.click(act, None, outputs, **_QUIET)


def _settings_of(w: Widgets, rooms: Rooms, entry: LogEntry) -> tuple[dict[Any, Any], bool]:
    """New values of the controls from an entry of the history, and whether its voice is still there."""
    import gradio as gr

    names = {"cfg_filter_top_k": "top_k"}
    found = {getattr(w, names.get(name, name)): value for name, value in entry.parameters.items()}
    seed = {} if entry.seed is None else _locked(w, entry.seed)
    voices = rooms.library.all()
    is_voice_here = any(voice.id == entry.voice for voice in voices)
    # The list is given anew: the voice may have come through the API since this page was opened.
    choices = show_lists.voice_choices(voices)
    voice = gr.Radio(choices=choices, value=entry.voice) if is_voice_here else gr.skip()
    return {w.script: entry.text or "", w.speed: entry.speed, w.voice: voice, **found, **seed}, is_voice_here


def _wire_queue(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def look(request: gr.Request) -> str:
        return show_lists.queue_view(rooms.archive.queue(rooms.access(request.request)))

    def act(event: gr.EventData, request: gr.Request) -> str:
        rooms.archive.cancel(event.log, rooms.access(request.request))
        return look(request)

    # Not through Gradio's queue: what waits there must not hide what waits here, and one lost answer must not end the
    # ticks, of which only one may be under way.
    gr.on([w.queue_tab.select, w.queue_timer.tick], look, None, w.queue, queue=False, **_QUIET)
    w.queue.click(act, None, w.queue, queue=False, **_QUIET)
    w.queue_tab.select(lambda: gr.Timer(active=True), None, w.queue_timer, queue=False, **_QUIET)
    for tab in w.other_tabs:
        tab.select(lambda: gr.Timer(active=False), None, w.queue_timer, queue=False, **_QUIET)
