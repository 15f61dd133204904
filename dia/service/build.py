"""Settings become a running service: the only place where things are put together, and the only one to load a model.

Order of closing, written down: refuse new requests, let running ones finish for a while, cut the rest short (jobs go
back to the queue), stop the clean-up, close the model, flush the database, let the folder go.
"""

import logging
from dataclasses import dataclass

from dia.service.adapters import AdapterStore
from dia.service.admission import Admission
from dia.service.asr import Transcriber
from dia.service.bundled import bundle_voices
from dia.service.clock import Clock, wall_clock
from dia.service.counters import Counters
from dia.service.db import Database
from dia.service.jobs import JobQueue
from dia.service.logs import LogStore
from dia.service.prompts import PromptStore
from dia.service.request import ModelLimits, SpeechModel
from dia.service.retention import Retention
from dia.service.settings import ConfigStore, Settings
from dia.service.speech import SpeechService
from dia.service.storage import DataFolder
from dia.service.takes import TakeStore
from dia.service.voices import VoiceStore
from dia.text.wording import load_dictionary

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a door needs. Made by `build`; `start`, then `load_model`; `close` at the end."""

    settings: Settings
    config: ConfigStore
    folder: DataFolder
    database: Database
    counters: Counters
    admission: Admission
    prompts: PromptStore
    adapters: AdapterStore
    voices: VoiceStore
    logs: LogStore
    takes: TakeStore
    speech: SpeechService
    jobs: JobQueue
    retention: Retention

    def start(self) -> None:
        """Sweep what a kill left, take up old jobs, look for prompts, begin cleaning. Quick; needs no model."""
        self.folder.sweep_unfinished()
        self.logs.mark_lost()
        bundle_voices(self.voices, self.prompts)
        self.jobs.start()
        if self.config.current.auto_discover_prompts:
            for name, reason in self.prompts.discover().refused.items():
                _logger.warning("audio file %s was not taken in: %s", name, reason)
        self.retention.start()

    def load_model(self) -> None:
        """Load the model of the settings and begin to speak; takes seconds to minutes, so call it in a thread.

        Raises:
            OperatorError: it cannot be loaded; health reports say so too.
        """
        try:
            model, limits = load_model(self.settings)
        except BaseException as error:
            self.speech.model_failed(error)
            raise
        self.speech.attach(model, limits)

    def close(self, drain_s: float | None = None) -> None:
        """End everything, in the order of the module's docstring. Jobs cut short are taken up at the next start."""
        self.jobs.stop()
        self.speech.close(self.settings.drain_s if drain_s is None else drain_s)
        self.jobs.close()
        self.retention.stop()
        self.database.close()
        self.folder.close()


def build(settings: Settings, *, model: SpeechModel | None = None, clock: Clock = wall_clock) -> Service:
    """Put a service together in the data folder of the settings; `model` replaces the one they name.

    Raises:
        DataFolderInUse, StoreUnavailable: the folder or its database cannot be used. BadParameter: the dictionary cannot
            be read.
    """
    dictionary = {} if settings.dictionary is None else load_dictionary(settings.dictionary)
    folder = DataFolder(settings.data_dir)
    try:
        database = Database(folder.database_path)
    except BaseException:
        folder.close()
        raise
    config = ConfigStore(database, settings)
    counters = Counters()
    admission = Admission(settings.workers, settings.queue_capacity)
    prompts = PromptStore(
        folder=folder, settings=settings, config=config, counters=counters, clock=clock,
        transcriber=Transcriber(offline=settings.offline, folder=settings.whisper_folder),
    )  # fmt: skip
    adapters = AdapterStore(folder)
    voices = VoiceStore(database, prompts, adapters, clock)
    logs = LogStore(database, folder, clock)
    takes = TakeStore(settings.max_take_bytes)
    speech = SpeechService(
        settings=settings, config=config, admission=admission, voices=voices, prompts=prompts,
        adapters=adapters, logs=logs, counters=counters, takes=takes, dictionary=dictionary,
    )  # fmt: skip
    jobs = JobQueue(
        settings=settings, config=config, database=database, folder=folder, speech=speech, admission=admission,
        counters=counters, clock=clock,
    )  # fmt: skip
    retention = Retention(settings=settings, config=config, logs=logs, jobs=jobs, clock=clock)
    service = Service(
        settings,
        config,
        folder,
        database,
        counters,
        admission,
        prompts,
        adapters,
        voices,
        logs,
        takes,
        speech,
        jobs,
        retention,
    )
    if model is not None:
        speech.attach(model)
    return service


def load_model(settings: Settings) -> tuple[SpeechModel, ModelLimits]:
    """The model that the settings name, its engine running in its own thread, and what one pass of it takes."""
    from dia.engine.options import EngineOptions
    from dia.model import Dia

    model = Dia.from_pretrained(
        settings.model,
        compute_dtype=None if settings.dtype == "auto" else settings.dtype,
        device=None if settings.device == "auto" else settings.device,
        offline=settings.offline,
        quantization=settings.quantization,
        options=EngineOptions(
            memory_limit_gb=settings.memory_limit_gb,
            keep_alive_s=settings.keep_alive_s,
            kv_cache=settings.kv_cache,
            graphs=not settings.disable_torch_compile,
        ),
    )
    model.settle_threads()
    model.start()
    data = model.config.data
    tail_rows = data.audio_length - model.config.max_frames
    device = str(model.placement.device)
    return model, ModelLimits(
        data.text_length,
        data.audio_length,
        tail_rows,
        model.frame_rate_hz,
        model.config.knows_sounds,
        device,
        model.placement.dtype_name,
        model.captures_steps,
    )
