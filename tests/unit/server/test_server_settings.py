"""Settings: one declaration, four sources, nothing half-read."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from xwhep.common.errors import UsageError
from xwhep.server.settings import FIELDS, Settings, add_flags, env_name, load_settings


@pytest.fixture
def toml(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "server.toml"
        path.write_text(text)
        return str(path)

    return write


def test_the_defaults_are_as_documented():
    settings = load_settings({}, {})
    assert settings == Settings()
    assert (settings.state, settings.listen) == (Path("/var/lib/xwhep-server"), ("", 4321))
    assert (settings.lease_seconds, settings.lost_limit) == (15, 3)


def test_a_flag_beats_the_environment_which_beats_the_file(toml):
    path = toml('lease_seconds = 1\nlost_limit = 1\nstate = "/file"\n')
    environ = {"XWHEP_SERVER_LEASE_SECONDS": "2", "XWHEP_SERVER_LOST_LIMIT": "2", "XWHEP_SERVER_CONFIG": path}
    settings = load_settings({"lease_seconds": "3"}, environ)
    assert (settings.lease_seconds, settings.lost_limit, settings.state) == (3, 2, Path("/file"))


def test_the_flag_config_beats_the_variable(toml, tmp_path):
    path = toml("lost_limit = 7")
    assert load_settings({"config": path}, {"XWHEP_SERVER_CONFIG": str(tmp_path / "none")}).lost_limit == 7


@pytest.mark.parametrize(
    ("key", "hint"), [("lease_second", "did you mean lease_seconds?"), ("zzz", "known are: state, listen")]
)
def test_an_unknown_key_is_an_error_with_a_suggestion(toml, key, hint):
    with pytest.raises(UsageError) as caught:
        load_settings({"config": toml(f"{key} = 1")}, {})
    assert key in str(caught.value)
    assert caught.value.next_step.startswith(hint)


def test_variables_that_kubernetes_makes_are_no_error():
    environ = {"XWHEP_SERVER_PORT": "tcp://10.0.0.1:4321", "XWHEP_SERVER_SERVICE_HOST": "10.0.0.1"}
    assert load_settings({}, environ) == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("listen", "4321"),
        ("listen", "host:port"),
        ("listen", "host:70000"),
        ("lease_seconds", "0"),
        ("lease_seconds", "soon"),
        ("lease_seconds", "nan"),
        ("lost_limit", "0"),
        ("disk_reserve_mb", "-1"),
        ("log_format", "xml"),
        ("access_log", "maybe"),
        ("name", "bad name"),
    ],
)
def test_a_value_that_does_not_fit_names_where_it_came_from(name, text):
    for flags, environ, origin in (
        ({name: text}, {}, "--" + name.replace("_", "-")),
        ({}, {env_name(name): text}, env_name(name)),
    ):
        with pytest.raises(UsageError, match=origin):
            load_settings(flags, environ)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:4321", ("0.0.0.0", 4321)),
        ("[::1]:80", ("::1", 80)),
        (":99", ("", 99)),
        ("[::]:99", ("", 99)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_listen_is_an_address_and_a_port(text, address):
    assert load_settings({"listen": text}, {}).listen == address


def test_names_may_be_several(toml):
    assert load_settings({"name": "a.example, b,::1"}, {}).name == ("a.example", "b", "::1")
    assert load_settings({"config": toml('name = ["a", "b"]')}, {}).name == ("a", "b")


@pytest.mark.parametrize("text", ["lease_seconds = ", "[[["])
def test_a_broken_file_is_named(toml, text):
    path = toml(text)
    with pytest.raises(UsageError, match=r"server\.toml"):
        load_settings({"config": path}, {})


def test_a_missing_named_file_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no settings file"):
        load_settings({"config": str(tmp_path / "none.toml")}, {})


def test_every_setting_is_in_the_help_with_its_variable():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for name, field in FIELDS.items():
        assert "--" + name.replace("_", "-") in text
        assert env_name(name) in text
        assert field.metadata["help"]
