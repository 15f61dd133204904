"""Where a checkpoint's files are: a folder, named files, or a repository on the Hugging Face hub. Reads no tensors.

Also which checkpoint is meant when nobody names one (`choose_default`).
"""

import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from dia.config import read_json
from dia.device import Placement, free_memory_bytes
from dia.errors import BadParameter, CheckpointNotFound, CodecUnavailable, DiaError
from dia.measured.books import BOOKS_FILE

_log = logging.getLogger(__name__)

DEFAULT_MODEL = "nari-labs/Dia-1.6B"
DAC_REPOSITORY = "descript/dac_44khz"
BUNDLED = Path(__file__).parent / "assets" / "nano"
"""The small model that comes with the package; `nano` names it wherever a model is named."""
VOICE_FILE = "voice.safetensors"
"""In a checkpoint's folder: the voice that speaks where none is named."""

DEFAULT_MODEL_PARAMETERS = 1_611_000_000
_BESIDE_WEIGHTS_BYTES = 1_500_000_000
"""Codec, one request's caches and activations of Dia-1.6B."""
_ANSWER_WITHIN_S = 5.0

_WEIGHT_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".bin", ".pt")
_BESIDE_WEIGHTS = ["config.json", "generation_config.json", VOICE_FILE, BOOKS_FILE, "codec/*"]
"""Patterns of what else belongs to a checkpoint, or to a codec."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one checkpoint.

    Attributes:
        name: what to call it: the hub id, or the folder's name.
        config: path of config.json.
        weights: paths of the weight files, together complete.
        codec: folder of the codec that belongs to it, or None if it is to be found elsewhere.
        voice: file of the voice that speaks where none is named, or None (see `dia.prompts.read_voice`).
    """

    name: str
    config: Path
    weights: list[Path]
    codec: Path | None = None
    voice: Path | None = None


def from_folder(folder: Path, name: str | None = None) -> Source:
    """The checkpoint in a folder.

    Raises:
        CheckpointNotFound: no such folder, no config.json in it, no weights, or several and no telling which.
    """
    if not folder.is_dir():
        raise CheckpointNotFound(f"{folder} is not a folder with a checkpoint")
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointNotFound(f"{folder} holds no config.json")
    weights = _choose_weights([path.name for path in folder.iterdir()], str(folder))
    return _source(name or folder.resolve().name, config, folder / weights)


def from_files(config: Path, weights: Path) -> Source:
    """A checkpoint given as two files (a sharded index counts as the weights).

    Raises:
        CheckpointNotFound: either does not exist.
    """
    for path in (config, weights):
        if not path.is_file():
            raise CheckpointNotFound(f"{path} does not exist")
    return _source(weights.stem, config, weights)


def _source(name: str, config: Path, weights: Path) -> Source:
    folder = config.parent
    codec, voice = folder / "codec", folder / VOICE_FILE
    return Source(
        name=name,
        config=config,
        weights=_shards(weights) if weights.name.endswith(".index.json") else [weights],
        codec=codec if codec.is_dir() else None,
        voice=voice if voice.is_file() else None,
    )


def _shards(index: Path) -> list[Path]:
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    paths = [index.parent / Path(name).name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing or not paths:
        raise CheckpointNotFound(f"{index.name} names files that are not there: {', '.join(missing) or 'none at all'}")
    return paths


def _choose_weights(names: list[str], place: str) -> str:
    """Of all files at a place, the one that is the model or lists its shards: safetensors before pickles."""
    for name in _WEIGHT_NAMES:
        if name in names:
            return name
    for suffix in _WEIGHT_SUFFIXES:
        found = sorted(name for name in names if name.endswith(suffix) and "/" not in name)
        found = [name for name in found if name not in (VOICE_FILE, BOOKS_FILE)]
        shortest = min(found, key=len, default="")
        # Beside model.safetensors, model_bf16.safetensors is a variant of it.
        if found and all(name.startswith(shortest.removesuffix(suffix)) for name in found):
            return shortest
        if found:
            raise CheckpointNotFound(
                f"{place} holds {len(found)} weight files ({', '.join(found[:5])}{' …' if len(found) > 5 else ''}) and "
                "none that says which to take; name one of them together with its config.json"
            )
    raise CheckpointNotFound(
        f"{place} holds no weights (.safetensors, .bin, .pth or .pt); files: {', '.join(sorted(names)[:10]) or 'none'}"
    )


def from_hub(
    repository: str, *, revision: str | None = None, offline: bool = False, token: str | bool | None = None
) -> Source:
    """Download the files of a hub repository, with progress bars, or find them in the cache.

    Where the hub cannot be asked, a complete copy in the cache is taken, and a warning is logged.

    Args:
        repository: "owner/name".
        revision: branch, tag or commit; None is the default branch.
        offline: use the cache only. HF_HUB_OFFLINE=1 does the same.
        token: None takes HF_TOKEN or the stored login.

    Raises:
        CheckpointNotFound: not complete in the cache, and not on the hub or the hub cannot be asked.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # re-exported without saying so

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise CheckpointNotFound(f"{repository!r} cannot be the name of a hub repository; check it") from error
    if offline or is_offline():
        return _from_cache(repository, revision)
    try:
        return _fetch(repository, revision, token)
    except DiaError:
        raise
    except Exception as error:  # noqa: BLE001  # the HTTP library's own errors have no other base
        reason, cure = _explain(error)
        try:
            found = _from_cache(repository, revision)
        except CheckpointNotFound:
            raise CheckpointNotFound(
                f"{repository} cannot be fetched: {reason}, and the local cache holds no complete copy; {cure}"
            ) from error
        _log.warning("%s: %s; the copy in the local cache is taken", repository, reason)
        return found


def _explain(error: Exception) -> tuple[str, str]:
    """Why a download failed, and what to do about it."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status, check = error.response.status_code, "check the name and revision, and HF_TOKEN if it is private"
        return f"the hub answers {status}", "try again later" if status == 429 or status >= 500 else check
    # Those of the network name no file; a write to a full disk does not either.
    if isinstance(error, OSError) and (error.filename or error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return f"{cache_folder()} cannot be written ({error.strerror})", "make room, or point HF_HOME elsewhere"
    return f"the hub cannot be reached ({type(error).__name__})", "connect to the network, or name a local folder"


def _fetch(repository: str, revision: str | None, token: str | bool | None) -> Source:
    from huggingface_hub import HfApi, snapshot_download

    about = HfApi(token=token).model_info(repository, revision=revision, timeout=_ANSWER_WITHIN_S)
    weights = _choose_weights([file.rfilename for file in about.siblings or []], repository)
    stem, suffix = weights.removesuffix(".index.json").rsplit(".", 1)
    shards = [f"{stem}-*.{suffix}"] if weights.endswith(".index.json") else []
    folder = snapshot_download(
        repository, revision=revision, token=token, allow_patterns=[weights, *shards, *_BESIDE_WEIGHTS]
    )
    return from_folder(Path(folder), name=repository)


def _from_cache(repository: str, revision: str | None) -> Source:
    """Raises CheckpointNotFound unless everything is here."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repository, revision=revision, local_files_only=True, allow_patterns=_BESIDE_WEIGHTS
        )
    except LocalEntryNotFoundError as error:
        raise CheckpointNotFound(
            f"{repository} is not in the local cache; allow the download, or name a local folder"
        ) from error
    return from_folder(Path(folder), name=repository)


def find(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool = False,
    token: str | bool | None = None,
) -> Source:
    """A folder if one of that name exists, else the bundled model if it is `nano`, else a hub repository.

    Raises:
        CheckpointNotFound: none of these. BadParameter: a revision of a folder.
    """
    path = Path(model).expanduser()
    if os.fspath(model) == BUNDLED.name and not path.is_dir():
        path = BUNDLED
    if path.is_dir():
        if revision is not None:
            raise BadParameter(
                f"revision {revision!r} is for hub repositories, and {path.name} is a folder; leave it out"
            )
        return from_folder(path)
    text = os.fspath(model)
    if text.startswith((".", "/", "~")) or text.count("/") != 1 or "\\" in text:
        raise CheckpointNotFound(f"{text} is neither a folder here nor a hub name like {DEFAULT_MODEL}")
    return from_hub(text, revision=revision, offline=offline, token=token)


def find_codec(
    codec: str | os.PathLike[str] | None,
    own: Path | None,
    *,
    offline: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Where a codec is: a folder, or the original release's single file.

    Args:
        codec: folder, file or hub id; None takes the checkpoint's own, else the published 44.1 kHz codec.
        own: the folder of the codec that lies beside the checkpoint, or None.

    Raises:
        CodecUnavailable: it is not here and cannot be fetched.
    """
    if codec is None and own is not None:
        return own
    if codec is not None and Path(codec).expanduser().exists():
        return Path(codec).expanduser()
    name = os.fspath(codec) if codec is not None else DAC_REPOSITORY
    try:
        return find(name, offline=offline, token=token).config.parent
    except CheckpointNotFound as error:
        where = "no codec lies beside the model, and " if codec is None else "the codec: "
        cure = (
            "put it into a folder `codec` beside the model"
            if codec is None
            else "name a folder, a file or a repository"
        )
        raise CodecUnavailable(f"{where}{error}; {cure}, or load the model without sound (load_dac=False)") from error


# ---- the model that is meant when none is named --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DefaultModel:
    """A choice: `model` is a hub id or a folder for `find`; `reason` is why, half a sentence for people."""

    model: str
    reason: str


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def has_token() -> bool:
    """Whether the hub library finds a token (HF_TOKEN or a stored login); public repositories need none."""
    from huggingface_hub import get_token

    return get_token() is not None


def cache_folder() -> Path:
    """Where downloads are kept; need not exist yet."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_cached(repository: str) -> bool:
    """Whether a hub repository's checkpoint is complete in the local cache."""
    try:
        from_hub(repository, offline=True)
    except CheckpointNotFound:
        return False
    return True


def is_reachable(repository: str) -> bool:
    """Whether the hub answers for this repository within ten seconds."""
    if is_offline():
        return False
    from huggingface_hub import HfApi

    try:
        HfApi().repo_info(repository, timeout=_ANSWER_WITHIN_S)
    except Exception:  # noqa: BLE001  # the HTTP library's own errors have no other base
        return False
    return True


def choose_default(placement: Placement, *, offline: bool = False, bundled: Path = BUNDLED) -> DefaultModel:
    """What `auto` stands for: Dia-1.6B where an accelerator holds it, else the bundled model, else what is here.

    Args:
        placement: where the model would run and in which number type.
        offline: do not ask the hub.
        bundled: folder of the small model; need not exist.

    Raises:
        CheckpointNotFound: no model is here or within reach; the message says what to fetch or name.
    """
    kind = placement.device.type
    cached = is_cached(DEFAULT_MODEL)
    if kind == "cpu":
        why_not = "this machine has no accelerator"
    elif not _holds_default(placement):
        why_not = f"{kind} has too little free memory for {DEFAULT_MODEL}"
    elif cached or (not offline and is_reachable(DEFAULT_MODEL)):
        return DefaultModel(DEFAULT_MODEL, f"{kind} is here" + ("" if cached else "; it is fetched first, about 7 GB"))
    else:
        why_not = f"{DEFAULT_MODEL} is not in the local cache and the hub cannot be asked"
    if (bundled / "config.json").is_file():
        return DefaultModel(str(bundled), f"the bundled small model, for {why_not}")
    if cached:
        return DefaultModel(DEFAULT_MODEL, f"it is in the local cache; it will be slow, for {why_not}")
    raise CheckpointNotFound(
        f"no model is on this machine: fetch {DEFAULT_MODEL} with `dia download` (about 7 GB), or name a checkpoint "
        "folder or hub repository with --model"
    )


def _holds_default(placement: Placement) -> bool:
    free = free_memory_bytes(placement.device)
    return free is None or free >= DEFAULT_MODEL_PARAMETERS * placement.dtype.itemsize + _BESIDE_WEIGHTS_BYTES
