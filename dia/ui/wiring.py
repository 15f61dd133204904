"""Which event does what: Gradio's events to the desk, the library and the archive, and their answers back."""

from collections.abc import Callable, Mapping, Sequence
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

# Each event is a question with its own answer. Gradio's queue sends the answers of a whole page over one stream, which
# it closes whenever nothing is awaited: what was asked at that moment was told that the connection is broken, and the
# page began anew. Who runs and who waits is decided by the service's own queue.
_QUIET: Mapping[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
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
    _wire_script(blocks, widgets, rooms)
    _wire_speaking(widgets, rooms)
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

    def welcome(request: gr.Request) -> list[Any]:
        voices = rooms.library.all()
        choices = show_lists.voice_choices(voices)
        chosen = voices[0]
        custom = show_lists.voice_choices([voice for voice in voices if not voice.builtin])
        ready = service.speech.model_state == "ready"
        return [
            line(), show_lists.voice_view(chosen, rooms.library.prompts_of(chosen)),
            gr.Radio(choices=choices, value=chosen.id), gr.Radio(choices=custom, value=None),
            gr.Timer(active=not ready), show.sign_out(rooms.access(request.request).owner), *_settled(rooms, chosen.id),
        ]  # fmt: skip

    def look_again(voice: str) -> list[Any]:
        ready = service.speech.model_state == "ready"
        settings = _settled(rooms, voice) if ready else [gr.skip() for _ in _SETTINGS]
        return [line(), gr.Timer(active=not ready), *settings]

    settings = [getattr(w, name) for name in _SETTINGS]
    blocks.load(
        welcome, None, [w.model_line, w.voice_info, w.voice, w.managed, w.load_timer, w.sign_out, *settings], **_QUIET
    )
    w.load_timer.tick(look_again, w.voice, [w.model_line, w.load_timer, *settings], **_QUIET)


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


def _wire_script(blocks: "gradio.Blocks", w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def estimate(text: str, voice: str, speed: float) -> str:
        return show.estimate_line(rooms.desk.estimate(text, voice, speed))

    # always_last: while one estimate runs, typing only marks that another is due.
    gr.on(
        [blocks.load, w.load_timer.tick, w.script.change, w.voice.change, w.speed.change], estimate,
        [w.script, w.voice, w.speed], w.estimate, trigger_mode="always_last", **_QUIET,
    )  # fmt: skip


def _wire_speaking(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    desk = rooms.desk

    def speaker(seed_mode: SeedMode | None) -> Callable[..., dict[Any, Any]]:
        def speak(request: gr.Request, *values: Any) -> dict[Any, Any]:
            *controls, number = values
            form, session = _form(controls, seed_mode), str(request.session_hash)
            try:
                live, token = desk.speak(session, form, rooms.access(request.request), int(number))
            except DiaError as error:
                return {w.message: show.alert("error", str(error))}
            return {w.message: "", w.player: show.plan_player(token, live.speech.plan), w.progress: progress(live)}

        return speak

    def progress(live: LiveSpeech) -> str:
        is_waiting = not live.speech.has_turn
        return show.progress_line(live.progress(), live.speech.plan.estimated_s, is_waiting=is_waiting)

    def follow(request: gr.Request) -> dict[Any, Any]:
        session = str(request.session_hash)
        found = desk.spoken(session)
        if found is None:
            return {w.progress: show.ended("")}
        live, token = found
        return ended(session, live, token) if live.track.is_done else {w.progress: progress(live)}

    def ended(session: str, live: LiveSpeech, token: str) -> dict[Any, Any]:
        """The same however often it is asked for."""
        speech = live.speech
        if live.failure is not None:
            return {w.progress: show.ended(token), w.message: show.alert("error", live.failure)}
        line = show.done_line(
            speech.id, live.track.duration_s, speech.generation_s, speech.seed, was_stopped=live.status == "cancelled"
        )
        update: dict[Any, Any] = {w.progress: show.ended(token, line + show.note_list(speech.warnings))}
        if live.status == "completed":
            update |= {w.takes: show.take_cards(desk.takes(session))}
        return update

    def stop(number: float, request: gr.Request) -> None:
        desk.stop(str(request.session_hash), int(number))

    inputs = [
        w.script, w.voice, w.temperature, w.cfg_scale, w.top_p, w.top_k, w.max_tokens, w.speed, w.seed_mode, w.seed,
        w.number,
    ]  # fmt: skip
    outputs = [w.message, w.player, w.progress]
    # The page numbers its speeches, so that Stop says which it is for; see `static/news.js`.
    counted: Mapping[str, Any] = {"js": "(...values) => [...values.slice(0, -1), ++window.diaSpeeches]", **_QUIET}
    w.speak.click(speaker(None), inputs, outputs, **counted)
    w.again.click(speaker("new"), inputs, outputs, **counted)
    w.stop.click(stop, w.number, None, js="() => window.diaSpeeches", **_QUIET)
    w.follow.click(follow, None, [*outputs, w.takes], **_QUIET)


def _form(controls: Sequence[Any], seed_mode: SeedMode | None = None) -> Form:
    text, voice, temperature, cfg_scale, top_p, top_k, max_tokens, speed, chosen, seed = controls
    mode: SeedMode = seed_mode or chosen
    return Form(
        text or "", voice or "", temperature, cfg_scale, top_p, int(top_k),
        None if max_tokens is None else int(max_tokens), speed, mode, seed or "",
    )  # fmt: skip


def _wire_takes(w: Widgets, rooms: Rooms) -> None:
    import gradio as gr

    def act(event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        takes = rooms.desk.takes(str(request.session_hash))
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

    w.takes.click(act, None, [w.message, w.seed_mode, w.seed, w.voice, w.managed], **_QUIET)
    w.seed_mode.change(lambda mode: gr.Textbox(visible=mode == "locked"), w.seed_mode, w.seed, **_QUIET)


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
    gr.on([w.keep.click, w.managed.input], lambda: gr.Column(visible=False), None, w.sure, **_QUIET)


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

    w.look.click(look, None, w.queue, **_QUIET)
    w.queue.click(act, None, w.queue, **_QUIET)
