"""packaging/pipeline.schema.json: what editors complete and check the pipeline file by.

settings' classes ──> forms and defaults ──┐
docs/settings.md  ──> what each means ─────┴──> JSON schema
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from xwhep_packaging.settings import Settings

NOT_SET = ("root", "file")  # where the file was read: derived, never written
ROW = re.compile(r"^\| `(\w+)` \| .+? \| (.+) \|$", re.M)
# Headings of the page -> the classes that stand below them, where they have not the heading's last word for a name.
HEADINGS = {
    "chroot] and [base": ("RootFs",),
    "sources.NAME": ("DebianSource", "StdebSource", "CommandSource"),
    "[sources.NAME.services]": ("Service",),
    "images.NAME": ("Image",),
    "images.NAME.health": ("HealthCheck",),
    'sources.NAME] builder = "debian"': ("DebianSource",),
    'sources.NAME] builder = "stdeb"': ("StdebSource",),
    'sources.NAME] builder = "command"': ("CommandSource",),
}


def schema(page: str) -> dict[str, Any]:
    """The schema; `page` is the text of docs/settings.md."""
    made: dict[str, Any] = _plain(msgspec.json.schema(Settings))
    table = made["$defs"]["Settings"]
    table["description"] = "docs/settings.md explains every setting"
    for name in NOT_SET:
        del table["properties"][name]
    for kind, meanings in _meanings(page).items():
        for name, meaning in meanings.items():
            made["$defs"][kind]["properties"][name]["description"] = meaning
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The pipeline file", **made}


def _meanings(page: str) -> dict[str, dict[str, str]]:
    """Class -> setting -> what the page says of it."""
    parts = re.split(r"^## \[(.+?)\]?$", page.partition("\n## Environment")[0], flags=re.M)
    found: dict[str, dict[str, str]] = {}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        for kind in HEADINGS.get(heading, (heading.rpartition(".")[2].title().replace("_", ""),)):
            found.setdefault(kind, {}).update(ROW.findall(text))
    return found


def _plain(part: Any) -> Any:
    """Python's patterns as JSON schema has them: \\Z is its $."""
    if isinstance(part, dict):
        return {name: inner.replace(r"\Z", "$") if name == "pattern" else _plain(inner) for name, inner in part.items()}
    return [_plain(inner) for inner in part] if isinstance(part, list) else part


def text(page: str) -> str:
    """The file as it is published."""
    return json.dumps(schema(page), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write it: `tox -e schema`."""
    root = Path(__file__).parents[2]
    page = (root / "docs" / "settings.md").read_text(encoding="utf-8")
    (root / "packaging" / "pipeline.schema.json").write_text(text(page), encoding="utf-8")


if __name__ == "__main__":
    main()
