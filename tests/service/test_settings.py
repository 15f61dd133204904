"""Where a setting comes from, and what a running server may change."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.errors import BadParameter
from dia.service.db import Database
from dia.service.settings import ConfigStore, RuntimeConfig, Settings, load_settings


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(tmp_path: Path):
    database = Database(tmp_path / "dia.sqlite3")
    yield database
    database.close()


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert load_settings().port == 7860
    (tmp_path / ".env").write_text("DIA_PORT=1001\nDIA_WORKERS=11\nDIA_MODEL=from-file\nUNRELATED=1\n")
    assert load_settings().port == 1001
    monkeypatch.setenv("DIA_PORT", "1002")
    monkeypatch.setenv("DIA_WORKERS", "12")
    assert load_settings().port == 1002
    settings = load_settings(port=1003, host=None)
    assert (settings.port, settings.workers, settings.model, settings.host) == (1003, 12, "from-file", "127.0.0.1")
    assert {"port", "workers", "model"} <= set(settings.given())
    assert "host" not in settings.given()


def test_names_of_older_servers_are_understood(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DIA_MAX_WORKERS", "8")
    monkeypatch.setenv("DIA_DISABLE_TORCH_COMPILE", "1")
    monkeypatch.setenv("DIA_DEBUG", "true")
    monkeypatch.setenv("DIA_API_KEY", "key-1, key-2")
    settings = load_settings()
    assert (settings.workers, settings.disable_torch_compile, settings.debug_mode) == (8, True, True)
    assert [key.get_secret_value() for key in settings.api_keys] == ["key-1", "key-2"]
    assert "key-1" not in repr(settings)


@pytest.mark.parametrize("bad", [{"workers": 0}, {"workers": 65}, {"port": 70_000}, {"prot": 1}, {"dtype": 7}])
def test_a_setting_out_of_range_or_unknown_is_refused_by_name(bad: dict[str, Any]):
    with pytest.raises(BadParameter, match=next(iter(bad))):
        load_settings(**bad)


def test_every_setting_has_a_sentence():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_a_change_touches_only_what_it_names_and_lasts(database: Database):
    store = ConfigStore(database, load_settings())
    store.update({"debug_mode": True})
    changed = store.update({"output_retention_hours": 48})
    assert changed == RuntimeConfig(debug_mode=True, output_retention_hours=48)
    assert ConfigStore(database, load_settings()).current == changed


def test_a_flag_at_start_beats_what_was_stored(database: Database):
    ConfigStore(database, load_settings()).update({"debug_mode": True, "save_outputs": True})
    current = ConfigStore(database, load_settings(debug_mode=False)).current
    assert (current.debug_mode, current.save_outputs) == (False, True)


BAD_CHANGES = [
    {"output_retention_hours": 0}, {"output_retention_hours": 8761}, {"output_retention_hours": -5},
    {"debug_mode": None}, {"debug_mode": "yes"}, {"data_dir": "/"}, {"api_keys": []}, {"whisper_model_size": "huge"},
    {"output_retention_hours": "24"}, {"output_retention_hours": True},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_CHANGES)
def test_a_bad_change_changes_nothing(database: Database, bad: dict[str, Any]):
    store = ConfigStore(database, load_settings())
    with pytest.raises(BadParameter, match=next(iter(bad))):
        store.update({"save_outputs": True, **bad})
    assert store.current == RuntimeConfig()
    assert database.rows("SELECT * FROM config") == []


@pytest.mark.parametrize("hours", [1, 8760])
def test_retention_at_its_limits(database: Database, hours: int):
    assert (
        ConfigStore(database, load_settings()).update({"output_retention_hours": hours}).output_retention_hours
        == hours
    )


values = st.one_of(st.none(), st.booleans(), st.integers(-10, 10_000), st.sampled_from(["base", "tiny", "x"]))
documents = st.dictionaries(st.sampled_from([*RuntimeConfig.model_fields, "port", ""]), values, max_size=4)


@settings(deadline=None, max_examples=30)
@given(documents=st.lists(documents, max_size=8))
def test_any_document_is_applied_wholly_or_refused_wholly(tmp_path_factory: pytest.TempPathFactory, documents: list):
    database = Database(tmp_path_factory.mktemp("config") / "dia.sqlite3")
    store = ConfigStore(database, load_settings())
    for document in documents:
        before = store.current
        try:
            after = store.update(document)
        except BadParameter:
            assert store.current == before
        else:
            assert after.model_dump() == {**before.model_dump(), **document}
    assert ConfigStore(database, load_settings()).current == store.current
    database.close()
