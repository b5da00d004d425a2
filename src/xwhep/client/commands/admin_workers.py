"""`xw admin worker ...`: whose jobs a worker runs, and whether it gets any. Its owner may do most of it too."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from xwhep.client import credentials, machines, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import UsageError
from xwhep.common.wire import Ack, Worker, WorkerChange

VISIBILITIES = ("public", "group", "private")


def _configure_names(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="the worker's name or id")
    add_format(parser)


def _each(args: Namespace, act: Callable[[Server, Worker], Worker]) -> int:
    """Do it to every named worker, once all the names are known to be right."""
    with Server(credentials.find()) as server:
        changed = [act(server, worker) for worker in machines.find_workers(server, args.names)]
    if args.format == "json":
        show.print_json(changed)
        return 0
    for worker in changed:
        show.line(text.clean(f"{worker.name} {worker.id} {worker.state}: {_described(worker)}"))
    return 0


def _described(worker: Worker) -> str:
    parts = [f"runs jobs of {machines.serves(worker)}"]
    if worker.draining:
        parts.append("draining, gets no new ones")
    if worker.quarantined_until:
        parts.append(f"in quarantine until {text.moment(worker.quarantined_until)}")
    return ", ".join(parts)


def _change(server: Server, worker: Worker, change: WorkerChange) -> Worker:
    return server.post(f"/v1/workers/{in_path(worker.id)}", change, Worker)


def _rotate(server: Server, worker: Worker) -> Worker:
    server.post(f"/v1/workers/{in_path(worker.id)}/rotate", None, Ack)
    return worker


def _unquarantine(server: Server, worker: Worker) -> Worker:
    return server.post(f"/v1/workers/{in_path(worker.id)}/unquarantine", None, Worker)


def _configure_set(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="the worker's name or id")
    parser.add_argument(
        "--visibility", choices=VISIBILITIES, help="whose jobs it runs: everyone's, its group's, its owner's"
    )
    parser.add_argument("--group", metavar="G", help="its group; alone, it also makes it run the group's jobs only")
    add_format(parser)


def _set(args: Namespace) -> int:
    if not (args.visibility or args.group):
        raise UsageError("nothing is to be changed", "give --visibility, --group or both")
    change = WorkerChange(visibility=args.visibility or "group", group=args.group)
    return _each(args, lambda server, worker: _change(server, worker, change))


def _drain(args: Namespace, draining: bool) -> int:
    return _each(args, lambda server, worker: _change(server, worker, WorkerChange(draining=draining)))


DRAIN = Command(_configure_names, lambda args: _drain(args, draining=True), "xw admin worker drain node7")
RESUME = Command(_configure_names, lambda args: _drain(args, draining=False), "xw admin worker resume node7")
SET = Command(_configure_set, _set, "xw admin worker set node7 node8 --group lab")
ROTATE = Command(_configure_names, lambda args: _each(args, _rotate), "xw admin worker rotate node7")
UNQUARANTINE = Command(_configure_names, lambda args: _each(args, _unquarantine), "xw admin worker unquarantine node7")
