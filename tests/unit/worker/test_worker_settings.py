import argparse
import os
import tomllib
from pathlib import Path

import pytest

from xwhep.common.errors import UsageError
from xwhep.worker import settings
from xwhep.worker.settings import FIELDS, Settings, load, parse_size, variable


@pytest.fixture(autouse=True)
def _no_system_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "absent.toml")


def test_defaults() -> None:
    chosen = load({}, {})
    assert chosen.state == Path("/var/lib/xwhep-worker")
    assert chosen.shared_dir == Path("/usr/share/xwhep-worker/shared.d")
    assert chosen.name == os.uname().nodename
    assert chosen.slots >= 1
    assert chosen.isolation == "auto"


def test_flag_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text('slots = 3\nname = "file"\ncache_max = "1G"\n')
    environment = {"XWHEP_WORKER_NAME": "environment", "XWHEP_WORKER_CACHE_MAX": "2G", "XWHEP_WORKER_CONFIG": str(file)}
    chosen = load({"cache_max": "3G"}, environment)
    assert (chosen.slots, chosen.name, chosen.cache_max) == (3, "environment", 3 * 2**30)


def test_an_empty_variable_counts_as_unset() -> None:
    assert load({}, {"XWHEP_WORKER_SLOTS": ""}).slots == Settings().slots


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("slots", "0"),
        ("slots", "two"),
        ("slots", "-1"),
        ("cache_max", "much"),
        ("isolation", "vm"),
        ("stop_grace", "nan"),
        ("stop_grace", "-1"),
        ("name", "a\nb"),
        ("name", " "),
        ("labels", "two words"),
        ("labels", "a,b!"),
        ("labels", "x" * 65),
    ],
)
def test_a_bad_value_is_refused_naming_its_source(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=variable(name)):
        load({}, {variable(name): text})
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        load({name: text}, {})


def test_an_unknown_variable_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="XWHEP_WORKER_SLOT") as caught:
        load({}, {"XWHEP_WORKER_SLOT": "1"})
    assert "XWHEP_WORKER_SLOTS" in caught.value.next_step


@pytest.mark.parametrize("name", ["XWHEP_WORKER_SERVICE_HOST", "XWHEP_WORKER_PORT", "XWHEP_WORKER_PORT_4321_TCP"])
def test_variables_of_a_kubernetes_service_of_that_name_are_no_settings(name: str) -> None:
    assert load({}, {name: "10.0.0.1"}) == load({}, {})


def test_an_unknown_key_in_the_file_gets_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text("isolatoin = 'auto'\n")
    with pytest.raises(UsageError, match="isolatoin") as caught:
        load({"config": str(file)}, {})
    assert "isolation" in caught.value.next_step


@pytest.mark.parametrize("content", [None, b"not = = toml", b"\xff"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "worker.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"worker\.toml"):
        load({"config": str(file)}, {})


def test_every_setting_has_a_flag_and_a_variable_in_the_help() -> None:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    text = parser.format_help()
    for name in FIELDS:
        assert "--" + name.replace("_", "-") in text
        assert variable(name) in text


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1500", 1500), ("2K", 2048), ("3 MiB", 3 * 2**20), ("1g", 2**30), ("1TB", 2**40)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5G", "G", "1P", "1 2"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_labels_are_text_or_a_list(tmp_path: Path) -> None:
    assert load({}, {"XWHEP_WORKER_LABELS": " gpu, site=lab7,,gpu"}).labels == ("gpu", "site=lab7")
    file = tmp_path / "worker.toml"
    file.write_text('labels = ["b", "a"]\n')
    assert load({"config": str(file)}, {}).labels == ("a", "b")


def test_the_file_that_ships_lists_every_setting_with_its_default(tmp_path: Path) -> None:
    """Uncommented, it is read; the two whose default depends on the machine show an example."""
    shipped = (Path(__file__).parents[3] / "debian/conf/worker.toml").read_text()
    file = tmp_path / "worker.toml"
    file.write_text("".join(f"{line[1:]}\n" for line in shipped.splitlines() if line[:1] == "#" and line[1:2] != " "))
    listed = set(tomllib.loads(file.read_text()))
    assert listed == set(FIELDS)
    chosen, default = load({"config": str(file)}, {}), Settings()
    examples = {"name", "slots", "labels", "hours", "signers"}
    for name in listed - examples:
        assert getattr(chosen, name) == getattr(default, name), name
