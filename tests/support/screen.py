"""A terminal's screen, as far as the pipeline's live view goes: what a person would see after some output."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\x1b\[(\d*)([AJKm])|([\r\n])|([^\x1b\r\n])")


class Screen:
    """`columns` wide and `rows` high; lines that leave it at the top are kept in `gone`."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.lines = [""]
        self.gone: list[str] = []
        self.row = self.column = 0

    def feed(self, text: str) -> Screen:
        """Take output in; a command that the view must not send is an error."""
        place = 0
        while place < len(text):
            token = TOKEN.match(text, place)
            assert token, f"not known to this terminal: {text[place : place + 12]!r}"
            place = token.end()
            number, command, control, letter = token.groups()
            if letter:
                self._put(letter)
            elif control:
                self._move(control)
            else:
                self._do(command, int(number or 1))
        return self

    def _put(self, letter: str) -> None:
        if self.column == self.columns:
            self._move("\n")
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
        self.column += 1

    def _move(self, control: str) -> None:
        if control == "\r":
            self.column = 0
            return
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")
        if len(self.lines) > self.rows:
            self.gone.append(self.lines.pop(0))
            self.row -= 1

    def _do(self, command: str, number: int) -> None:
        if command == "A":
            self.row = max(0, self.row - number)
        elif command in "JK":
            self.lines[self.row] = self.lines[self.row][: self.column]
            if command == "J":
                del self.lines[self.row + 1 :]

    @property
    def shown(self) -> list[str]:
        """Every line, the ones that left included, without blanks at its end."""
        lines = [line.rstrip() for line in [*self.gone, *self.lines]]
        while lines and not lines[-1]:
            lines.pop()
        return lines
