"""Services behind HTTP: in process for most tests, over a socket where the wire matters; and the table of promises."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dia.server.app import create_app
from dia.service.build import Service, build
from tests.server.live import ChildServer, LiveServer
from tests.service.conftest import make_settings
from tests.service.tone import ToneModel

BASE_URL = "http://localhost:7860"


@pytest.fixture
def model() -> ToneModel:
    return ToneModel(frames_per_char=1.0)


@pytest.fixture
def make_service(tmp_path: Path, model: ToneModel) -> Iterator[Callable[..., Service]]:
    """Builds and starts services on one folder; those still open at the end are closed."""
    made: list[Service] = []

    def make(**changes: Any) -> Service:
        service = build(make_settings(tmp_path / "data", **{"port": 0, **changes}), model=model)
        made.append(service)
        service.start()
        return service

    yield make
    model.gate.open()
    for service in made:
        service.close(0)


@pytest.fixture
def make_client(make_service: Callable[..., Service]) -> Callable[..., TestClient]:
    """Clients of the application in this process; `service` is at `client.app.state.service`."""

    def make(**changes: Any) -> TestClient:
        return TestClient(create_app(service=make_service(**changes)), base_url=BASE_URL)

    return make


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()


@pytest.fixture
def make_live(make_service: Callable[..., Service], model: ToneModel) -> Iterator[Callable[..., LiveServer]]:
    made: list[LiveServer] = []

    def make(**changes: Any) -> LiveServer:
        server = LiveServer(make_service(**changes))
        made.append(server)
        return server

    yield make
    model.gate.open()
    for server in made:
        for speech in server.service.speech.speeches():
            speech.cancel()
        server.close()


@pytest.fixture
def live(make_live: Callable[..., LiveServer]) -> LiveServer:
    return make_live()


@pytest.fixture
def make_child() -> Iterator[Callable[..., ChildServer]]:
    made: list[ChildServer] = []

    def make(*arguments: str, **options: Any) -> ChildServer:
        server = ChildServer(*arguments, **options)
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def promise(
    record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> Callable[[str, str], None]:
    """Write a measured figure of a promise into the table that the run prints and docs/reliability.md carries."""

    def keep(name: str, figure: str) -> None:
        record_property("promise", (name, figure, request.node.name))

    return keep


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the promises that this run kept, with what was measured."""
    kept = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for key, value in getattr(report, "user_properties", [])
        if key == "promise"
    ]
    if kept:
        terminalreporter.section("promises kept")
        for name, figure, test in sorted(kept):
            terminalreporter.write_line(f"{name:<5} {figure}  [{test}]")
