"""The desk of one page: speak, stop, estimate, keep takes. Everything the Speak tab does, without Gradio."""

import re
import secrets
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dia.errors import BadParameter, DiaError, NotFound
from dia.service.build import Service
from dia.service.request import SpeechPlan, SpeechRequest
from dia.service.voices import Voice
from dia.ui.live import LiveSpeech
from dia.ui.shelf import Shelf

__all__ = ["MAX_SESSIONS", "Access", "Desk", "Estimate", "Form", "SeedMode", "Settled", "TakeCard"]

SeedMode = Literal["voice", "new", "locked"]
PAGE_ID = "page"  # request id of what the page speaks, so that the log tells it apart
MAX_SEED = 2**63 - 1
UNHEARD_S = 15.0
MAX_TAKES = 6  # of a session
MAX_SESSIONS = 500


@dataclass(frozen=True, slots=True)
class Access:
    """Who sits at the page: `owner` names the API key, None where none are in use; `sees_all` and `manages` are what
    an operator may."""

    owner: str | None = None
    sees_all: bool = True
    manages: bool = True

    def may_see(self, owner: str | None) -> bool:
        return self.sees_all or owner == self.owner


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in the controls. None is an empty field; the seed is what was typed, "" an empty one."""

    text: str
    voice: str
    temperature: float
    cfg_scale: float
    top_p: float
    top_k: int
    max_tokens: int | None
    speed: float
    seed_mode: SeedMode
    seed: str = ""

    def request(self, owner: str | None = None) -> SpeechRequest:
        """The request for the service.

        Raises:
            BadParameter: the seed is to be locked and none is given, or it is no seed.
        """
        return SpeechRequest(
            text=self.text, voice=self.voice, speed=self.speed, temperature=self.temperature,
            cfg_scale=self.cfg_scale, top_p=self.top_p, cfg_filter_top_k=self.top_k, max_tokens=self.max_tokens,
            seed=self._chosen_seed(), owner=owner, request_id=PAGE_ID,
        )  # fmt: skip

    def _chosen_seed(self) -> int | None:
        if self.seed_mode == "voice":
            return None
        if self.seed_mode == "new":
            return secrets.randbelow(2**31)
        typed = self.seed.strip()
        if not typed:
            raise BadParameter("the seed is locked but empty; type a number or choose another kind of seed")
        if not re.fullmatch(r"[0-9]{1,19}", typed) or int(typed) > MAX_SEED:
            raise BadParameter(f"seed is {typed[:40]!r}; it is a whole number from 0 to {MAX_SEED}; choose another")
        return int(typed)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a text before it is spoken; `problem` is why it cannot be, `plan` is None then."""

    plan: SpeechPlan | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The settings that a voice speaks with if the page asks for nothing else."""

    temperature: float
    cfg_scale: float
    top_p: float
    top_k: int
    max_tokens: int | None
    speed: float


@dataclass(frozen=True, slots=True)
class TakeCard:
    """A finished take as the page shows it."""

    number: int
    log_id: str
    token: str
    text: str
    voice: str
    seed: int
    duration_s: float
    generation_s: float


@dataclass(slots=True)
class _Seat:
    """One session: its newest speech with the token of its sound, up to which of its speeches Stop was pressed, and
    its takes."""

    live: LiveSpeech | None = None
    token: str = ""
    number: int = 0
    stopped: int = 0
    takes: tuple[TakeCard, ...] = ()


class Desk:
    """What the page does with the service. Any thread may call; one speech at a time for each session."""

    def __init__(self, service: Service, shelf: Shelf) -> None:
        self.service = service
        self.shelf = shelf
        self._lock = threading.Lock()
        self._seats: OrderedDict[str, _Seat] = OrderedDict()

    def estimate(self, text: str, voice: str, speed: float) -> Estimate:
        """What the planner says of a text; never raises for what somebody typed."""
        if not text.strip():
            return Estimate()
        try:
            return Estimate(self.service.speech.plan(SpeechRequest(text, voice, speed=speed)))
        except DiaError as error:
            return Estimate(problem=str(error))

    def settled(self, voice: str) -> Settled:
        """What checkpoint, server and voice decide.

        Raises:
            EngineStopped: no model yet; UnknownVoice.
        """
        plan = self.service.speech.plan(SpeechRequest("Hello.", voice))
        params = plan.params
        return Settled(
            params.temperature, params.cfg_scale, params.top_p, params.cfg_filter_top_k, params.max_tokens, plan.speed
        )

    def speak(self, session: str, form: Form, access: Access, number: int = 1) -> tuple[LiveSpeech, str]:
        """Begin; returns the speech and the token of its sound. An older one of the session is stopped.

        Args:
            number: which of its speeches this is, as the session counts them.

        Raises:
            What `SpeechService.open` raises; nothing runs then.
        """
        self.takes(session)  # the speech before may have ended a moment ago
        if (before := self.spoken(session)) is not None:
            before[0].cancel()
        speech = self.service.speech.open(form.request(access.owner))
        name = f"dia_{speech.plan.voice.id}_{speech.id[:8]}"
        # A tab that is closed stops listening. A connection that tells so would be one of the few that a browser holds.
        live = LiveSpeech(speech, self.service.takes, name, patience_s=UNHEARD_S)
        token = self.shelf.add(live.track)
        with self._lock:
            seat = self._seat(session)
            older, seat.live, seat.token, seat.number = seat.live, live, token, number
            is_stopped = number <= seat.stopped
        if older is not None:
            older.cancel()
        if is_stopped:
            live.cancel()
        live.start()
        return live, token

    def stop(self, session: str, number: int = 1) -> None:
        """Stop the session's speeches up to that number, those on their way here among them: the message that stops one
        may overtake the one that begins it."""
        with self._lock:
            seat = self._seat(session)
            seat.stopped = max(seat.stopped, number)
            live = seat.live if seat.number <= number else None
        if live is not None:
            live.cancel()

    def spoken(self, session: str) -> tuple[LiveSpeech, str] | None:
        """The newest speech of a session and the token of its sound; None before the first."""
        with self._lock:
            seat = self._seats.get(session)
            return None if seat is None or seat.live is None else (seat.live, seat.token)

    def takes(self, session: str) -> tuple[TakeCard, ...]:
        """The newest takes of a session, the oldest first; its finished speech is among them."""
        with self._lock:
            seat = self._seats.get(session)
            if seat is None:
                return ()
            live, takes = seat.live, seat.takes
            is_new = live is not None and live.status == "completed" and all(t.log_id != live.speech.id for t in takes)
            if live is not None and is_new:
                number = takes[-1].number + 1 if takes else 1
                seat.takes = (*takes, _card(live, seat.token, number))[-MAX_TAKES:]
            return seat.takes

    def _seat(self, session: str) -> _Seat:
        """The session's seat, under the lock. Nobody says that a tab is closed: seats go whose sound the shelf forgot."""
        for old, seat in list(self._seats.items()):
            if seat.live is not None and seat.live.track.is_done and not self.shelf.holds(seat.token):
                del self._seats[old]
        seat = self._seats.setdefault(session, _Seat())
        self._seats.move_to_end(session)
        if len(self._seats) > MAX_SESSIONS:
            self._seats.popitem(last=False)
        return seat

    def keep(self, log_id: str, name: str, access: Access) -> Voice:
        """Make a take a voice of that name.

        Raises:
            BadInput: no such take any more, or no name that can be one.
        """
        take = self.service.takes.get(log_id)
        if not access.may_see(take.owner):
            raise NotFound("this take is no longer at hand; speak it again and keep it soon after")
        changes: Mapping[str, Any] = {"name": name.strip()[:120]}
        return self.service.voices.freeze(voice_id(name), take, changes, self.service.settings.max_prompt_s)


def _card(live: LiveSpeech, token: str, number: int) -> TakeCard:
    """A finished speech as a take."""
    speech = live.speech
    return TakeCard(
        number, speech.id, token, speech.plan.request.text, speech.plan.voice.id, speech.seed, live.track.duration_s,
        speech.generation_s,
    )  # fmt: skip


def voice_id(name: str) -> str:
    """An id made of a name: lower case, in letters of the basic alphabet, everything but letters and digits an underscore.

    Raises:
        BadParameter: no letter or digit in it.
    """
    plain = "".join(_plain(letter) for letter in unicodedata.normalize("NFC", name))
    parts = re.findall(r"[a-z0-9]+", plain.lower())
    if not parts:
        raise BadParameter("the voice has no name; give it one of at least one letter or digit, such as anna")
    return "_".join(parts)[:64].rstrip("_")


def _plain(letter: str) -> str:
    """A letter or digit of any script in basic letters, by its name in Unicode; everything else is a space."""
    if letter.isascii():
        return letter if letter.isalnum() else " "
    if not letter.isalnum():
        return "" if unicodedata.category(letter).startswith("M") else " "
    # LATIN SMALL LETTER A WITH DIAERESIS, HANGUL SYLLABLE AN, CJK UNIFIED IDEOGRAPH-82B1
    words = unicodedata.name(letter, "").split(" WITH ")[0].replace("SHARP S", "SS")
    return re.split(r"[ -]", words)[-1]
