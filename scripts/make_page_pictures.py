"""The pictures of the page in docs/images, made again: `python app.py` at one terminal, this at another.

Needs playwright and a Chromium. A dialogue is spoken twice by whatever model the page has; colours are counted down until
each file is small.
"""

import argparse
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent.parent / "docs" / "images"
MAX_BYTES = 250_000
DIALOGUE = (
    "[S1] Did you lock the door? I thought I heard somebody on the stairs.\n"
    "[S2] I did. It is only the wind, and the old house.\n"
    "[S1] Then why is it knocking?"
)
# File, width and height in CSS pixels, device pixels for each.
PICTURES = (("page.png", 1280, 880, 1.0), ("page-phone.png", 390, 1240, 2.0))


def main() -> int:
    """Write both files; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:7860/", help="address of the running page")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        for name, width, height, scale in PICTURES:
            tab = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
            _speak(tab, flags.url)
            (flags.folder / name).write_bytes(_small(tab.screenshot()))
            print(f"{flags.folder / name}: {(flags.folder / name).stat().st_size // 1000} kB")
        browser.close()
    return 0


def _speak(tab: Any, url: str) -> None:
    """Two takes, the second one heard to its last turn."""
    tab.goto(url)
    tab.locator(".dia-ready").wait_for(timeout=120_000)
    tab.locator("#dia-script textarea").fill(DIALOGUE)
    for number, name in ((1, "Speak"), (2, "Another take")):
        tab.get_by_role("button", name=name, exact=True).click()
        tab.locator(".dia-card").nth(number - 1).wait_for(timeout=300_000)
    tab.locator("#dia-player").get_by_text("knocking").wait_for(timeout=60_000)
    tab.locator("#dia-player").get_by_role("button", name=re.compile("^Pause")).click()
    tab.mouse.move(0, 0)


def _small(picture: bytes) -> bytes:
    """The picture with as many colours as fit into the size."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32):
        file = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() < MAX_BYTES:
            break
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
