from pathlib import Path

import pytest

from models.errors import WeightsError
from models.settings import SHIPPED_WEIGHTS
from monitor.runtime.settings import Settings, SettingsError, describe, load, load_as_set


def test_every_setting_has_a_default_and_a_description() -> None:
    rows = list(describe(load(None, {})))
    assert len(rows) > 30
    assert all(field.description for _, _, field in rows)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "monitor.toml"
    file.write_text('[kafka]\nbootstrap_servers = "a:1"\ngroup = "file"\n[stream]\nbatch_documents = 7\n')
    settings = load(file, {"MONITOR_KAFKA__GROUP": "environment", "HOME": "/"})
    assert (settings.kafka.bootstrap_servers, settings.kafka.group) == ("a:1", "environment")
    assert settings.stream.batch_documents == 7
    assert load(None, {"MONITOR_CONFIG": str(file)}).kafka.group == "file"


def test_a_secret_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql+psycopg://me:hunter2@db/x\n")
    settings = load(None, {"MONITOR_DATABASE__URL_FILE": str(secret)})
    assert settings.database.url.get_secret_value().endswith("hunter2@db/x")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str([value for _, value, _ in describe(settings)])
    hooks = load(None, {"MONITOR_ALERTS__WEBHOOKS": '{"desk": "https://example.org/hunter2"}'})
    assert "hunter2" not in str([value for _, value, _ in describe(hooks)])


def test_the_sources_of_a_topic_come_from_the_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "monitor.toml"
    file.write_text('[stream]\nallowed_news_sources = ["reuters", "wire-*"]\n')
    environ = {"MONITOR_STREAM__ALLOWED_COMMENT_SOURCES": '["forum"]'}
    stream = load(file, environ).stream
    assert (stream.allowed_news_sources, stream.allowed_comment_sources) == (
        ("reuters", "wire-*"),
        ("forum",),
    )
    assert load(file, {"MONITOR_STREAM__ALLOWED_NEWS_SOURCES": "[]"}).stream.allowed_news_sources == ()


def test_the_secret_of_heartbeats_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2hunter2hunter2\n")
    settings = load(None, {"MONITOR_STREAM__HEARTBEAT_SECRET_FILE": str(secret)})
    assert settings.stream.heartbeat_secret is not None
    assert settings.stream.heartbeat_secret.get_secret_value() == "hunter2hunter2hunter2"
    assert "hunter2" not in repr(settings) + str([value for _, value, _ in describe(settings)])


WRONG = [
    ({"MONITOR_STREAM__BATCH_DOCUMENTS": "0"}, ["MONITOR_STREAM__BATCH_DOCUMENTS", "'0'", "greater than"]),
    ({"MONITOR_STREAM__BATCH_DOCUMENTS": "many"}, ["'many'", "valid integer"]),
    ({"MONITOR_KAFKA__BOOTSTRAP": "x"}, ["MONITOR_KAFKA__BOOTSTRAP", "unknown", "bootstrap_servers"]),
    ({"MONITOR_TYPO__X": "1"}, ["unknown setting", "kafka, database"]),
    ({"MONITOR_TYPO": "1"}, ["MONITOR_TYPO", "MONITOR_PART__NAME"]),
    ({"MONITOR_LOG__LEVEL": "loud"}, ["'loud'", "'debug', 'info', 'warning' or 'error'"]),
    ({"MONITOR_DATABASE__URL": "mysql://me:hunter2@db"}, ["MONITOR_DATABASE__URL", "sqlite, postgresql"]),
    ({"MONITOR_DATABASE__URL_FILE": "/hunter2"}, ["MONITOR_DATABASE__URL_FILE", "cannot be read"]),
    ({"MONITOR_ALERTS__WEBHOOKS": '{"desk": "ftp://hunter2"}'}, ["'desk'", "https://"]),
    ({"MONITOR_KAFKA__PREDICTIONS": "news"}, ["must be six topics"]),
    ({"MONITOR_KAFKA__COMMENTS": "news"}, ["must be six topics"]),
    ({"MONITOR_STREAM__LATE_SECONDS": "999999999999"}, ["MONITOR_STREAM__LATE_SECONDS", "less than"]),
    ({"MONITOR_STREAM__WINDOW_SECONDS": "7"}, ["divide an hour"]),
    (
        {"MONITOR_STREAM__ALLOWED_NEWS_SOURCES": "reuters"},
        ["MONITOR_STREAM__ALLOWED_NEWS_SOURCES", "a list of texts"],
    ),
    ({"MONITOR_STREAM__ALLOWED_NEWS_SOURCES": "[reuters]"}, ["'[reuters]'", '["reuters", "wire-*"]']),
    ({"MONITOR_STREAM__ALLOWED_COMMENT_SOURCES": '["a", 7]'}, ["COMMENT_SOURCES", "a list of texts"]),
    ({"MONITOR_STREAM__ALLOWED_NEWS_SOURCES": '["a", ""]'}, ["NEWS_SOURCES", "an empty text", "'unknown'"]),
    (
        {"MONITOR_STREAM__ALLOWED_NEWS": '["a"]'},
        ["MONITOR_STREAM__ALLOWED_NEWS", "unknown", "allowed_news_sources"],
    ),
    ({"MONITOR_STREAM__HEARTBEAT_SECRET": "hunter2"}, ["MONITOR_STREAM__HEARTBEAT_SECRET", "at least 16"]),
    ({"MONITOR_CONFIG": "/nowhere.toml"}, ["/nowhere.toml: cannot be read"]),
]


@pytest.mark.parametrize(("environ", "expected"), WRONG)
def test_an_invalid_setting_is_refused_with_its_name_its_value_and_what_is_allowed(
    environ: dict[str, str], expected: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, environ)
    for part in expected:
        assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[kafka]\ngroop = 'x'\n",
            "kafka.groop: unknown setting; allowed here: bootstrap_servers, security_protocol",
        ),
        ("[http]\nport = 99999\n", "http.port: 99999 is not allowed"),
        ("[http\n", "not TOML"),
        ("a = " + "[" * 100_000, "not TOML: maximum recursion depth"),
        (f"[http]\nport = '{'x' * 100_000}'\n", "... (100,002 characters) is not allowed"),
        ("database = 'postgresql://me:hunter2@db'\n", "database: a value that is not shown"),
        ("[logging]\nlevel = 'info'\n", "logging: unknown setting; allowed here: kafka"),
    ],
)
def test_an_invalid_line_of_the_file_is_reported_with_the_file(
    tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "monitor.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert str(file) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert expected in str(caught.value)


def test_an_invalid_setting_is_not_blamed_on_a_variable_whose_name_is_the_beginning_of_its_own() -> None:
    environ = {"MONITOR_STREAM__BATCH": "1", "MONITOR_STREAM__BATCH_DOCUMENTS": "0"}
    with pytest.raises(SettingsError) as caught:
        load(None, environ)
    lines = sorted(str(caught.value).splitlines())
    assert lines[0].startswith("MONITOR_STREAM__BATCH: unknown setting")
    assert lines[1].startswith("MONITOR_STREAM__BATCH_DOCUMENTS: '0' is not allowed")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().kafka.group = "x"  # type: ignore[misc]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry of models that holds one version, which is not promoted."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "house").symlink_to(SHIPPED_WEIGHTS, target_is_directory=True)
    return folder


def test_a_registry_is_resolved_to_its_promoted_version_and_still_shown_as_set(registry: Path) -> None:
    (registry / "current").write_text("house\n")
    environ = {"MONITOR_MODELS__WEIGHTS": str(registry)}
    assert load(None, environ).models.weights == registry / "house"
    assert load_as_set(None, environ).models.weights == registry


def test_a_registry_without_a_promoted_version_is_a_clear_error(registry: Path) -> None:
    environ = {"MONITOR_MODELS__WEIGHTS": str(registry)}
    with pytest.raises(
        WeightsError, match="is a registry with nothing promoted: monitor models promote VERSION"
    ):
        load(None, environ)
    assert load_as_set(None, environ).models.weights == registry
