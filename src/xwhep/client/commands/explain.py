"""`xw job explain`: why a job is where it is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client import credentials, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.lookup import find_job
from xwhep.client.parser import Command, add_format
from xwhep.common.wire import Explanation


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id, or its beginning")
    add_format(parser)


def _run(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        job = find_job(server, args.id)
        found = server.get(f"/v1/jobs/{in_path(job.id)}/explain", Explanation)
    if args.format == "json":
        show.print_json(found)
        return 0
    show.line(text.clean(f"job {found.job_id} is {found.state}: {found.text}"))
    if found.failing:
        show.line("")
        show.print_table(
            ("NEED", "WANTED", "WORKERS WITHOUT"),
            [(one.need, one.wanted, f"{one.workers} of {found.workers}") for one in found.failing],
        )
    return 0


EXPLAIN = Command(_configure, _run, "xw job explain 3f9a1c07")
