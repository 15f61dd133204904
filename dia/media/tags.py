"""Tags as FFmpeg reads them, back to the names under which they were written."""

import json
from collections.abc import Mapping

from dia.media.writers import EXTRA_TAGS_KEY

__all__ = ["unpack_tags"]

# What the MP4 container says about itself; nobody wrote it as a tag.
_CONTAINER_KEYS = {"major_brand", "minor_version", "compatible_brands", "language", "handler_name", "vendor_id"}


def unpack_tags(raw: Mapping[str, str]) -> dict[str, str]:
    """Container chatter removed, tags that travelled as one JSON object spread out again."""
    tags = {key: value for key, value in raw.items() if key.lower() not in _CONTAINER_KEYS}
    for carrier in EXTRA_TAGS_KEY.values():
        extra = _as_string_map(tags.get(carrier))
        if extra is not None:
            del tags[carrier]
            tags.update(extra)
    return tags


def _as_string_map(text: str | None) -> dict[str, str] | None:
    """The JSON object of strings in a tag, or None if the tag is something else, written by somebody else."""
    if text is None or not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_map = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if is_map else None
