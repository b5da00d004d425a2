"""How Debian says what a Python project says of itself."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs import man
from xwhep_packaging.stages.debs import project as projects

PROJECT = projects.Project(
    name="My_Tool",
    version="1.2",
    summary="Prints things.",
    description="",
    authors=["Ann Author", "Ben Ö <ben@example.invalid>"],
    licence="MIT",
    classifiers=[],
    urls=["Source, https://example.invalid/code", "Homepage, https://example.invalid/"],
    pure=True,
    shim=False,
    requires={},
    build_requires={},
    commands={},
)
COMMIT = Commit(
    repository=Path("/r"), origin="local", sha="a" * 40, shipped_sha="b" * 40, epoch=1_700_000_000, content="c"
)


def with_(**fields: object) -> projects.Project:
    return msgspec.structs.replace(PROJECT, **fields)


def test_names_people_and_homepage() -> None:
    assert PROJECT.debian_name == "my-tool"
    assert PROJECT.people == ["Ben Ö <ben@example.invalid>"] or "Ann Author" in PROJECT.people[0]
    assert PROJECT.homepage == "https://example.invalid/"
    assert with_(urls=["Source, https://example.invalid/code"]).homepage == "https://example.invalid/code"
    assert with_(urls=["UNKNOWN"]).homepage == ""


@pytest.mark.parametrize(
    ("upstream", "debian"),
    [
        ("1.0", "1.0"),
        ("1.0rc1", "1.0~rc1"),
        ("1.0.dev3", "1.0~~dev3"),
        ("2.0a1", "2.0~a1"),
        ("1!2.0", "1:2.0"),
        ("1.0.post1", "1.0.post1"),
    ],
)
def test_versions(upstream: str, debian: str) -> None:
    assert projects.debian_version(upstream) == debian


def test_versions_sort_as_upstream_means_them() -> None:
    order = ["1.0.dev1", "1.0a1", "1.0a2", "1.0b1", "1.0rc1", "1.0", "1.0.post1", "1.1.dev0", "1!0.5"]
    debian = [projects.debian_version(version) for version in order]
    for lower, higher in itertools.pairwise(debian):
        subprocess.run(["dpkg", "--compare-versions", lower, "lt", higher], check=True)


@pytest.mark.parametrize(
    ("tag", "overlay_epoch", "version"),
    [
        ("", 0, "1.2~git20231114.2213+bbbbbbb-1"),
        ("v1.2", 0, "1.2-1"),
        ("v9.0", 0, "1.2~git20231114.2213+bbbbbbb-1"),
        ("v1.2", COMMIT.epoch, "1.2-1"),
        ("v1.2", COMMIT.epoch + 60, "1.2-1+20231114.2214"),
    ],
)
def test_package_version(tag: str, overlay_epoch: int, version: str) -> None:
    commit = replace(COMMIT, tag=tag)
    assert projects.package_version(PROJECT, commit, overlay_epoch) == version


def test_published_archive_has_its_own_version() -> None:
    assert projects.package_version(PROJECT, replace(COMMIT, released=True), 0) == "1.2-1"


README = """# My tool

[![badge](https://b.invalid/x.svg)](https://b.invalid)

It prints **things** that `you` give it, see [the manual](https://m.invalid).
Second line.

Heading
=======

* a list
* of things

```
code that is no prose
```

    indented code

The same input gives the same output.
"""


def test_prose_of_a_readme() -> None:
    assert projects.prose(README) == [
        "It prints things that you give it, see the manual. Second line.",
        "The same input gives the same output.",
    ]


def test_long_description_is_fit_for_a_control_file() -> None:
    lines = projects.long_description(with_(description=README)).splitlines()
    assert lines[1] == " ."
    assert all(line.startswith(" ") and len(line) <= 80 for line in lines)
    assert projects.long_description(PROJECT) == " Prints things. It is a Python project."


@pytest.mark.parametrize(
    ("licence", "classifiers", "name"),
    [
        ("MIT", [], "MIT"),
        ("GPL-3.0-or-later", [], "GPL-3+"),
        ("LGPL-2.1-only", [], "LGPL-2.1"),
        ("", ["License :: OSI Approved :: Apache Software License"], "Apache-2.0"),
        ("BSD License with many words\nand lines", ["License :: OSI Approved :: BSD License"], "BSD-3-Clause"),
    ],
)
def test_licence_names(licence: str, classifiers: list[str], name: str) -> None:
    assert projects.licence_name(with_(licence=licence, classifiers=classifiers)) == name


def test_no_licence_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(BuildError, match="names no licence") as caught:
        projects.licence_name(with_(licence=""))
    assert "overlay" in caught.value.next_step


def test_copyright_names_holders_of_the_licence_file_first() -> None:
    text = projects.copyright_text(
        PROJECT, "MIT License\n\nCopyright (c) 2020-2021 The Firm\n\nDo as you like.\n", 2023
    )
    assert "Copyright: 2020-2021 The Firm\nLicense: MIT\n MIT License\n .\n" in text
    assert "Copyright: 2023 " in projects.copyright_text(PROJECT, "", 2023)
    gpl = projects.copyright_text(with_(licence="GPL-3.0-or-later"), "GNU GENERAL PUBLIC LICENSE ...", 2023)
    assert "/usr/share/common-licenses/GPL-3." in gpl
    assert "GENERAL PUBLIC" not in gpl


HELP = "usage: my-tool [-h] FILE\n               [MORE]\n\nPrints things.\n\noptions:\n  -h  .help\\n\n.danger\n"


def test_man_page_is_made_of_the_help() -> None:
    page = man.page(with_(commands={"my-tool": HELP}), "my-tool", COMMIT.epoch)
    assert page.startswith('.TH MY\\-TOOL 1 "2023-11-14" "My_Tool 1.2" "User Commands"\n')
    assert "my\\-tool \\- Prints things\n" in page
    assert "my\\-tool [\\-h] FILE" in page
    assert "\n\\&.danger\n" in page
    assert "\\e" in page
    requests = {line.split()[0] for line in page.splitlines() if line.startswith(".")}
    assert requests == {".TH", ".SH", ".nf", ".fi"}


def test_man_page_without_help_says_what_the_metadata_say() -> None:
    page = man.page(with_(commands={"my-tool": ""}), "my-tool", COMMIT.epoch)
    assert ".SH SYNOPSIS\n.nf\nmy\\-tool\n.fi\n.SH DESCRIPTION\nPrints things.\n" in page
