"""pipeline.toml and the environment: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from xwhep_packaging import settings as settings_module
from xwhep_packaging.errors import PipelineError, SettingsError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Store

Load = Callable[..., Settings]
REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_projects_own_file_loads() -> None:
    loaded = settings_module.load(REPOSITORY / "packaging" / "pipeline.toml", {})
    assert set(loaded.images) == {"server", "worker", "client"}
    assert loaded.root_folder == REPOSITORY


def test_defaults(settings: Settings) -> None:
    assert settings.suite.name == "trixie"
    assert settings.engine.kind == "auto"
    assert settings.sources["grid"].ref == "HEAD"
    assert settings.network_test.timeout_s == 600
    assert settings.store_folder == settings.root_folder / "_build"


def test_settings_are_frozen(settings: Settings) -> None:
    with pytest.raises(AttributeError):
        settings.engine.kind = "docker"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "suggestion"),
    [
        pytest.param('dated_name = "', 'dated_nane = "', "dated_name", id="in an image"),
        pytest.param("ships = ", "shipz = ", "ships", id="in a source"),
        pytest.param("[chroot]", "[chrot]", "chroot", id="a section"),
    ],
)
def test_unknown_key_is_an_error_with_a_suggestion(load: Load, old: str, new: str, suggestion: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load((old, new))
    assert f"did you mean {suggestion!r}?" in caught.value.next_step


def test_unknown_key_names_its_place(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"\[images.*\] has no setting 'zzz'") as caught:
        load(more="zzz = 1\n")
    assert "docs/settings.md" in caught.value.next_step


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param('ships = ["src"]', 'ships = "src"', "ships", id="string for a list"),
        pytest.param('name = "grid"', "name = 7", "product.name", id="number for a name"),
        pytest.param('name = "grid"', 'name = "Grid Of Mine"', "product.name", id="name with capitals and blanks"),
        pytest.param('name = "grid"', 'name = "grid\\n"', "product.name", id="name with a newline at its end"),
        pytest.param('builder = "debian"', 'builder = "magic"', "builder", id="unknown builder"),
        pytest.param('"tini"]', '"-o=APT::x"]', "base.packages", id="package that is an option"),
        pytest.param('builder = "debian"\n', "", "builder", id="required key missing"),
    ],
)
def test_wrong_value_is_an_error_that_names_the_place(load: Load, old: str, new: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load((old, new))
    assert words in str(caught.value)
    assert caught.value.exit_code == 10


@pytest.mark.parametrize("key", ["root", "file"])
def test_derived_settings_cannot_be_set(load: Load, key: str) -> None:
    with pytest.raises(SettingsError, match="is no setting"):
        load(('[product]\nname = "grid"', f'{key} = "/"\n[product]\nname = "grid"'))


def test_not_toml(pipeline_file: Path) -> None:
    pipeline_file.write_text("[product\n")
    with pytest.raises(SettingsError, match="is not TOML") as caught:
        settings_module.load(pipeline_file, {})
    assert "line 1" in caught.value.cause


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read") as caught:
        settings_module.load(tmp_path / "none.toml", {})
    assert "pipeline=PATH" in caught.value.next_step


def test_image_of_an_unknown_source(load: Load) -> None:
    with pytest.raises(SettingsError, match="which is no source") as caught:
        load(("debs = { grid =", "debs = { gird ="))
    assert caught.value.next_step == "did you mean 'grid'?"


def test_image_without_packages(load: Load) -> None:
    with pytest.raises(SettingsError, match="debs is empty"):
        load(('debs = { grid = ["grid-server"] }', "debs = {}"))


def test_image_without_a_containerfile(load: Load) -> None:
    with pytest.raises(SettingsError, match="holds no Containerfile"):
        load(('folder = "images/server"', 'folder = "images/other"'))


def test_no_images_at_all(pipeline_file: Path) -> None:
    text = pipeline_file.read_text().split("[images.server]")[0] + "[images]\n"
    pipeline_file.write_text(text)
    with pytest.raises(SettingsError, match="needs at least one"):
        settings_module.load(pipeline_file, {})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("x = " + "1" * 5000, id="number of 5000 digits"),
        pytest.param("x = " + "[" * 5000, id="brackets in brackets"),
        pytest.param("x = 2026-02-30", id="day that is none"),
        pytest.param("\x00", id="null byte"),
    ],
)
def test_hostile_content_is_no_toml(pipeline_file: Path, content: str) -> None:
    pipeline_file.write_text(content)
    with pytest.raises(SettingsError, match="is not TOML"):
        settings_module.load(pipeline_file, {})


@pytest.mark.parametrize("folder", [pytest.param("x" * 300, id="too long"), pytest.param("a\\u0000b", id="null byte")])
def test_folder_that_no_disk_can_hold(load: Load, folder: str) -> None:
    with pytest.raises(SettingsError, match="holds no Containerfile"):
        load(('folder = "images/server"', f'folder = "{folder}"'))


# Precedence


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        pytest.param("XWHEP_ENGINE", "podman", lambda s: s.engine.kind, id="engine"),
        pytest.param("XWHEP_STORE", "elsewhere", lambda s: s.store.folder, id="store"),
        pytest.param("XWHEP_MIRROR", "copy:/mirror/debian", lambda s: s.suite.mirror, id="mirror"),
        pytest.param("XWHEP_SECURITY_MIRROR", "copy:/sec", lambda s: s.suite.security_mirror, id="security mirror"),
        pytest.param("XWHEP_DEPLOYMENT", "lab", lambda s: s.deployment.name, id="deployment"),
        pytest.param("XWHEP_CACHE", "/big/cache", lambda s: s.cache.folder, id="cache"),
        pytest.param("XWHEP_SNAPSHOT", "copy:/old", lambda s: s.lock.snapshot, id="snapshot"),
    ],
)
def test_environment_overrides_the_file(load: Load, variable: str, value: str, read: Any) -> None:
    file = '[engine]\nkind = "docker"\n[store]\nfolder = "f"\n[suite]\nmirror = "m"\nsecurity_mirror = "s"\n'
    assert read(load(more=file)) != value
    assert read(load(more=file, environ={variable: value})) == value


def test_every_override_is_tested() -> None:
    """The list above and the code's list are one."""
    marks = test_environment_overrides_the_file.pytestmark
    tested = {row.values[0] for mark in marks for row in mark.args[1]} | settings_module.SWITCHES
    assert set(settings_module.OVERRIDES) == tested


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False), ("no", False)])
def test_a_switch_is_true_or_false(load: Load, value: str, expected: bool) -> None:
    more = f"[lock]\nenforced = {str(not expected).lower()}\n"
    assert load(more=more, environ={"XWHEP_LOCKED": value}).lock.enforced is expected


def test_empty_variable_overrides_nothing(load: Load) -> None:
    assert load(more='[engine]\nkind = "podman"\n', environ={"XWHEP_ENGINE": ""}).engine.kind == "podman"


def test_override_is_checked_like_the_file(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"engine\.kind"):
        load(environ={"XWHEP_ENGINE": "rocket"})


def test_absolute_store_folder_is_kept(load: Load) -> None:
    assert load(environ={"XWHEP_STORE": "/elsewhere"}).store_folder == Path("/elsewhere")


def test_passed_on_is_what_changes_a_build() -> None:
    environ = {"XWHEP_ENGINE": "podman", "DOCKER_HOST": "unix:///d", "XWHEP_PASSWORD": "secret", "PATH": "/bin"}
    assert settings_module.passed_on(environ) == {"XWHEP_ENGINE": "podman", "DOCKER_HOST": "unix:///d"}


# The repository that relative paths start from


def test_root_is_the_repository_above(tmp_path: Path) -> None:
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert settings_module.repository_of(tmp_path / "a" / "b" / "c" / "p.toml") == tmp_path / "a"


def test_root_without_repository_is_the_files_own_folder() -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert settings_module.repository_of(Path(folder) / "p.toml") == Path(folder)


# Whatever stands in the file: settings or a SettingsError, never another exception

KEYS = st.sampled_from(sorted({*settings_module._known_keys(), "root", "file", "server", "grid", "x y", ""}))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["grid", "."])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def toml(value: Any) -> str:
    """A TOML value; what TOML lacks (null, odd floats) comes out as broken TOML, which is a case too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() else f"\\u{ord(c) % 0xD800:04x}" for c in value) + '"'
    return str(value).lower()


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "images/server").mkdir(parents=True)
    (folder / "images/server/Containerfile").touch()
    return folder


def outcome(file: Path, environ: dict[str, str]) -> list[str] | str:
    """The steps of the pipeline, or the error's report; anything else that is raised fails the test."""
    try:
        loaded = settings_module.load(file, environ)
        return Pipeline(loaded, Store(file.parent / "_build")).ends()
    except PipelineError as error:
        return error.report()


@hypothesis_settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(tables={"images": {"server": {"debs": {}}}})
@example(tables={"engine": []})
@given(tables=st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_file_gives_settings_or_a_settings_error(fuzz_folder: Path, tables: dict[str, Any]) -> None:
    file = fuzz_folder / "pipeline.toml"
    file.write_text("".join(f"{toml(key)} = {toml(value)}\n" for key, value in tables.items()))
    assert outcome(file, {"XWHEP_ENGINE": "podman"})


@hypothesis_settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_give_a_settings_error(fuzz_folder: Path, content: bytes) -> None:
    file = fuzz_folder / "bytes.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError):
        settings_module.load(file, {})


SMALL: dict[str, Any] = {
    "product": {"name": "grid"},
    "sources": {"grid": {"builder": "debian"}},
    "chroot": {"packages": ["make"]},
    "base": {"packages": ["tini"]},
    "images": {"server": {"folder": "images/server", "debs": {"grid": ["grid"]}, "dated_name": "img"}},
}


@hypothesis_settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_one_wrong_value_in_a_good_file(fuzz_folder: Path, data: st.DataObject) -> None:
    """Deeper than whole random files reach: a good file with one value replaced."""
    section = data.draw(st.sampled_from(sorted(SMALL)))
    key = data.draw(st.sampled_from(sorted(SMALL[section])))
    tables = {**SMALL, section: {**SMALL[section], key: data.draw(VALUES)}}
    file = fuzz_folder / "one.toml"
    file.write_text("".join(f"{toml(name)} = {toml(value)}\n" for name, value in tables.items()))
    assert outcome(file, {})
