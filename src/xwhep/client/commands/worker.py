"""`xw worker ...`: the machines that run jobs."""

from __future__ import annotations

from argparse import Namespace

from xwhep.client import credentials, show, text
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
        worker.state,
        f"{machine.os}/{machine.arch}",
        str(machine.cpu_count),
        text.size(machine.ram_bytes),
        text.size(machine.disk_free_bytes),
        machine.isolation,
        machine.version,
        str(len(worker.running)),
        text.moment(worker.last_seen_at),
    )


LIST = Command(add_format, _list, "xw worker list --format json")
