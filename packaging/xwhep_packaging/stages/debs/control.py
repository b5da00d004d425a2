"""debian/control and debian/changelog as far as the pipeline reads them."""

from __future__ import annotations

import re

import msgspec

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.errors import BuildError

CHANGELOG_HEAD = re.compile(r"^(?P<source>[a-z0-9][a-z0-9+.-]+) \((?P<version>[^)\s]+)\)")
FIELD = re.compile(r"^([!-9;-~]+):[ \t]*(.*)$")
BUILD_FIELDS = ("Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep")
ALTERNATIVE = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9+.-]+)(?P<qualifier>:[a-z0-9]+)?\s*(?P<version>\([^)]*\))?"
    r"\s*(?P<architectures>\[[^\]]*\])?\s*(?P<profiles>(<[^>]*>\s*)*)$"
)
# Build dependencies that are no packages of their own; another dh-sequence is looked for by apt.
PROVIDED = {
    "debhelper-compat": "debhelper",
    "dh-sequence-installsysusers": "debhelper",
    "dh-sequence-python3": "dh-python",
}

Paragraph = dict[str, str]


def parse(text: str, called: str) -> list[Paragraph]:
    """The paragraphs of a control file; continuation lines keep their line ends.

    Raises:
        BuildError: a line is no field, a field comes twice, or the first paragraph is not a source's.
    """
    paragraphs: list[Paragraph] = [{}]
    last = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            paragraphs.append({})
            continue
        if line[0] in " \t" and last in paragraphs[-1]:
            paragraphs[-1][last] += "\n" + line
            continue
        last = _add_field(paragraphs[-1], line, f"{called} line {number}")
    return _checked([paragraph for paragraph in paragraphs if paragraph], called)


def _add_field(paragraph: Paragraph, line: str, place: str) -> str:
    match = FIELD.match(line)
    if match is None:
        raise BuildError(f"{place} is no field", cause=line[:100], next_step="write it as `Name: value`")
    if match[1] in paragraph:
        raise BuildError(f"{place}: the field {match[1]} comes twice", next_step="keep one of them")
    paragraph[match[1]] = match[2]
    return match[1]


def _checked(paragraphs: list[Paragraph], called: str) -> list[Paragraph]:
    if not paragraphs or "Source" not in paragraphs[0]:
        raise BuildError(f"{called} does not start with a Source field", next_step="add `Source: NAME` at its top")
    for field in ("Maintainer",):
        if field not in paragraphs[0]:
            raise BuildError(f"{called} names no {field}", next_step="add the field to its first paragraph")
    for paragraph in paragraphs[1:]:
        missing = [field for field in ("Package", "Architecture", "Description") if field not in paragraph]
        if missing:
            package = paragraph.get("Package", "a binary paragraph")
            raise BuildError(f"{called}: {package} has no {missing[0]} field", next_step="add it")
    if len(paragraphs) == 1:
        raise BuildError(f"{called} describes no binary package", next_step="add a paragraph with a Package field")
    return paragraphs


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What restriction lists are asked about."""

    architecture: str
    profiles: frozenset[str] = frozenset()

    def meets(self, architectures: str, profiles: str) -> bool:
        """Whether `[amd64 !i386]` and `<!nocheck> <nodoc>` let a dependency stand."""
        words = architectures.strip("[] ").split()
        wanted = [word for word in words if not word.startswith("!")]
        known = {self.architecture, f"linux-{self.architecture}", "any", "linux-any"}
        if wanted and not known & set(wanted):
            return False
        if known & {word[1:] for word in words if word.startswith("!")}:
            return False
        groups = re.findall(r"<([^>]*)>", profiles)
        return not groups or any(self._all_hold(group.split()) for group in groups)

    def _all_hold(self, terms: list[str]) -> bool:
        return all((term.lstrip("!") in self.profiles) != term.startswith("!") for term in terms)


def build_dependencies(source: Paragraph, conditions: Conditions, called: str) -> list[str]:
    """The build dependencies that hold, as a binary package's Depends may say them: no restriction lists, no :any.

    Raises:
        BuildError: one cannot be read.
    """
    texts = [source[field] for field in BUILD_FIELDS if field in source]
    clauses = [clause for text in texts for clause in re.split(r"\s*,\s*", " ".join(text.split())) if clause]
    reduced = [_clause(clause, conditions, called) for clause in clauses]
    return [clause for clause in dict.fromkeys(reduced) if clause]


def all_build_dependencies(text: str, conditions: Conditions, called: str) -> list[str]:
    """Those of a whole debian/control ("": none), with build-essential when a package is bound to an architecture.

    Debian takes build-essential for granted; but it is half of a chroot, and a package of scripts does not need it.
    """
    if not text:
        return []
    source, *packages = parse(text, called)
    compiled = any(package["Architecture"] != "all" for package in packages)
    return [*(["build-essential"] if compiled else []), *build_dependencies(source, conditions, called)]


def _clause(clause: str, conditions: Conditions, called: str) -> str:
    kept = []
    for text in clause.split("|"):
        match = ALTERNATIVE.match(text.strip())
        if match is None:
            raise BuildError(
                f"{called}: the build dependency {text.strip()!r} cannot be read",
                next_step="write it as deb-src-control(5) says: NAME (>= VERSION) [ARCHITECTURE] <!PROFILE>",
            )
        if conditions.meets(match["architectures"] or "", match["profiles"] or ""):
            version = re.sub(r"\s+", " ", match["version"] or "")
            kept.append(f"{match['name']} {version}".strip())
    return " | ".join(kept)


def beyond(clauses: list[str], installed: set[str]) -> list[str]:
    """The clauses of which no alternative's name is installed; versions are dpkg's to check, at the build."""
    return [clause for clause in clauses if not installed & _names(clause)]


def _names(clause: str) -> set[str]:
    names = {alternative.split()[0] for alternative in clause.split(" | ")}
    return names | {PROVIDED[name] for name in names if name in PROVIDED}


def changelog_head(text: str) -> tuple[str, str]:
    """(source, version) of the entry on top.

    Raises:
        BuildError: there is none.
    """
    match = CHANGELOG_HEAD.match(text)
    if match is None:
        raise BuildError("debian/changelog does not start with an entry", next_step="dch --create, then commit")
    return match["source"], match["version"]


def changelog_time(text: str) -> int:
    """When the entry on top was signed (UTC seconds); 0 when its date cannot be read."""
    from email.utils import parsedate_to_datetime

    match = re.search(r"^ -- .*>  (.+)$", text, re.M)
    try:
        return int(parsedate_to_datetime(match[1]).timestamp()) if match else 0
    except ValueError:
        return 0


def changelog_entry(head: tuple[str, str], commit: Commit, maintainer: str, after: int = 0) -> str:
    """A changelog entry for `head` (source, version), dated by the commit: nothing in it tells the day of the build.

    `after` is the time of the entry below (UTC seconds): an older or equal one on top would be a mistake.
    """
    from email.utils import formatdate

    called = "the published archive with sha256\n   " if commit.released else "commit"  # one line would be too long
    what = f"  * Build of {called} {commit.shipped_sha}.".splitlines()
    lines = (
        f"{head[0]} ({head[1]}) unstable; urgency=medium",
        "",
        *what,
        "",
        f" -- {maintainer}  {formatdate(max(commit.epoch, after + 1)).replace('-0000', '+0000')}",
    )
    return "\n".join(lines) + "\n\n"
