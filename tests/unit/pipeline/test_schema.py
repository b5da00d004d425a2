"""The JSON schema of the pipeline file: current, complete, and of one mind with the pipeline."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from xwhep_packaging import schema, settings
from xwhep_packaging.errors import SettingsError

REPOSITORY = Path(__file__).resolve().parents[3]
PUBLISHED = REPOSITORY / "packaging" / "pipeline.schema.json"
PAGE = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
FILE = REPOSITORY / "packaging" / "pipeline.toml"


def problems(table: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))
    return [error.message for error in validator.iter_errors(table)]


@pytest.fixture
def table() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def test_it_is_current() -> None:
    """After a change of a setting or of its page: tox run -e schema."""
    assert PUBLISHED.read_text(encoding="utf-8") == schema.text(PAGE)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema(PAGE))


def test_every_setting_has_its_meaning() -> None:
    found = schema.schema(PAGE)["$defs"]
    bare = [
        f"{kind}.{name}"
        for kind, form in found.items()
        for name, about in form["properties"].items()
        if kind != "Settings" and name != "builder" and not about.get("description")
    ]
    assert bare == []


def test_editors_find_it() -> None:
    (named,) = re.findall(r"^#:schema (\S+)$", FILE.read_text(encoding="utf-8"), re.M)
    assert (FILE.parent / named).resolve() == PUBLISHED


def test_the_projects_own_file_is_good(table: dict[str, Any]) -> None:
    assert problems(table) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("suite.nme", "trixie", id="unknown key"),
        pytest.param("root", "/", id="derived key"),
        pytest.param("network_test.timeout_s", 0, id="too small"),
        pytest.param("network_test.timeout_s", "long", id="wrong type"),
        pytest.param("engine.kind", "dcker", id="unknown word"),
        pytest.param("product.name", "A B", id="wrong form"),
        pytest.param("sources.xwhep.builder", "make", id="unknown builder"),
        pytest.param("sources.xwhep.section", "x", id="setting of another builder"),
        pytest.param("chroot.exclude", ["/a b"], id="wrong word in a list"),
    ],
)
def test_both_refuse_the_same(table: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    inner = table
    for section in sections:
        inner = inner[section]
    inner[key] = value
    assert problems(table)
    if path != "root":
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(table, settings.Settings)


# Overrides, for every setting by one way


def read(file: Path, given: str, more: dict[str, str] | None = None) -> settings.Settings:
    return settings.load(file, {settings.SET: given, **(more or {})})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param("suite.name=forky", {"suite": {"name": "forky"}}, id="plain text"),
        pytest.param('suite.name="forky"', {"suite": {"name": "forky"}}, id="quoted text"),
        pytest.param("network_test.timeout_s=5", {"network_test": {"timeout_s": 5}}, id="number"),
        pytest.param(" lock . enforced = true ; ", {"lock": {"enforced": True}}, id="blanks and an empty part"),
        pytest.param('chroot.packages=["a1", "b2"]', {"chroot": {"packages": ["a1", "b2"]}}, id="list"),
        pytest.param('product.maintainer="a;b"', {"product": {"maintainer": "a;b"}}, id="separator in quotes"),
        pytest.param("suite.name=a;suite.name=b", {"suite": {"name": "b"}}, id="the later counts"),
        pytest.param("suite.mirror=http://m.invalid/x?y=z", {"suite": {"mirror": "http://m.invalid/x?y=z"}}, id="URL"),
        pytest.param(
            "product.maintainer=O'Neil <o@b.invalid>",
            {"product": {"maintainer": "O'Neil <o@b.invalid>"}},
            id="apostrophe",
        ),
    ],
)
def test_a_setting_for_one_run(pipeline_file: Path, given: str, expected: dict[str, dict[str, Any]]) -> None:
    loaded = read(pipeline_file, given)
    for section, values in expected.items():
        for key, value in values.items():
            found = getattr(getattr(loaded, section), key)
            assert (list(found) if isinstance(found, list | tuple) else found) == value


def test_a_setting_of_a_named_table(pipeline_file: Path) -> None:
    loaded = read(pipeline_file, "sources.grid.lint=false; images.server.dated_name=other")
    assert (loaded.sources["grid"].lint, loaded.images["server"].dated_name) == (False, "other")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param("suite.nme=x", "XWHEP_SET on .*has no setting 'nme'", id="unknown key"),
        pytest.param("site.name=x", "XWHEP_SET on .*has no setting 'site'", id="unknown section"),
        pytest.param("suite.name", "says no setting and value", id="no value"),
        pytest.param("name=x", "says no setting and value", id="no section"),
        pytest.param("=x", "says no setting and value", id="no name"),
        pytest.param("suite.name.deeper=x", "'name' is no section", id="a value is no section"),
        pytest.param("network_test.timeout_s=long", "XWHEP_SET on .*timeout_s", id="wrong type"),
        pytest.param("root=/", "says no setting and value", id="derived"),
    ],
)
def test_a_wrong_one_is_a_clear_error(pipeline_file: Path, given: str, words: str) -> None:
    pipeline_file.write_text(pipeline_file.read_text() + '[suite]\nname = "trixie"\n')
    with pytest.raises(SettingsError, match=words) as caught:
        read(pipeline_file, given)
    assert caught.value.next_step


def test_the_nearest_name_is_suggested(pipeline_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(pipeline_file, "network_test.timout_s=5")
    assert caught.value.next_step == "did you mean 'timeout_s'?"


def test_a_wrong_file_is_blamed_itself(pipeline_file: Path) -> None:
    pipeline_file.write_text(pipeline_file.read_text() + "[suite]\nnme = 1\n")
    with pytest.raises(SettingsError) as caught:
        read(pipeline_file, "engine.kind=podman")
    assert settings.SET not in str(caught.value)


def test_precedence(pipeline_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """default < file < short name < XWHEP_SET < command line."""
    text = pipeline_file.read_text()
    seen = [settings.load(pipeline_file, {}).suite.mirror]
    pipeline_file.write_text(text + '[suite]\nmirror = "http://file.invalid"\n')
    seen.append(settings.load(pipeline_file, {}).suite.mirror)
    monkeypatch.setenv("XWHEP_MIRROR", "http://short.invalid")
    seen.append(settings.load(pipeline_file).suite.mirror)
    monkeypatch.setenv(settings.SET, "suite.mirror=http://set.invalid")
    seen.append(settings.load(pipeline_file).suite.mirror)
    settings.give("suite.mirror=http://line.invalid")
    seen.append(settings.load(pipeline_file).suite.mirror)
    assert seen == ["", *(f"http://{place}.invalid" for place in ("file", "short", "set", "line"))]
    assert settings.passed_on()[settings.SET].endswith("suite.mirror=http://line.invalid")


HOSTILE = ("suite.name='x", 'a.b="', ";;;", "a.b=[", "\n", "a.b=1\nc=2", "a.'=1", "." * 50, "[" * 5000)


@pytest.mark.parametrize("given", HOSTILE)
def test_hostile_text_is_an_error_or_nothing(pipeline_file: Path, given: str) -> None:
    """Never another exception."""
    with contextlib.suppress(SettingsError):
        assert isinstance(read(pipeline_file, given), settings.Settings)
