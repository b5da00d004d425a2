"""The settings file that the package ships shows every setting with its default."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

from xwhep.server.settings import Settings

SHIPPED = Path(__file__).parents[3] / "debian" / "conf" / "server.toml"


def test_every_setting_is_in_the_shipped_file_with_its_default() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    shown = tomllib.loads("\n".join(re.findall(r"^#(\w+ = .*)$", text, re.M)))
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert set(shown) == set(fields)
    folders = {name: str(fields[name]) for name in ("state", "deployment")}
    special = {**folders, "listen": ":4321", "name": ["grid.example.org"]}
    assert shown == {**fields, **special}
    assert tomllib.loads(text) == {}
