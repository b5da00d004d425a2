"""Settings that are given for one run: each as a line of the pipeline file would say it, several with a semicolon.

doit build set='deploy.workers=3; suite.name=forky'
XWHEP_SET='sources.nbody.lint=false' doit build
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from xwhep_packaging.errors import SettingsError

SEPARATOR = ";"


def apply(table: dict[str, Any], text: str, origin: str) -> None:
    """Change the pipeline file's table; of two values for one setting the later counts.

    Raises:
        SettingsError: a part is no `section.key=value`, or goes through something that is no section.
    """
    for part in _parts(text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        path = _path(name)
        if not equals or not path:
            raise SettingsError(
                f"{origin}: {part!r} says no setting and value",
                next_step=f"{origin}='section.key=value{SEPARATOR} section.key=value'; text with {SEPARATOR} in quotes",
            )
        inner = table
        for section in path[:-1]:
            deeper = inner.setdefault(section, {})
            if not isinstance(deeper, dict):
                raise SettingsError(
                    f"{origin}: {name!r}: {section!r} is no section", next_step="docs/settings.md lists every setting"
                )
            inner = deeper
        inner[path[-1]] = _value(value)


def _parts(text: str) -> Iterator[str]:
    """Between separators, those in quotes left alone; empty parts left out."""
    part, quote = "", ""
    for letter in text + SEPARATOR:
        if letter == SEPARATOR and not quote:
            if part.strip():
                yield part.strip()
            part = ""
            continue
        if letter in "\"'" and quote in ("", letter):
            quote = "" if quote else letter
        part += letter
    if part.strip().rstrip(SEPARATOR):
        yield part.strip().rstrip(SEPARATOR)  # a quote that is never closed: the value is taken as it stands


def _path(name: str) -> list[str]:
    """`section.key` as TOML reads it, so that a name with a dot can stand in quotes; at least two parts."""
    try:
        inner: Any = tomllib.loads(f"{name} = 0")
    except (ValueError, RecursionError):
        return []
    path = []
    while isinstance(inner, dict):
        if len(inner) != 1:
            return []
        ((key, inner),) = inner.items()
        path.append(key)
    return path if len(path) > 1 else []


def _value(text: str) -> Any:
    """As TOML where it is some; any other text is itself, so that a shell's quotes are enough."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except (ValueError, RecursionError, KeyError):
        return text
