"""Debian packages as dpkg's status and a .deb's control file describe them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

ALTERNATIVE = re.compile(r"([a-z0-9][a-z0-9+.-]+)")
SOURCE = re.compile(r"(\S+)(?: \((.+)\))?")
FIELD = re.compile(r"^([A-Za-z][\w-]*):(.*(?:\n[ \t].*)*)", re.M)
PERSON = re.compile(r"(.*?)\s*<(.*)>")


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package. `clauses` are what it needs (Depends and Pre-Depends), each a choice of names; `namespace` is whose
    it is, as a package URL says it: debian, or the product. What is only asked for
    has no version and no architecture."""

    name: str
    version: str
    architecture: str
    source: str = ""
    source_version: str = ""
    maintainer: str = ""
    clauses: tuple[tuple[str, ...], ...] = ()
    provides: tuple[str, ...] = ()
    namespace: str = "debian"

    @property
    def url(self) -> str:
        """https://github.com/package-url/purl-spec, type deb; the version as others write it (11.0.0~git, 1.2+b1)."""
        upstream = f"&upstream={quote(self.source, safe='')}" if self.source not in ("", self.name) else ""
        version = quote(self.version, safe="~:")
        return f"pkg:deb/{self.namespace}/{quote(self.name, safe='')}@{version}?arch={self.architecture}{upstream}"

    @property
    def person(self) -> tuple[str, str]:
        """The maintainer's name and address; the latter may be empty."""
        found = PERSON.fullmatch(self.maintainer)
        return (found[1].strip('"'), found[2]) if found else (self.maintainer, "")


def packages_of(status: str) -> list[Package]:
    """The installed ones of dpkg's status file, by name."""
    installed = (fields for fields in paragraphs(status) if fields.get("Status", "").endswith(" installed"))
    return sorted((package_of(fields) for fields in installed), key=lambda one: (one.name, one.architecture))


def package_of(fields: Mapping[str, str], namespace: str = "debian") -> Package:
    source = SOURCE.fullmatch(fields.get("Source", "")) or SOURCE.fullmatch(fields["Package"])
    needs = ", ".join(fields[name] for name in ("Pre-Depends", "Depends") if fields.get(name))
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        source=source[1] if source else fields["Package"],
        source_version=(source and source[2]) or fields["Version"],
        maintainer=fields.get("Maintainer", ""),
        clauses=tuple(_names(clause.split("|")) for clause in needs.split(",") if clause.strip()),
        provides=_names(fields.get("Provides", "").split(",")),
        namespace=namespace,
    )


def needed(packages: Iterable[Package]) -> dict[str, list[str]]:
    """Which packages each one needs of those that are there: of a choice the first, by its name or who provides it."""
    known = {package.name: package for package in packages}
    by_word = {word: name for name, package in reversed(known.items()) for word in package.provides}
    by_word |= {name: name for name in known}
    found = {}
    for name, package in known.items():
        chosen = (next((by_word[word] for word in clause if word in by_word), "") for clause in package.clauses)
        found[name] = sorted({other for other in chosen if other and other != name})
    return found


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a control file; a folded field is one line."""
    for stanza in filter(str.strip, text.split("\n\n")):
        yield {name: " ".join(value.split()) for name, value in FIELD.findall(stanza)}


def _names(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(found[1] for word in words if (found := ALTERNATIVE.match(word.strip())))
