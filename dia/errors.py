"""The one tree of errors. Each class says who must act, so that HTTP status and exit code follow from it.

    DiaError
    ├── BadInput (also ValueError)      the caller changes the request        exit 2, HTTP 4xx
    │   ├── BadScript                   text: empty, too long, unreadable
    │   ├── BadParameter                a number or a name out of its range
    │   ├── BadPrompt                   audio given as a voice: too short, too long, silent, damaged
    │   │   └── NotAudio                the bytes are no audio of a known kind
    │   ├── BadCodes                    codec codes of a wrong shape or range
    │   ├── UnknownVoice                no voice of that name
    │   ├── UnknownFormat               no audio format of that name
    │   ├── NotFound                    no job, log, prompt or adapter of that id
    │   ├── Conflict                    the thing exists, is in use, or is in another state
    │   ├── Protected                   built in: may be changed, not deleted
    │   ├── KeyReused                   an idempotency key came back with another request
    │   └── ResultGone                  the result existed and was dropped
    ├── OperatorError                   whoever runs the program fixes the installation     exit 1, HTTP 503
    │   ├── CheckpointNotFound          no such file, folder or hub repository
    │   ├── CheckpointMismatch          files do not hold what the configuration promises
    │   ├── CodecUnavailable            the model was loaded without its codec
    │   ├── DeviceUnavailable           no such device here
    │   ├── MissingExtra                an optional package is not installed
    │   ├── OutputUnwritable            the output path cannot be written
    │   ├── DiskFull                    no room left for a file or a row
    │   ├── StoreUnavailable            the database is locked, damaged or read only
    │   ├── DataFolderInUse             another server works in this data folder
    │   └── TrainingDiverged            a training run's loss is no number any more
    ├── RetryLater                      the same request may succeed later    HTTP 429 or 503
    │   ├── QueueFull
    │   ├── EngineStopped
    │   └── NotFinished                 the job has no result yet
    └── GenerationFailed                this request ended, the engine goes on      exit 1, HTTP 500/503/504
        ├── Cancelled
        ├── DeadlineExceeded
        ├── OutOfMemory
        ├── NonFiniteLogits
        ├── CodecFailed
        ├── EngineWedged
        └── WorkerLost                  the process died on this job as often as is allowed

A message states the value, the limit and the cure: "prompt is 73.2 s; at most 60 s; cut it shorter".
Messages hold no path that the caller did not name and no text of other users.
"""

__all__ = [
    "BadCodes",
    "BadInput",
    "BadParameter",
    "BadPrompt",
    "BadScript",
    "Cancelled",
    "CheckpointMismatch",
    "CheckpointNotFound",
    "CodecFailed",
    "CodecUnavailable",
    "Conflict",
    "DataFolderInUse",
    "DeadlineExceeded",
    "DeviceUnavailable",
    "DiaError",
    "DiskFull",
    "EngineStopped",
    "EngineWedged",
    "GenerationFailed",
    "KeyReused",
    "MissingExtra",
    "NonFiniteLogits",
    "NotAudio",
    "NotFinished",
    "NotFound",
    "OperatorError",
    "OutOfMemory",
    "OutputUnwritable",
    "Protected",
    "QueueFull",
    "ResultGone",
    "RetryLater",
    "StoreUnavailable",
    "TrainingDiverged",
    "UnknownFormat",
    "UnknownVoice",
    "WorkerLost",
]


class DiaError(Exception):
    """Anything this package raises on purpose."""


class BadInput(DiaError, ValueError):
    """The caller must change the request."""


class BadScript(BadInput):
    """The text cannot be spoken as it stands."""


class BadParameter(BadInput):
    """A parameter is outside its range; the message names it, its value and the range."""


class BadPrompt(BadInput):
    """The audio given as a voice cannot be used."""


class NotAudio(BadPrompt):
    """The bytes given as a voice are no audio of a known kind."""


class BadCodes(BadInput):
    """Codec codes have a wrong shape, type or range."""


class UnknownVoice(BadInput):
    """No voice of that name; the message lists the known ones."""


class UnknownFormat(BadInput):
    """No audio format of that name; the message lists the known ones."""


class NotFound(BadInput):
    """No job, log, prompt or adapter of that id."""


class Conflict(BadInput):
    """The thing exists already, is in use, or is in a state that does not allow this."""


class Protected(BadInput):
    """Something built in, which may be changed but not deleted."""


class KeyReused(BadInput):
    """An idempotency key came back with a different request."""


class ResultGone(BadInput):
    """The result existed and was dropped, or the job was cancelled: it will not come."""


class OperatorError(DiaError):
    """Whoever runs the program must fix the installation."""


class CheckpointNotFound(OperatorError):
    """No such file, folder or hub repository, or it cannot be reached."""


class CheckpointMismatch(OperatorError):
    """The files do not hold what the configuration promises; the message lists the tensors or fields."""


class CodecUnavailable(OperatorError):
    """The model was loaded without a codec, or none can be found."""


class DeviceUnavailable(OperatorError):
    """The named device or number type does not exist on this machine."""


class MissingExtra(OperatorError):
    """An optional package is not installed; the message gives the install command."""


class OutputUnwritable(OperatorError):
    """The output cannot be written."""


class DiskFull(OperatorError):
    """No room is left on the disk; reading goes on, and writing does once there is room."""


class StoreUnavailable(OperatorError):
    """The database is locked by another process, damaged, read only or of a newer version."""


class DataFolderInUse(OperatorError):
    """Another server works in this data folder."""


class TrainingDiverged(OperatorError):
    """A training run's loss became infinite or NaN: go on from the last checkpoint with a lower rate."""


class RetryLater(DiaError):
    """The same request may succeed later. `retry_after_s` is an estimate in seconds, or None if unknown."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(RetryLater):
    """The bounded queue has no room."""


class EngineStopped(RetryLater):
    """The engine is starting, draining or stopped."""


class NotFinished(RetryLater):
    """The job has no result yet; ask again later."""


class GenerationFailed(DiaError):
    """This request ended without a result; the engine goes on."""


class Cancelled(GenerationFailed):
    """The caller cancelled the request."""


class DeadlineExceeded(GenerationFailed):
    """The request's deadline passed before it was finished."""


class OutOfMemory(GenerationFailed):
    """The device had no memory left for this request."""


class NonFiniteLogits(GenerationFailed):
    """The model produced a value that is not a finite number; the message names request and step."""


class CodecFailed(GenerationFailed):
    """Codes could not be turned into sound."""


class EngineWedged(GenerationFailed):
    """A step did not come back in time."""


class WorkerLost(GenerationFailed):
    """The process died while it worked on this job, as often as is allowed."""
