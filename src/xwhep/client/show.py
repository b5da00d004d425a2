"""Printing answers: aligned tables for people, one JSON value for programs."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from xwhep.client.text import clean

SHORT_ID_LENGTH = 8


def print_json(value: Any) -> None:
    """Structs (or lists of them) as one JSON value with every field, defaults too, named as on the wire."""
    line(json.dumps(whole(value), indent=2))


def whole(value: Any) -> Any:
    """`value` as plain dicts and lists. msgspec leaves out defaults; scripts want every field."""
    if isinstance(value, msgspec.Struct):
        return {name: whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell. Cells are cleaned: names on a server come from other people."""
    grid = [list(headings), *([clean(cell) or "-" for cell in row] for row in rows)]
    widths = [max(_width(row[column]) for row in grid) for column in range(len(headings))]
    for row in grid:
        line("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """One `name  value` a line; empty values are left out."""
    kept = [(name, clean(value)) for name, value in facts if value]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        line(f"{name:<{width}}  {value}")


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Each id's shortest beginning that no other of them has, at least 8 characters."""
    length = SHORT_ID_LENGTH
    longest = max((len(one) for one in ids), default=0)
    while length < longest and len({one[:length] for one in ids}) < len(set(ids)):
        length += 1
    return {one: one[:length] for one in ids}


def line(text: str) -> None:
    print(text)  # noqa: T201 - the one print of the commands


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
