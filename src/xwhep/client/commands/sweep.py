"""`xw job sweep`: one job for each row of a CSV file, in one submission."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec

from xwhep.client import credentials, show, submission, sweeps, text, waiting
from xwhep.client.commands import job_options
from xwhep.client.commands.outcome import wait_together
from xwhep.client.connection import Server
from xwhep.client.listing import Wanted
from xwhep.client.lookup import find_job
from xwhep.client.parser import Command, add_format
from xwhep.client.uploads import STDIN_MARK, references
from xwhep.common.errors import UsageError
from xwhep.common.wire import JobBatch, JobSpec


def _configure(parser: ArgumentParser) -> None:
    parser.usage = "xw job sweep APP --csv FILE [options] [-- ARG ...]"
    parser.description = (
        "Submit one job for each row of a CSV file, all of them or none. {column} in arguments, in values of --env,\n"
        "in --stdin, --data and --label stands for the row's value; {{ and }} are braces. All jobs share a group."
    )
    job_options.add_all(parser)
    parser.add_argument(
        "--csv", metavar="FILE", required=True, help="its first line names the columns; - is standard input"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the jobs, upload and submit nothing")
    parser.add_argument("--wait", action="store_true", help="wait until all of them have ended")
    add_format(parser)


def _run(args: Namespace) -> int:
    typed = job_options.template(args)
    rows = _rows(args.csv)
    group = args.group or submission.fresh_group("sweep")
    places = [f"line {row.line} of {args.csv}" for row in rows]
    specs = [
        sweeps.filled(msgspec.structs.replace(typed, group=group, label=typed.label or f"row-{number}"), row, place)
        for number, (row, place) in enumerate(zip(rows, places, strict=True), 1)
    ]
    _check(specs, args)
    if args.dry_run:
        _print_jobs(specs, rows, args.format)
        return 0
    with Server(credentials.find()) as server:
        after = [find_job(server, one).id for one in typed.after]
        specs = [msgspec.structs.replace(spec, after=after) for spec in specs]
        ids = submission.submit_all(server, submission.resolve_all(server, specs, places), places)
        waiting.note(f"{text.jobs(len(ids))} submitted; to stop them: xw job cancel {Wanted(group=group).words}")
        _print_submitted(group, ids, args)
        return wait_together(server, Wanted(group=group), args.format) if args.wait else 0


def _rows(name: str) -> list[sweeps.Row]:
    if name == STDIN_MARK:
        return sweeps.read_rows(sys.stdin, "standard input")
    with Path(name).open(encoding="utf-8", newline="") as file:
        return sweeps.read_rows(file, name)


def _check(specs: list[JobSpec], args: Namespace) -> None:
    """Raises: UsageError: what the server would not take, before anything is uploaded."""
    if args.csv == STDIN_MARK and any(STDIN_MARK in references(spec) for spec in specs):
        raise UsageError("standard input cannot be both the rows and a file of the jobs", "give the rows as a file")
    submission.check_size(JobBatch(jobs=specs))


def _print_jobs(specs: list[JobSpec], rows: list[sweeps.Row], form: str) -> None:
    if form == "json":
        show.print_json(specs)
        return
    show.print_table(
        ("LINE", "LABEL", "STDIN", "DATA", "ENVIRONMENT", "ARGUMENTS"),
        [
            (
                str(row.line),
                spec.label,
                spec.stdin,
                " ".join(spec.data),
                " ".join(f"{name}={value}" for name, value in spec.env.items()),
                shlex.join(spec.args),
            )
            for spec, row in zip(specs, rows, strict=True)
        ],
    )


def _print_submitted(group: str, ids: list[str], args: Namespace) -> None:
    """With --wait the one value on standard output is how the jobs ended."""
    if args.wait:
        waiting.note(f"to fetch the results: xw job results {Wanted(group=group).words} -o DIR")
    elif args.format == "json":
        show.print_json({"group": group, "ids": ids})
    else:
        show.line(text.clean(group))


SWEEP = Command(
    _configure,
    _run,
    "xw job sweep render --csv frames.csv --data scene.blend=./{scene}.blend -- --frame {frame}",
    takes_rest=True,
)
