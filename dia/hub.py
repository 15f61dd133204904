"""Where a checkpoint's files are: a folder, named files, or a repository on the Hugging Face hub. Reads no tensors."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dia.checkpoint import read_json
from dia.errors import CheckpointNotFound

DEFAULT_MODEL = "nari-labs/Dia-1.6B"
DAC_REPOSITORY = "descript/dac_44khz"

_WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one checkpoint.

    Attributes:
        name: what to call it: the hub id, or the folder's name.
        config: path of config.json.
        weights: paths of the weight files, together complete.
        generation: path of generation_config.json, or None.
        codec: folder of the codec that belongs to it, or None if it is to be found elsewhere.
    """

    name: str
    config: Path
    weights: list[Path]
    generation: Path | None = None
    codec: Path | None = None


def from_folder(folder: Path, name: str | None = None) -> Source:
    """The checkpoint in a folder.

    Raises:
        CheckpointNotFound: no such folder, or no config.json or weights in it.
    """
    if not folder.is_dir():
        raise CheckpointNotFound(f"{folder} is not a folder with a checkpoint")
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointNotFound(f"{folder} holds no config.json")
    generation = folder / "generation_config.json"
    codec = folder / "codec"
    return Source(
        name=name or folder.resolve().name,
        config=config,
        weights=[folder / file for file in _choose_weights([path.name for path in folder.iterdir()], folder)],
        generation=generation if generation.is_file() else None,
        codec=codec if codec.is_dir() else None,
    )


def from_files(config: Path, weights: Path) -> Source:
    """A checkpoint given as two files (a sharded index counts as the weights).

    Raises:
        CheckpointNotFound: either does not exist.
    """
    for path in (config, weights):
        if not path.is_file():
            raise CheckpointNotFound(f"{path} does not exist")
    paths = _shards(weights) if weights.name.endswith(".index.json") else [weights]
    generation, codec = config.parent / "generation_config.json", config.parent / "codec"
    return Source(
        name=weights.stem,
        config=config,
        weights=paths,
        generation=generation if generation.is_file() else None,
        codec=codec if codec.is_dir() else None,
    )


def _shards(index: Path) -> list[Path]:
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    paths = [index.parent / Path(name).name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing or not paths:
        raise CheckpointNotFound(f"{index.name} names files that are not there: {', '.join(missing) or 'none at all'}")
    return paths


def _choose_weights(names: list[str], folder: Path | None) -> list[str]:
    """Of all files in a repository, the fewest that make the model: safetensors before pickles, whole before shards."""
    for name in _WEIGHT_NAMES[:1]:
        if name in names:
            return [name]
    if "model.safetensors.index.json" in names:
        if folder is None:
            return ["model.safetensors.index.json", *sorted(n for n in names if _is_shard(n))]
        return [path.name for path in _shards(folder / "model.safetensors.index.json")]
    single = sorted(n for n in names if n.endswith(".safetensors"))
    pickles = sorted(n for n in names if n in _WEIGHT_NAMES) + sorted(n for n in names if n.endswith(".pth"))
    for found in (single, pickles):
        if found:
            return found[:1]
    raise CheckpointNotFound(
        f"{folder or 'the repository'} holds no weights (.safetensors, .bin or .pth); files: {', '.join(sorted(names)[:10])}"
    )


def _is_shard(name: str) -> bool:
    return name.startswith("model-") and name.endswith(".safetensors")


def from_hub(
    repository: str, *, revision: str | None = None, offline: bool = False, token: str | bool | None = None
) -> Source:
    """Download (or find in the cache) the files of a hub repository, with progress bars.

    Args:
        repository: "owner/name".
        revision: branch, tag or commit; None is the default branch.
        offline: use the cache only. HF_HUB_OFFLINE=1 does the same.
        token: None takes HF_TOKEN or the stored login.

    Raises:
        CheckpointNotFound: not in the cache (offline), not on the hub, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns: list[str] | None = None
    options: dict[str, Any] = {"revision": revision, "token": token}
    try:
        if not (offline or os.environ.get("HF_HUB_OFFLINE") == "1"):
            names = HfApi(token=token).list_repo_files(repository, revision=revision)
            patterns = [*_choose_weights(names, None), "config.json", "generation_config.json", "codec/*"]
        folder = snapshot_download(repository, allow_patterns=patterns, local_files_only=patterns is None, **options)
    except LocalEntryNotFoundError as error:
        raise CheckpointNotFound(
            f"{repository} is not in the local cache; allow the download, or name a local folder"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise CheckpointNotFound(
            f"{repository} cannot be fetched from the hub ({status}); check the name and revision, and HF_TOKEN if it is private"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointNotFound(
            f"{repository} cannot be fetched: the hub cannot be reached ({type(error).__name__}); name a local folder instead"
        ) from error
    return from_folder(Path(folder), name=repository)


def find(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool = False,
    token: str | bool | None = None,
) -> Source:
    """A folder if one of that name exists, else a hub repository.

    Raises:
        CheckpointNotFound: neither.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return from_folder(path)
    text = os.fspath(model)
    if text.startswith((".", "/", "~")) or text.count("/") != 1 or "\\" in text:
        raise CheckpointNotFound(f"{text} is neither a folder here nor a hub name like {DEFAULT_MODEL}")
    return from_hub(text, revision=revision, offline=offline, token=token)
