"""`xw key ...`: keys that sign apps."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from xwhep.client import keys, show
from xwhep.client.keys import Key
from xwhep.client.parser import Command, add_format


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="where the private key is kept")
    add_format(parser)


def _print(args: Namespace, key: Key) -> int:
    if args.format == "json":
        show.print_json({"file": args.file, "signer": key.signer})
    else:
        show.line(key.signer)
    return 0


MAKE = Command(_configure, lambda args: _print(args, keys.make(Path(args.file))), "xw key make ./signing.key")
SHOW = Command(_configure, lambda args: _print(args, keys.load(Path(args.file))), "xw key show ./signing.key")
