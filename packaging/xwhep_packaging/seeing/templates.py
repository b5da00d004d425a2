"""Pages from the templates in packaging/report: every text is escaped, whoever wrote it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xwhep_packaging.seeing import words

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = Path(__file__).resolve().parents[2] / "report"


def template(name: str) -> Template:
    """The template of that name; it knows the filters size, seconds and moment."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": words.size, "seconds": words.seconds, "moment": moment}
    return environment.get_template(name)


def moment(epoch: float) -> str:
    """UTC seconds as a person reads them."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
