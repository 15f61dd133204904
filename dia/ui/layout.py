"""What stands where on the page: Gradio's components and nothing else. Events are in `wiring.py`."""

from dataclasses import dataclass
from html import escape
from typing import Any

from dia.text.nonverbals import NONVERBALS

__all__ = ["EXAMPLES", "TOKENS_INFO", "Widgets", "build_layout", "toolbar"]

TOKENS_INFO = "Most frames of one pass; empty for no limit."

EXAMPLES = (
    (
        "Two friends",
        "[S1] Did you hear that? I think somebody is at the door.\n"
        "[S2] It is only the wind. You watch too many films.\n"
        "[S1] Then why is it knocking?",
    ),
    (
        "Podcast",
        "[S1] Welcome back to the show. Today we talk about machines that talk.\n"
        "[S2] Thank you for having me. (clears throat) I have waited for this all week.\n"
        "[S1] So tell us, how does a computer learn to laugh?\n"
        "[S2] (laughs) Slowly. Very slowly.",
    ),
    (
        "Story",
        "Once there was a lighthouse keeper who counted ships. [pause:0.8s] One night he counted one too many.",
    ),
)
_FIRST_SOUNDS = 2  # what fits on one line with the other buttons
# Clicks inside lists become events with what the button says of itself; see `wiring.py`.
_DELEGATE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (!button) return;
  const field = button.parentElement.querySelector('input');
  trigger('click', {action: button.dataset.do, log: button.dataset.log, name: field ? field.value : ''});
});
"""


_KEYS_HINT = (
    '<p class="dia-hint"><kbd>Ctrl</kbd> <kbd>Enter</kbd> speaks · <kbd>Alt</kbd> <kbd>Enter</kbd> the other '
    "speaker's turn · <kbd>Esc</kbd> stops</p>"
)


@dataclass(frozen=True, slots=True)
class Widgets:
    """The components that events read or write, by what they are for."""

    model_line: Any
    sign_out: Any
    script: Any
    estimate: Any
    speak: Any
    again: Any
    stop: Any
    message: Any
    player: Any
    progress: Any
    takes: Any
    voice: Any
    listen: Any
    voice_info: Any
    voice_player: Any
    seed_mode: Any
    seed: Any
    speed: Any
    temperature: Any
    cfg_scale: Any
    top_p: Any
    top_k: Any
    max_tokens: Any
    reset: Any
    recording: Any
    report: Any
    transcript: Any
    transcribe: Any
    clone_name: Any
    clone: Any
    clone_message: Any
    managed: Any
    delete: Any
    sure: Any
    question: Any
    delete_now: Any
    keep: Any
    history: Any
    history_player: Any
    history_message: Any
    refresh: Any
    history_tab: Any
    queue: Any
    look: Any
    follow: Any
    number: Any
    load_timer: Any


def toolbar(sounds: tuple[str, ...] = NONVERBALS) -> str:
    """Buttons that type for you; `static/editor.js` does the typing, no server is asked."""

    def key(label: str, text: str, title: str, kind: str = "") -> str:
        return (
            f'<button type="button" class="{kind}" data-insert="{escape(text)}" title="{escape(title)}">'
            f"{escape(label)}</button>"
        )

    turns = (
        '<button type="button" data-next-turn title="begin the other speaker\'s turn (Alt+Enter)">Next turn</button>'
        + key("S1", "[S1] ", "the first speaker", "dia-c1")
        + key("S2", "[S2] ", "the second speaker", "dia-c2")
        + key("pause", "[pause:0.8s] ", "a silence of 0.8 seconds")
    )
    first = "".join(
        key(sound, f"({sound}) ", f"the sound ({sound})", "dia-shortcut") for sound in sounds[:_FIRST_SOUNDS]
    )
    chips = "".join(key(sound, f"({sound}) ", f"the sound ({sound})") for sound in sounds)
    examples = "".join(
        f'<button type="button" data-script="{escape(text)}">{escape(name)}</button>' for name, text in EXAMPLES
    )
    return (
        f'<div class="dia-toolbar" role="toolbar" aria-label="insert into the script">{turns}'
        f'<span class="dia-gap"></span>{first}<details><summary>all sounds</summary><div>{chips}</div></details>'
        f"<details><summary>examples</summary><div>{examples}</div></details></div>"
    )


def _html(value: str | None = None, **options: Any) -> Any:
    """An HTML component without Gradio's own look for what is inside."""
    import gradio as gr

    return gr.HTML(value, apply_default_css=False, **options)


def build_layout(max_text_chars: int, voices: list[tuple[str, str]], *, can_transcribe: bool) -> Widgets:
    """Make all components inside the current `gr.Blocks`; `voices` are labels and ids, to be used before it is loaded."""
    import gradio as gr

    found: dict[str, Any] = {}
    with gr.Row(elem_id="dia-head", equal_height=False):
        _html("<h1>Dia<span>dialogue, spoken</span></h1>", scale=1, min_width=120)
        found["model_line"] = _html(elem_id="dia-model", scale=1, min_width=120)
        found["sign_out"] = _html(elem_id="dia-sign-out", scale=0, min_width=0)
    with gr.Tabs():
        with gr.Tab("Speak"), gr.Row(equal_height=False):
            with gr.Column(scale=8, min_width=320):
                found |= _editor(max_text_chars)
            with gr.Column(scale=5, min_width=300):
                found |= _voice_picker(voices) | _settings()
        with gr.Tab("Voices"), gr.Row(equal_height=False):
            found |= _cloning(can_transcribe)
        with gr.Tab("History") as history_tab:
            found |= _history()
        with gr.Tab("Queue"):
            found["queue"] = _html('<p class="dia-hint">One moment.</p>', js_on_load=_DELEGATE, elem_id="dia-queue")
    # Pressed by `static/news.js`.
    for name in ("follow", "look"):
        found[name] = gr.Button(name, visible="hidden", elem_id=f"dia-{name}")
    return Widgets(
        **found, history_tab=history_tab, number=gr.Number(0, precision=0, visible=False), load_timer=gr.Timer(2.0),
    )  # fmt: skip


def _editor(max_text_chars: int) -> dict[str, Any]:
    import gradio as gr

    _html(toolbar())
    script = gr.Textbox(
        EXAMPLES[0][1], label="Script", show_label=False, lines=6, max_lines=18, max_length=max_text_chars,
        elem_id="dia-script", container=False, placeholder="[S1] Hello there. [S2] Hi! (laughs)",
        html_attributes=gr.InputHTMLAttributes(spellcheck=True),
    )  # fmt: skip
    estimate = _html(elem_id="dia-estimate")
    with gr.Row(elem_id="dia-actions"):
        speak = gr.Button("Speak", variant="primary", elem_id="dia-speak", scale=3, min_width=110)
        again = gr.Button("Another take", elem_id="dia-again", scale=2, min_width=110)
        stop = gr.Button("Stop", variant="stop", elem_id="dia-stop", scale=1, min_width=80)
    _html(_KEYS_HINT, elem_id="dia-keys")
    message = _html(elem_id="dia-message")
    player = _html(elem_id="dia-player")
    progress = _html(elem_id="dia-progress")
    takes = _html(js_on_load=_DELEGATE, elem_id="dia-takes")
    return {
        "script": script, "estimate": estimate, "speak": speak, "again": again, "stop": stop, "message": message,
        "player": player, "progress": progress, "takes": takes,
    }  # fmt: skip


def _voice_picker(voices: list[tuple[str, str]]) -> dict[str, Any]:
    import gradio as gr

    with gr.Column(elem_id="dia-voices", variant="panel"):
        voice = gr.Radio(voices, value=voices[0][1], label="Voice", elem_id="dia-voice")
        voice_info = _html(elem_id="dia-voice-info")
        listen = gr.Button("Listen to this voice", size="sm", elem_id="dia-listen")
        voice_player = _html(elem_id="dia-voice-player")
    return {"voice": voice, "listen": listen, "voice_info": voice_info, "voice_player": voice_player}


def _settings() -> dict[str, Any]:
    import gradio as gr

    with gr.Accordion("Speed and seed", open=True):
        speed = gr.Slider(
            0.25, 4.0, 1.0, step=0.05, label="Speed", info="Tempo; the pitch stays.", elem_id="dia-speed"
        )
        seed_mode = gr.Radio(
            [("the voice's own", "voice"), ("new each time", "new"), ("locked", "locked")], value="voice",
            label="Seed", info="The same text, settings and seed give the same sound.", elem_id="dia-seed-mode",
        )  # fmt: skip
        # Text, because a browser's numbers are exact only up to 2**53.
        seed = gr.Textbox(
            "", label="Locked seed", max_lines=1, max_length=40, visible=False, elem_id="dia-seed",
            placeholder="a whole number",
        )  # fmt: skip
    with gr.Accordion("Sampling", open=False):
        temperature = gr.Slider(0.1, 2.0, 1.2, step=0.05, label="Temperature", info="Higher is livelier, then wilder.")
        cfg_scale = gr.Slider(1.0, 10.0, 3.0, step=0.1, label="Guidance", info="How closely the text is followed.")
        top_p = gr.Slider(0.0, 1.0, 0.95, step=0.01, label="Top p", info="The share of likely tokens drawn from.")
        top_k = gr.Slider(1, 1028, 45, step=1, label="Top k", info="How many tokens guidance keeps.")
        max_tokens = gr.Number(
            None, label="Max tokens", precision=0, minimum=100, maximum=10_000, info=TOKENS_INFO,
            placeholder="no limit", elem_id="dia-max-tokens",
        )  # fmt: skip
        reset = gr.Button("Back to this voice's defaults", size="sm")
    return {
        "speed": speed, "seed_mode": seed_mode, "seed": seed, "temperature": temperature, "cfg_scale": cfg_scale,
        "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "reset": reset,
    }  # fmt: skip


def _cloning(can_transcribe: bool) -> dict[str, Any]:
    import gradio as gr

    with gr.Column(scale=8, min_width=320):
        _html(
            "<h2>Clone a voice</h2><p class='dia-hint'>5 to 10 seconds of clean speech and the exact words in it. "
            "Two people in one recording are two speakers: mark them with [S1] and [S2]. "
            "Only use voices that you have the right to use.</p>"
        )
        recording = gr.Audio(
            sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="dia-recording",
            buttons=[], editable=True,
        )  # fmt: skip
        report = _html(elem_id="dia-report")
        transcript = gr.Textbox(
            label="What is said in it", lines=3, max_length=4096, elem_id="dia-transcript",
            placeholder="Without these words the first second is often garbled.",
        )  # fmt: skip
        transcribe = gr.Button("Transcribe it", size="sm", visible=can_transcribe, elem_id="dia-transcribe")
        clone_name = gr.Textbox(label="Name of the voice", max_lines=1, max_length=64, elem_id="dia-clone-name")
        clone = gr.Button("Save this voice", variant="primary", elem_id="dia-clone")
        clone_message = _html(elem_id="dia-clone-message")
    with gr.Column(scale=5, min_width=300, elem_id="dia-yours"):
        _html("<h2>Your voices</h2>")
        managed = gr.Radio([], label="Cloned and kept voices", show_label=False, elem_id="dia-managed")
        _html(
            '<p class="dia-hint">None yet. Save a recording here, or keep a take that you like on the Speak tab.</p>',
            elem_id="dia-no-voices",
        )
        delete = gr.Button("Delete the chosen voice", variant="stop", size="sm", elem_id="dia-delete")
        with gr.Column(visible=False, elem_id="dia-sure") as sure:
            question = _html()
            with gr.Row():
                delete_now = gr.Button("Delete it", variant="stop", size="sm")
                keep = gr.Button("Keep it", size="sm")
    return {
        "recording": recording, "report": report, "transcript": transcript, "transcribe": transcribe,
        "clone_name": clone_name, "clone": clone, "clone_message": clone_message, "managed": managed,
        "delete": delete, "sure": sure, "question": question, "delete_now": delete_now, "keep": keep,
    }  # fmt: skip


def _history() -> dict[str, Any]:
    import gradio as gr

    message = _html(elem_id="dia-history-message")
    player = _html(elem_id="dia-history-player")
    history = _html(js_on_load=_DELEGATE, elem_id="dia-history")
    refresh = gr.Button("Refresh", size="sm", elem_id="dia-refresh")
    return {"history": history, "history_player": player, "history_message": message, "refresh": refresh}
