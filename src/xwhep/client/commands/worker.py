"""`xw worker ...`: the machines that run jobs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client import credentials, machines, show, text
from xwhep.client.connection import Server
from xwhep.client.parser import Command, add_format
from xwhep.common.wire import Worker


def _list(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        workers = server.get("/v1/workers", list[Worker])
    if args.format == "json":
        show.print_json(workers)
        return 0
    show.print_table(
        ("NAME", "STATE", "SYSTEM", "CPUS", "RAM", "FREE DISK", "ISOLATION", "VERSION", "JOBS", "LAST SEEN"),
        [_row(worker) for worker in sorted(workers, key=lambda worker: worker.name)],
    )
    return 0


def _row(worker: Worker) -> tuple[str, ...]:
    machine = worker.machine
    return (
        worker.name,
        _state(worker),
        f"{machine.os}/{machine.arch}",
        str(machine.cpu_count),
        text.size(machine.ram_bytes),
        text.size(machine.disk_free_bytes),
        machine.isolation,
        machine.version,
        str(len(worker.running)),
        text.moment(worker.last_seen_at),
    )


def _state(worker: Worker) -> str:
    extra = [("draining", worker.draining), ("quarantined", bool(worker.quarantined_until))]
    return ", ".join([worker.state, *(word for word, holds in extra if holds)])


def _configure_show(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="the worker's name or id")
    add_format(parser)


def _show(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        workers = machines.find_workers(server, args.names)
    if args.format == "json":
        show.print_json(workers[0] if len(workers) == 1 else workers)
        return 0
    for number, worker in enumerate(workers):
        if number:
            show.line("")
        show.print_facts(_facts(worker))
    return 0


def _facts(worker: Worker) -> list[tuple[str, str]]:
    machine = worker.machine
    quarantine = f"until {text.moment(worker.quarantined_until)}" if worker.quarantined_until else ""
    return [
        ("name", worker.name),
        ("id", worker.id),
        ("state", worker.state),
        ("draining", "yes, it gets no new jobs" if worker.draining else ""),
        ("quarantine", quarantine),
        ("last seen", text.moment(worker.last_seen_at)),
        ("runs jobs of", machines.serves(worker)),
        ("owner", worker.owner),
        ("group", worker.group),
        ("jobs", " ".join(worker.running)),
        ("failures in a row", str(worker.failures_in_row or "")),
        ("outvoted", str(worker.outvoted or "")),
        ("system", f"{machine.os}/{machine.arch}"),
        ("processors", f"{machine.cpu_count} ({machine.cpu_model})"),
        ("memory", text.size(machine.ram_bytes)),
        ("free disk", text.size(machine.disk_free_bytes)),
        ("isolation", machine.isolation),
        ("shared assets", " ".join(machine.shared)),
        ("labels", " ".join(machine.labels)),
        ("only signed by", " ".join(machine.signers)),
        ("version", machine.version),
    ]


LIST = Command(add_format, _list, "xw worker list --format json")
SHOW = Command(_configure_show, _show, "xw worker show node7")
