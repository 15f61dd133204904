"""docs/http-api.md is what the server says of itself, and docs/reliability.md names tests that exist."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_api_reference_is_the_servers_own():
    spec = importlib.util.spec_from_file_location("make_http_api", ROOT / "scripts" / "make_http_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = module.render(module.document())
    assert module.PAGE.read_text(encoding="utf-8") == wanted, "run python scripts/make_http_api.py"


def test_every_test_that_the_promises_name_is_there():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    known = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert len(named) > 30
    assert named <= known, sorted(named - known)
