"""The command xwhep-worker: run, join, status, pause, resume, drain, version."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from xwhep.common.errors import ConnectionFailed, NotAllowed, UsageError, XwhepError
from xwhep.common.join import parse_join_line
from xwhep.common.version import VERSION
from xwhep.worker import identity, settings
from xwhep.worker.assets import Assets
from xwhep.worker.board import read_status, sole_worker
from xwhep.worker.control import Mode, ask
from xwhep.worker.logs import start_logging
from xwhep.worker.machine import Host
from xwhep.worker.service import limits_of, prepare_state, run
from xwhep.worker.settings import Settings
from xwhep.worker.status import as_json, as_table
from xwhep.worker.walls import choose

log = logging.getLogger(__name__)
PROGRAM = "xwhep-worker"
MODES = {"pause": Mode.PAUSED, "resume": Mode.WORKING, "drain": Mode.DRAINING}
MODE_HELP = {
    Mode.PAUSED: "takes no new jobs, goes on with those it has",
    Mode.WORKING: "takes jobs",
    Mode.DRAINING: "takes no new jobs; status says drained when its last result is delivered",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command: 0, or that of the error class (see common/errors.py)."""
    typed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = typed.command
    try:
        return command(typed)
    except XwhepError as exc:
        sys.stderr.write(f"{PROGRAM}: {exc}\n")
        if exc.next_step:
            sys.stderr.write(f"  next: {exc.next_step}\n")
        return exc.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Lends this machine to a grid: takes jobs, runs them, delivers results."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    described = (
        "Take jobs and run them until SIGTERM. Joins first when XWHEP_JOIN or XWHEP_JOIN_FILE holds a join line."
    )
    one = commands.add_parser("run", help="take jobs and run them", description=described)
    settings.add_flags(one)
    one.set_defaults(command=_run)

    described = (
        "Enrol with the server of a join line, which is read from a file or from standard input: it holds a token."
    )
    one = commands.add_parser("join", help="enrol this machine with a server", description=described)
    one.add_argument("--file", metavar="FILE", help="file with the join line (default: standard input)")
    settings.add_flags(one)
    one.set_defaults(command=_join)

    described = "Exit code 0 while the worker of this state folder runs, 3 when none does."
    one = commands.add_parser("status", help="what the worker is doing", description=described)
    one.add_argument(
        "--format", choices=("table", "json"), default="table", help="for people or for programs (default: table)"
    )
    settings.add_flags(one, names=("state",))
    one.set_defaults(command=_status)

    for verb, mode in MODES.items():
        one = commands.add_parser(verb, help=f"tell the running worker: {MODE_HELP[mode]}", description=MODE_HELP[mode])
        settings.add_flags(one, names=("state",))
        one.set_defaults(command=_control, mode=mode)

    one = commands.add_parser("version", help="print the version")
    one.set_defaults(command=_version)
    return parser


def _loaded(typed: argparse.Namespace) -> Settings:
    return settings.load(vars(typed), os.environ)


def _run(typed: argparse.Namespace) -> int:
    start_logging()
    return run(_loaded(typed))


def _join(typed: argparse.Namespace) -> int:
    chosen = _loaded(typed)
    line = parse_join_line(read_text(typed.file))
    prepare_state(chosen.state)
    with sole_worker(chosen.state):
        wall = choose(chosen.isolation, limits_of(chosen), chosen.state)
        machine = Host(chosen.state, wall.isolation, chosen.labels, chosen.signers).announce(
            sorted(Assets(chosen.shared_dir).installed())
        )
        joined = identity.join(line, chosen.name, machine, chosen.state)
    sys.stdout.write(f"joined {joined.address} as {joined.name} ({joined.worker_id}); next: {PROGRAM} run\n")
    return 0


def read_text(file: str | None) -> str:
    """The content of a file, or of standard input.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return sys.stdin.read() if file is None else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"no join line can be read: {exc}", identity.HOW_TO_JOIN) from exc


def _status(typed: argparse.Namespace) -> int:
    state = _loaded(typed).state
    try:
        status = read_status(state)
    except PermissionError as exc:
        raise NotAllowed(
            f"the state folder {state} is not for user {os.geteuid()} to read", "run it as root or as the worker's user"
        ) from exc
    sys.stdout.write(as_json(status) if typed.format == "json" else as_table(status))
    return 0 if status else ConnectionFailed.exit_code


def _control(typed: argparse.Namespace) -> int:
    ask(_loaded(typed).state, typed.mode)
    sys.stdout.write(f"the worker is {typed.mode}: {MODE_HELP[typed.mode]}\n")
    return 0


def _version(_: argparse.Namespace) -> int:
    sys.stdout.write(f"{PROGRAM} {VERSION}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
