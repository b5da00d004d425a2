"""A job for each row of a CSV file: `{column}` in the words of a job stands for the row's value."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from xwhep.common.errors import UsageError
from xwhep.common.wire import JobSpec

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Row(NamedTuple):
    """`line` is where it ends in the file, counted from 1."""

    line: int
    values: dict[str, str]


def read_rows(lines: Iterable[str], name: str) -> list[Row]:
    """The rows of a CSV text whose first row names the columns; empty lines are passed over.

    Raises:
        UsageError: there is no row, a column has no name of its own, or a row has not one value for each.
    """
    reader = csv.reader(lines, strict=True)
    columns: list[str] = []
    rows = []
    try:
        for values in reader:
            if not values:
                continue
            if not columns:
                columns = _checked_columns(values, f"line {reader.line_num} of {name}")
            elif len(values) != len(columns):
                raise _wrong(
                    f"line {reader.line_num} of {name} has {len(values)} values for {len(columns)} columns",
                    "quote a value that holds a comma",
                )
            else:
                rows.append(Row(reader.line_num, dict(zip(columns, values, strict=True))))
    except csv.Error as exc:
        raise _wrong(f"line {reader.line_num} of {name} is no CSV: {exc}", "check its quotes") from exc
    except UnicodeDecodeError as exc:
        raise _wrong(f"after line {reader.line_num}, {name} is not UTF-8", "save it as UTF-8") from exc
    if not columns:
        raise _wrong(f"{name} is empty", "its first line names the columns")
    if not rows:
        raise _wrong(f"{name} has no row below the names of its columns", "add one row for each job")
    return rows


def _checked_columns(names: list[str], place: str) -> list[str]:
    names = [names[0].removeprefix("\ufeff"), *names[1:]]
    for name, count in Counter(names).items():
        if count > 1:
            raise _wrong(f"{place} names the column {name!r} {count} times", "give each column a name of its own")
        if not name or re.search(r"[{}]", name):
            raise _wrong(f"{place}: {name!r} is no name for a column", "give each column a name, without braces")
    return names


def filled(typed: JobSpec, row: Row, place: str) -> JobSpec:
    """`typed` with the row's values in its arguments, environment, stdin, data and label.

    Raises:
        UsageError: there is no such column, or a brace alone.
    """

    def fill(text: str) -> str:
        return _PLACE.sub(lambda found: _value(found, row, place), text)

    return msgspec.structs.replace(
        typed,
        args=_each(fill, typed.args),
        env={name: fill(value) for name, value in typed.env.items()},
        stdin=fill(typed.stdin),
        data=_each(fill, typed.data),
        label=fill(typed.label),
    )


def _each(fill: Callable[[str], str], texts: list[str]) -> list[str]:
    return [fill(text) for text in texts]


def _value(found: re.Match[str], row: Row, place: str) -> str:
    text, column = found[0], found[1]
    if text in ("{{", "}}"):
        return text[0]
    if column is None:
        raise _wrong(f"there is a {text} alone", "write a brace that is meant as such twice: {{ or }}")
    if column not in row.values:
        known = ", ".join(row.values)
        raise _wrong(
            f"{place}: there is no column {{{column}}}; the columns are {known}", "a brace is written {{ or }}"
        )
    return row.values[column]


def _wrong(message: str, next_step: str) -> UsageError:
    return UsageError(message, next_step)
