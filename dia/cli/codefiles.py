"""Codec codes from .npy files, never unpickling what a file holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dia.errors import BadCodes

if TYPE_CHECKING:
    import numpy as np

__all__ = ["load_codes"]


def load_codes(path: Path) -> "np.ndarray[Any, Any]":
    """The array in a .npy file, as it is; whoever uses it checks shape and range.

    Raises:
        BadCodes: no such file, or not a .npy file of plain numbers.
    """
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
    except OSError as error:
        raise BadCodes(
            f"codes {path} cannot be read: {error.strerror or 'not a .npy file'}; check the path"
        ) from error
    except (ValueError, EOFError) as error:
        raise BadCodes(f"{path.name} is not a .npy file of whole numbers; save codes with --save-codes") from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise BadCodes(f"{path.name} holds several arrays; save one array of codes as .npy")
    return loaded
