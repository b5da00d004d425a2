"""Passwords: typed at a prompt, read from standard input or from a file; never an argument, which everyone sees."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from pathlib import Path

from xwhep.client import credentials
from xwhep.common.errors import UsageError

_LIMIT_BYTES = 64 * 1024


def add_file_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help="its first line is the password, and nobody else may read it (default: ask, or read standard input)",
    )


def current(prompt: str) -> str:
    """A password that exists: asked for without showing it, or the next line of standard input."""
    return _present(getpass.getpass(prompt) if sys.stdin.isatty() else _line())


def new(prompt: str, file: str | None = None) -> str:
    """A password to be: from `file`, asked for twice, or the next line of standard input.

    Raises:
        UsageError: it is empty, was typed differently the second time, or others can read the file.
    """
    if file:
        text = credentials.read_secret(Path(file), f"write the password into {file}, then chmod 600 {file}") or ""
        return _present(text.partition("\n")[0].rstrip("\r"))
    if not sys.stdin.isatty():
        return _present(_line())
    typed = _present(getpass.getpass(prompt))
    if getpass.getpass("Again: ") != typed:
        raise UsageError("the two passwords differ", "run it again")
    return typed


def _line() -> str:
    return sys.stdin.readline(_LIMIT_BYTES).rstrip("\r\n")


def _present(password: str) -> str:
    if not password:
        raise UsageError("the password is empty", "type it, or give it on standard input")
    return password
