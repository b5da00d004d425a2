"""SQL lives in .sql files; this reads them.

A query starts with `-- name: NAME`, then at least one comment line that describes it, then one statement.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

SQL_FOLDER = Path(__file__).parent.parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def parse_queries(text: str) -> dict[str, str]:
    """Statements by name.

    Raises:
        ValueError: a query has no description, no statement, or the name of another.
    """
    parts = _NAME.split(text)[1:]
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip().splitlines()
        statement = "\n".join(line for line in lines if not line.startswith("--")).strip()
        if not lines or not lines[0].startswith("-- ") or not statement or name in queries:
            raise ValueError(f"query {name} needs a description, a statement, and a name of its own")
        queries[name] = statement
    return queries


@cache
def load_queries() -> dict[str, str]:
    """Every named query of the server."""
    queries: dict[str, str] = {}
    for path in sorted(SQL_FOLDER.glob("*.sql")):
        found = parse_queries(path.read_text(encoding="utf-8"))
        if twice := queries.keys() & found.keys():
            raise ValueError(f"{path.name} repeats {sorted(twice)}")
        queries.update(found)
    return queries


def migrations() -> list[tuple[int, str]]:
    """Every migration as (number, script), in order. Numbers may have gaps, but each is used once."""
    found = [
        (int(path.name[:4]), path.read_text("utf-8")) for path in sorted((SQL_FOLDER / "migrations").glob("*.sql"))
    ]
    if len({number for number, _ in found}) < len(found):
        raise ValueError("two migrations have the same number")
    return found
