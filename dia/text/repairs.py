"""The account of what was changed in a text: every repair with its count, as sentences for the caller."""

from collections import Counter

__all__ = ["Repairs"]

_SHOWN_DETAILS = 5


class Repairs:
    """Collects repairs while a text goes through its stations; equal ones are counted together."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, Counter[str]] = {}

    def add(self, what: str, count: int = 1, detail: str | None = None) -> None:
        """Notes that `what` was done `count` times; nothing is noted for a count of 0."""
        if count:
            self._counts[what] += count
        if detail is not None:
            self._details.setdefault(what, Counter())[detail] += count

    def warnings(self) -> tuple[str, ...]:
        """One sentence for each kind of repair, in the order in which they first happened."""
        return tuple(f"{what}: {count}{self._detail(what)}" for what, count in self._counts.items())

    def _detail(self, what: str) -> str:
        details = self._details.get(what)
        if not details:
            return ""
        shown = details.most_common(_SHOWN_DETAILS)
        named = ", ".join(name if count == 1 else f"{name} {count} times" for name, count in shown)
        more = len(details) - len(shown)
        return f" ({named} and {more} more)" if more else f" ({named})"
