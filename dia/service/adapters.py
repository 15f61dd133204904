"""Adapters of a server: files of `dia finetune` in its data folder, known by id and never by path.

They are put there and taken away as files, `adapters/NAME.safetensors`; the model reads them. Knows no tensors.
"""

from dataclasses import dataclass
from pathlib import Path

from dia.errors import BadParameter, NotFound
from dia.service.storage import DataFolder, check_id

SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """One file; `modified_at` is seconds since 1970."""

    id: str
    size_bytes: int
    modified_at: float


class AdapterStore:
    """The adapters that are there now. Any thread may call."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder

    def all(self) -> tuple[AdapterFile, ...]:
        """Every file whose name may be an id, by name."""
        found = []
        for path in sorted(self._folder.room("adapters").glob(f"*{SUFFIX}")):
            try:
                check_id("adapter", path.stem)
                about = path.stat()
            except (BadParameter, OSError):  # gone between listing and asking, or not to be named
                continue
            found.append(AdapterFile(path.stem, about.st_size, about.st_mtime))
        return tuple(found)

    def find(self, adapter_id: str) -> Path:
        """The file of an adapter.

        Raises:
            BadParameter: what cannot be an id. NotFound: the message lists the known ones.
        """
        path = self._folder.place("adapters", check_id("adapter", adapter_id) + SUFFIX)
        if not path.is_file():
            known = [adapter.id for adapter in self.all()]
            listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
            raise NotFound(
                f"adapter {adapter_id!r} is not known; known are {listed or 'none'}; put {adapter_id}{SUFFIX} into the folder "
                "adapters of the server's data folder"
            )
        return path
