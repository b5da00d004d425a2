"""A man page for a command that has none, from what it answers to --help."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from xwhep_packaging.stages.debs.project import Project, synopsis


def page(project: Project, command: str, epoch: int) -> str:
    """The page in roff; the same project and epoch give the same bytes."""
    usage, rest = split_help(project.commands.get(command, ""))
    day = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d")
    lines = [
        f'.TH {escaped(command.upper())} 1 "{day}" "{escaped(f"{project.name} {project.version}")}" "User Commands"',
        ".SH NAME",
        f"{escaped(command)} \\- {escaped(synopsis(project))}",
        ".SH SYNOPSIS",
        *_verbatim(usage or command),
        ".SH DESCRIPTION",
        *(_verbatim(rest) if rest else [escaped(synopsis(project)) + "."]),
    ]
    return "\n".join(lines) + "\n"


def split_help(text: str) -> tuple[str, str]:
    """(usage, the rest) of a --help text in argparse's or click's form; usage is empty when it is neither."""
    match = re.match(r"\s*usage:\s*(.*?)(?:\n\s*\n|\Z)", text, re.S | re.I)
    if match is None:
        return "", text.strip("\n")
    lines = match[1].splitlines()
    return "\n".join(line.rstrip() for line in lines), text[match.end() :].strip("\n")


def escaped(text: str) -> str:
    """Roff that prints `text`: a plain hyphen would become a typographic one, which cannot be copied to a shell."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def _verbatim(text: str) -> list[str]:
    """Lines that keep their breaks; a leading dot or quote would be a request."""
    lines = [escaped(line.rstrip()) for line in text.splitlines()]
    return [".nf", *(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines), ".fi"]
