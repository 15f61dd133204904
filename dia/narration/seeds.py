"""One seed for a run, one for each pass in it: derived, so that any pass can be made again alone."""

import hashlib

__all__ = ["piece_seed"]


def piece_seed(seed: int, piece_idx: int, attempt: int = 0) -> int:
    """The seed of a piece (0 …) at an attempt (0 …): 0 … 2**63 - 1. The very first is the run's own.

    Hashed and not counted on, so that neighbouring runs do not share the numbers of each other's pieces.
    """
    if piece_idx == 0 and attempt == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/{piece_idx}/{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
