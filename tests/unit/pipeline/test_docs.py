"""The documentation names only what exists, and names every setting."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xwhep_packaging import command, definitions, settings

REPOSITORY = Path(__file__).resolve().parents[3]
SETTINGS_PAGE = REPOSITORY / "docs" / "settings.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SCRIPT = re.compile(r"(?<![\w/.-])(?:scripts|\.tox/dev/bin)/[\w-]+")
TASK = re.compile(r"(?:(?:scripts/|`)doit) ((?!-)[a-z_]+)(?::([a-z_]+))?")
OPTION = re.compile(r"scripts/doit (--[a-z-]+)")
TOX = re.compile(r"tox run -e (\w+)")
REQUIRED = "(required)"


def documents() -> list[Path]:
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"]
    listing = subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return sorted(REPOSITORY / name for name in listing.splitlines())


each_document = pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))


def anchors(text: str) -> set[str]:
    """The anchors that a renderer gives the headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> Iterator[str]:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            yield target


@each_document
def test_links_resolve(document: Path) -> None:
    assert list(broken_links(document)) == []


def test_broken_links_are_seen(tmp_path: Path) -> None:
    """So that the test above can fail."""
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](page.md) [b](none.md) [c](#a-heading) [d](#none) [e](https://x.invalid/)\n")
    assert list(broken_links(page)) == ["none.md", "#none"]


# Commands


@cache
def tasks() -> set[str]:
    """The names of doit's tasks, as doit lists them."""
    argv = [sys.executable, "-m", "doit", "list", "--quiet"]
    return set(subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split())


def environments() -> set[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(REPOSITORY / "tox.ini")
    return {name.removeprefix("testenv:") for name in parser.sections() if name.startswith("testenv:")}


def unknown_commands(text: str) -> Iterator[str]:
    for task, part in TASK.findall(text):
        if task not in tasks() | {"list", "info", "help"} or (task == "test" and part and part not in CHECKS):
            yield f"doit {task}:{part}".rstrip(":")
    yield from (
        name for name in SCRIPT.findall(text) if name.startswith("scripts/") and not (REPOSITORY / name).exists()
    )
    bootstrap = (REPOSITORY / "scripts" / "doit").read_text(encoding="utf-8")
    yield from (f"scripts/doit {option}" for option in OPTION.findall(text) if option not in bootstrap)
    yield from (f"tox -e {name}" for name in TOX.findall(text) if name not in environments())


CHECKS = environments() | {"build", "endurance", "verify"}


@each_document
def test_commands_exist(document: Path) -> None:
    assert list(unknown_commands(document.read_text(encoding="utf-8"))) == []


def test_unknown_commands_are_seen() -> None:
    text = "`doit buld`, scripts/doit build, scripts/start-nothing, scripts/doit --fly, tox run -e fly, `doit test:fly`"
    assert list(unknown_commands(text)) == [
        "doit buld",
        "doit test:fly",
        "scripts/start-nothing",
        "scripts/doit --fly",
        "tox -e fly",
    ]


def test_readme_has_the_two_commands() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^scripts/doit build\b", text, re.M)
    assert re.search(r"^scripts/doit test\b", text, re.M)


# Settings


def shown(value: Any) -> str:
    """A default as the page writes it: like TOML, and `empty` for an empty string."""
    if value == "":
        return "empty"
    if value is None:
        return "(none)"
    if isinstance(value, msgspec.Struct):
        return "(see below)"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return f"`{value}`"


def defaults(section: type[msgspec.Struct]) -> dict[str, str]:
    found = {}
    for field in msgspec.structs.fields(section):
        given = field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        found[field.name] = REQUIRED if field.required else shown(given)
    return found


def expected() -> dict[str, dict[str, str]]:
    """Heading of a table in the page -> its settings and their defaults, as the classes have them."""
    names: dict[str, type[msgspec.Struct]] = {
        "[product]": settings.Product,
        "[suite]": settings.Suite,
        "[engine]": settings.Engine,
        "[store]": settings.Store,
        "[chroot] and [base]": settings.RootFs,
        "[sources.NAME]": definitions.Source,
        "[[sources.NAME.services]]": definitions.Service,
        "[images.NAME]": definitions.Image,
        "[images.NAME.health]": definitions.HealthCheck,
        "[images.NAME.expects]": definitions.Expects,
        "[network_test]": settings.NetworkTest,
        "[lock]": settings.Lock,
        "[cache]": settings.Cache,
        "[deploy]": settings.Deploy,
        "[deployment]": settings.Deployment,
        "[release]": settings.Release,
        "[surroundings]": definitions.Surroundings,
    }
    tables = {heading: defaults(section) for heading, section in names.items()}
    common = tables["[sources.NAME]"]
    for builder in definitions.BUILDERS:
        name = str(builder.__struct_config__.tag)
        own = {key: value for key, value in defaults(builder).items() if common.get(key) != value}
        tables[f'[sources.NAME] builder = "{name}"'] = own
    return tables


def documented() -> dict[str, dict[str, str]]:
    parts = re.split(r"^## (.+)$", SETTINGS_PAGE.read_text(encoding="utf-8"), flags=re.M)
    tables = dict(zip(parts[1::2], parts[2::2], strict=True))
    rows = {name: re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", text, re.M) for name, text in tables.items()}
    return {name: {key: default for key, default, meaning in found} for name, found in rows.items() if name[0] == "["}


def test_every_setting_is_documented_with_its_default() -> None:
    assert documented() == expected()


def test_every_table_of_the_file_is_documented() -> None:
    fields = {field.name for field in msgspec.structs.fields(settings.Settings)} - {"root", "file"}
    headings = " ".join(documented())
    assert fields == set(re.findall(r"\[(\w+)", headings))


def test_every_variable_is_documented() -> None:
    table = SETTINGS_PAGE.read_text(encoding="utf-8").partition("## Environment")[2]
    cells = re.findall(r"^\| (`.+`) \|", table, re.M)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == {*settings.OVERRIDES, settings.SET, "DOCKER_HOST", *command.KEPT_VARIABLES}


def test_overrides_name_their_setting() -> None:
    text = SETTINGS_PAGE.read_text(encoding="utf-8")
    for variable, (section, key) in settings.OVERRIDES.items():
        assert f"| `{variable}` | overrides `[{section}] {key}` |" in text


# Decisions


def test_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert [name[:5] for name in names] == [f"{number:04d}-" for number in range(1, len(names) + 1)]


def test_decisions_say_why() -> None:
    for path in (REPOSITORY / "docs" / "decisions").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert "\nWhy: " in text, path.name


def test_glossary_is_sorted() -> None:
    text = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| (\S.*?) \| ", text, re.M)[1:]
    assert words == sorted(words)
    assert len(words) > 20
