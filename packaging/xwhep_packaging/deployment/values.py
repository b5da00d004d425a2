"""xwconfigure.values: shell-style KEY=VALUE lines, parsed and never sourced.

KEY=plain   KEY='as it stands'   KEY="with \\" \\\\ \\$ \\` escaped"   # a comment

What a shell would run or fill in is refused: the file holds passwords, and is no program. No message repeats a value.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from pathlib import Path

from xwhep_packaging.deployment.meanings import MEANINGS
from xwhep_packaging.errors import SecretsExposed, UnknownKey, ValuesError

ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)\Z")
SHELL_WORDS = frozenset("$`;&|<>()")
ESCAPED = frozenset('"\\$`')
OTHERS = stat.S_IRWXG | stat.S_IRWXO
SIZE_LIMIT_BYTES = 64 * 1024


def read_values(file: Path) -> dict[str, str]:
    """Every key that is set, in the order of the file; an empty value counts as not set.

    Raises:
        SecretsExposed: others can read the file, or it belongs to somebody else.
        ValuesError: it cannot be read, or a line is no KEY=VALUE.
        UnknownKey: a key that no release knew.
    """
    values = parse(_text(file), file)
    for key in values:
        if key not in MEANINGS:
            near = difflib.get_close_matches(key.upper(), MEANINGS, n=1)
            known = f"did you mean {near[0]}?" if near else "docs/howto/configure.md lists every key"
            raise UnknownKey(f"{file}: there is no key {key!r}", next_step=known)
    return {key: value for key, value in values.items() if value}


def refuse_exposed(path: Path, status: os.stat_result) -> None:
    """Raises: SecretsExposed: somebody else owns `path` or can read it; names it, and what to type."""
    if os.geteuid() not in (0, status.st_uid) and status.st_uid != 0:
        raise SecretsExposed(f"{path} belongs to another user", next_step=f"chown {os.geteuid()} {path}")
    if status.st_mode & OTHERS:
        mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise SecretsExposed(
            f"other users can read {path}, which holds secrets (mode {stat.S_IMODE(status.st_mode):04o})",
            next_step=f"chmod {mode} {path}",
        )


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValuesError(f"{file} is no file", next_step="values=FILE names a file of answers")
            refuse_exposed(file, status)
            content = stream.read(SIZE_LIMIT_BYTES + 1)
    except OSError as exc:
        raise ValuesError(
            f"cannot read {file}",
            cause=exc.strerror or str(exc),
            next_step="scripts/doit configure values=PATH/TO/FILE",
        ) from exc
    if len(content) > SIZE_LIMIT_BYTES:
        raise ValuesError(f"{file} is larger than {SIZE_LIMIT_BYTES} bytes", next_step="is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ValuesError(f"{file} is not UTF-8", next_step="save it as UTF-8") from exc


def parse(text: str, file: Path) -> dict[str, str]:
    """Key to value, empty ones too.

    Raises:
        ValuesError: names file, line and what is wrong there.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        place = f"{file}:{number}"
        match = ASSIGNMENT.match(line)
        if not match:
            raise ValuesError(f"{place}: this is no KEY=VALUE", next_step="quote a value that has spaces in it")
        key, rest = match.groups()
        if key in values:
            raise ValuesError(f"{place}: {key} is set twice", next_step="remove one of the lines")
        values[key] = _Word(rest, f"{place}: {key}").read()
    return values


class _Word:
    """One shell word, read without a shell; what follows it may only be a comment."""

    def __init__(self, text: str, place: str) -> None:
        self.text, self.place, self.position = text, place, 0

    def read(self) -> str:
        value = ""
        while self.position < len(self.text) and self.text[self.position] not in " \t":
            value += self._piece()
        rest = self.text[self.position :].strip()
        if rest and not rest.startswith("#"):
            raise self._wrong("more than one word", "quote a value that has spaces in it")
        if not value.isprintable():
            raise self._wrong("a character that is not printable", "type the value again")
        return value

    def _piece(self) -> str:
        character = self._next()
        if character == "'":
            return self._single()
        if character == '"':
            return self._double()
        if character == "\\":
            return self._next()
        return self._plain(character)

    def _next(self) -> str:
        if self.position == len(self.text):
            raise self._wrong("the line ends too early", "close the quote; a value is one line")
        self.position += 1
        return self.text[self.position - 1]

    def _single(self) -> str:
        piece = ""
        while (character := self._next()) != "'":
            piece += character
        return piece

    def _double(self) -> str:
        piece = ""
        while (character := self._next()) != '"':
            if character == "\\":
                following = self._next()
                piece += following if following in ESCAPED else f"\\{following}"
            else:
                piece += self._plain(character, refused=frozenset("$`"))
        return piece

    def _plain(self, character: str, refused: frozenset[str] = SHELL_WORDS) -> str:
        if character in refused:
            raise self._wrong(
                f"{character!r} means something to a shell, and nothing in this file is run or filled in",
                "put the value in single quotes if it is meant as it stands",
            )
        return character

    def _wrong(self, what: str, next_step: str) -> ValuesError:
        return ValuesError(f"{self.place}: {what}", next_step=next_step)
