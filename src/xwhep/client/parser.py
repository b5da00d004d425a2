"""The words of a command line: which command they name, and its own small parser. No other is built."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, NoReturn

from xwhep.client.catalogue import CATALOGUE, Entry, group_of
from xwhep.common.errors import UsageError


class Command(NamedTuple):
    """One command: `configure` adds its arguments, `run` does it and returns the exit code, `example` is for --help.

    With `takes_rest`, what follows a lone `--` is left as it is, in `args.rest`.
    """

    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    example: str
    takes_rest: bool = False


class Call(NamedTuple):
    """A command with the arguments that were typed for it."""

    run: Callable[[argparse.Namespace], int]
    args: argparse.Namespace


class Parser(argparse.ArgumentParser):
    """argparse that raises our error, so that every failure looks the same.

    It makes a formatter for each argument, which asks the terminal for its width: here only one that shows something.
    """

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}", f"{self.prog} --help")

    def format_help(self) -> str:
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_help()


def find_entry(argv: Sequence[str]) -> Entry:
    """The catalogue entry whose words `argv` starts with.

    Raises:
        UsageError: there is no such command; the nearest ones are named.
    """
    for entry in CATALOGUE:
        words = entry.words.split()
        if list(argv[: len(words)]) == words:
            return entry
    typed = " ".join(argv[: len(group_of(argv).split()) + 1])
    raise UsageError(f"there is no command: xw {typed}", _nearest_commands(typed) or "xw --help lists the commands")


def _nearest_commands(typed: str) -> str:
    import difflib  # noqa: PLC0415 - only a mistake pays for it

    near = difflib.get_close_matches(typed, [entry.words for entry in CATALOGUE], n=3, cutoff=0.5)
    return "did you mean: " + ", ".join(f"xw {words}" for words in near) if near else ""


def load(entry: Entry) -> Command:
    module, _, name = entry.target.partition(":")
    command: Command = getattr(importlib.import_module(f"xwhep.client.commands.{module}"), name)
    return command


def build(entry: Entry, command: Command) -> Parser:
    """The parser of one command, `--help` with its example included."""
    parser = Parser(
        prog=f"xw {entry.words}",
        description=entry.summary[0].upper() + entry.summary[1:] + ".",
        epilog=f"example:\n  {command.example}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=80),
        allow_abbrev=False,
    )
    command.configure(parser)
    return parser


def parse(argv: Sequence[str]) -> Call:
    """Read `argv` (without `xw` itself).

    Raises:
        UsageError: no such command, or arguments that it does not take.
    """
    entry = find_entry(argv)
    command = load(entry)
    own = list(argv[len(entry.words.split()) :])
    cut = own.index("--") if command.takes_rest and "--" in own else len(own)
    parser = build(entry, command)
    # argparse's intermixed form, which lets options stand between words, loses what follows a -- of its own.
    args = parser.parse_args(own) if "--" in own[:cut] else parser.parse_intermixed_args(own[:cut])
    args.rest = own[cut + 1 :]
    return Call(command.run, args)


def add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="for people, or one JSON value (default: table)"
    )
