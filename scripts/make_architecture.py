"""docs/images/architecture.svg: the rooms on their floors and who imports whom, drawn from the code itself.

`python scripts/make_architecture.py` writes it; a test says when it is old. An import is drawn unless it follows from
others: cli imports errors, and so does everything that cli imports.
"""

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.test_rooms import FLOORS, floor_of, imported, modules, room_of  # noqa: E402

PICTURE = ROOT / "docs" / "images" / "architecture.svg"
# What each floor is for, from the top down, as in CONTRIBUTING.md.
JOBS = (
    "the command line", "HTTP; the page", "what a server remembers; judges; benchmarks; keys", "long scripts",
    "the one door to the model; training", "where files are; sound while it is made",
    "three file dialects; continuous batching", "the transformer; DAC", "slots of the decoder; measured codes",
    "values, sampling, scripts, audio files", "errors, memory, packages",
)  # fmt: skip
WIDTH, LEFT, ROW, BOX, GAP, LETTER = 1080, 270, 66, 28, 14, 7.4

Edge = tuple[str, str]


def edges() -> set[Edge]:
    """Who imports whom, without what follows from the rest."""
    below: dict[str, set[str]] = {}
    for path in modules():
        room = room_of(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node):
                other = name.split(".")[1] if name.startswith("dia.") else room
                if other not in (room, "__version__"):
                    below.setdefault(room, set()).add(other)

    def reached(room: str) -> set[str]:
        return {room}.union(*(reached(other) for other in below.get(room, set())))

    return {
        (room, other)
        for room, others in below.items()
        for other in others
        if not any(other in reached(between) for between in others - {other})
    }


def places() -> dict[str, tuple[float, float, float]]:
    """Left edge, top and width of each room's box. A floor's rooms stand in the middle, in order of the alphabet."""
    found = {}
    there = {room_of(path) for path in modules()}
    for index, floor in enumerate(reversed(FLOORS)):
        rooms = sorted(floor & there)
        widths = [len(room) * LETTER + 24 for room in rooms]
        spare = (WIDTH - LEFT - sum(widths)) / (len(rooms) + 1)
        x = LEFT + spare
        for room, width in zip(rooms, widths, strict=True):
            found[room] = (x, 12.0 + index * ROW, width)
            x += width + spare
    return found


def picture() -> str:
    """The whole file."""
    boxes = places()
    height = len(FLOORS) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>The rooms of the package on their floors, and who imports whom</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for index, job in enumerate(JOBS):
        y = 12 + index * ROW
        shade = "#f1f5f9" if index % 2 == 0 else "#ffffff"
        lines.append(f'<rect y="{y - 12}" width="{WIDTH}" height="{ROW}" fill="{shade}"/>')
        lines.append(f'<text x="14" y="{y + 19}" fill="#475569" font-size="12">{escape(job)}</text>')
    for upper, lower in sorted(edges()):
        (x1, y1, w1), (x2, y2, w2) = boxes[upper], boxes[lower]
        start, end = (x1 + w1 / 2, y1 + BOX), (x2 + w2 / 2, y2)
        bend = (end[1] - start[1]) * 0.5
        lines.append(
            f'<path d="M{start[0]:.0f} {start[1]:.0f}C{start[0]:.0f} {start[1] + bend:.0f} {end[0]:.0f} '
            f'{end[1] - bend:.0f} {end[0]:.0f} {end[1]:.0f}" fill="none" stroke="#64748b" stroke-opacity="0.55"/>'
        )
    for room, (x, y, width) in boxes.items():
        lines.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX}" rx="7" fill="#ccfbf1" stroke="#0f766e"/>'
        )
        lines.append(
            f'<text x="{x + width / 2:.0f}" y="{y + 19:.0f}" text-anchor="middle" fill="#134e4a" font-weight="600">'
            f"{escape(room)}</text>"
        )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    assert len(JOBS) == len(FLOORS) and floor_of("errors") == 0
    PICTURE.write_text(picture(), encoding="utf-8")
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")
