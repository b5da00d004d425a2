"""A Python project as its own wheel describes it, and how Debian says the same: names, versions, texts."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from email.utils import getaddresses

import msgspec

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.errors import BuildError

# The setup.py of a project that has setup.cfg alone, which today's build tools do not take.
SHIM = "from setuptools import setup\n\nsetup()\n"
SYNOPSIS_WIDTH = 78
DESCRIPTION_WIDTH = 78
DESCRIPTION_PARAGRAPHS = 3
# Licences whose text every Debian system has.
COMMON_LICENCES = {
    "Apache-2.0": "Apache-2.0",
    "GPL-2": "GPL-2",
    "GPL-3": "GPL-3",
    "LGPL-2.1": "LGPL-2.1",
    "LGPL-3": "LGPL-3",
    "MPL-2.0": "MPL-2.0",
    "CC0-1.0": "CC0-1.0",
}
CLASSIFIED = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "GNU General Public License v3 (GPLv3)": "GPL-3",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3+",
    "GNU General Public License v2 (GPLv2)": "GPL-2",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2+",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3+",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What inspect_project.py found. `requires` and `build_requires` map PyPI names to Debian packages ("": none is
    known), `commands` maps each command to its --help text, `shim` says that a setup.py is missing.
    """

    name: str
    version: str
    summary: str
    description: str
    authors: list[str]
    licence: str
    classifiers: list[str]
    urls: list[str]
    pure: bool
    shim: bool
    requires: dict[str, str]
    build_requires: dict[str, str]
    commands: dict[str, str]

    @property
    def debian_name(self) -> str:
        return re.sub(r"[-_.]+", "-", self.name).lower()

    @property
    def people(self) -> list[str]:
        """Who wrote it: `Name <address>` where both are known."""
        pairs = getaddresses(self.authors)
        return list(dict.fromkeys(f"{name} <{address}>" if address else name for name, address in pairs if name))

    @property
    def homepage(self) -> str:
        """The first web address that is called home page, else the first one of all."""
        pairs = [url.rpartition(", ") if ", " in url else ("homepage", "", url) for url in self.urls]
        addresses = [(label.lower(), url) for label, _, url in pairs if url.startswith(("http://", "https://"))]
        return next((url for label, url in addresses if label == "homepage"), addresses[0][1] if addresses else "")


def debian_version(version: str) -> str:
    """A PEP 440 version in Debian's order: pre-releases sort before the release, an epoch stays one."""
    text = re.sub(r"^(\d+)!", r"\1:", version.lower())
    text = re.sub(r"[._-]?dev(?=\d|$)", "~~dev", text)  # before every pre-release
    text = re.sub(r"[._-]?(a|b|rc)(?=\d|$)", r"~\1", text)
    return re.sub(r"[^a-z0-9.+~:]", ".", text)


def package_version(project: Project, commit: Commit, overlay_epoch: int) -> str:
    """The whole Debian version. A tag counts when it is the project's own version: a repository may hold several
    projects. An overlay younger than the project joins the revision, so that other bytes have another version.
    """
    base = debian_version(project.version)
    tagged = commit.released or commit.tag.removeprefix("v") == project.version
    upstream = base if tagged else msgspec.structs.replace(commit, tag="").version(base)
    stamp = datetime.fromtimestamp(overlay_epoch, UTC).strftime("%Y%m%d.%H%M")
    return f"{upstream}-{f'1+{stamp}' if overlay_epoch > commit.epoch else '1'}"


def synopsis(project: Project) -> str:
    """One line without its full stop, at most as long as Debian wants it."""
    text = " ".join(project.summary.split()).rstrip(".") or project.name
    return textwrap.shorten(text, SYNOPSIS_WIDTH, placeholder=" ...")


def long_description(project: Project) -> str:
    """The first paragraphs of prose of the project's own text, as lines for a control file."""
    paragraphs = prose(project.description)[:DESCRIPTION_PARAGRAPHS]
    if not paragraphs:
        paragraphs = [f"{project.summary.strip().rstrip('.') or project.name}. It is a Python project."]
    wrapped = ["\n".join(f" {line}" for line in textwrap.wrap(text, DESCRIPTION_WIDTH)) for text in paragraphs]
    return "\n .\n".join(wrapped)


def prose(text: str) -> list[str]:
    """The paragraphs of a README that are sentences: no headings, badges, lists, tables, directives or code."""
    text = re.sub(r"```.*?(```|\Z)", "\n\n", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    return [_plain(block) for block in blocks if _is_prose(block)]


def _is_prose(block: str) -> bool:
    lines = block.strip("\n").splitlines()
    if re.match(r"(\s{2,}|\t|\s*([#>|*+-]|\d+\.|\.\. |\[!|!\[|<|=+$|:\w))", lines[0]):
        return False
    underlined = len(lines) > 1 and bool(re.fullmatch(r"([=\-~^\"'#*+])\1+", lines[1].strip()))
    return not underlined and bool(re.search(r"[a-z]{2}.*\s", block))


def _plain(block: str) -> str:
    text = " ".join(block.split())
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`+([^`]+)`+(?:_+)?", r"\1", text)
    return re.sub(r"\*\*?([^*]+)\*\*?", r"\1", text).strip()


def licence_name(project: Project) -> str:
    """The licence's short name as debian/copyright has it.

    Raises:
        BuildError: the project does not say.
    """
    stated = project.licence.strip()
    if not stated or len(stated.split()) > 1:
        found = [entry.rpartition(":: ")[2] for entry in project.classifiers if entry.startswith("License ::")]
        stated = next((CLASSIFIED[name] for name in found if name in CLASSIFIED), stated)
    if not stated:
        raise BuildError(
            f"the project {project.name!r} names no licence",
            next_step="state `license` in its metadata, or put a file `copyright` into the source's overlay",
        )
    short = re.sub(r"^(A?L?GPL-[0-9.]+?)(?:\.0)?-or-later$", r"\1+", stated)
    short = re.sub(r"^(A?L?GPL-[0-9.]+?)(?:\.0)?-only$", r"\1", short)
    return short.splitlines()[0].replace(" ", "-")[:60]


def copyright_text(project: Project, licence_file: str, year: int) -> str:
    """debian/copyright in its machine-readable form. `licence_file` is the content of the project's own, or empty."""
    name = licence_name(project)
    stated = re.findall(r"^\s*Copyright\s+(?:\(c\)\s*|©\s*)?(\d{4}.*?)\s*$", licence_file, re.M | re.I)
    holders = stated or [f"{year} {person}" for person in project.people or [f"the authors of {project.name}"]]
    source = f"Source: {project.homepage}\n" if project.homepage else ""
    return (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        f"Upstream-Name: {project.name}\n{source}\n"
        f"Files: *\nCopyright: {(chr(10) + ' ').join(holders)}\nLicense: {name}\n{_licence_body(name, licence_file)}\n"
    )


def _licence_body(name: str, licence_file: str) -> str:
    common = COMMON_LICENCES.get(name.rstrip("+").removesuffix(".0")) or COMMON_LICENCES.get(name)
    if common:
        return f" The full text lies on Debian systems in /usr/share/common-licenses/{common}."
    lines = [line.rstrip() for line in licence_file.strip().splitlines()]
    return "\n".join(f" {line}" if line else " ." for line in lines) or f" Its authors state no more than: {name}."
