"""Whether a worker fits a job. The one place where requirements are compared with what a worker announces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xwhep.common.wire import App, Binary, Machine, Needs
from xwhep.server.store.records import Kind

ANY = "any"
GIBIBYTE = 1024**3


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A worker as matching sees it. `group` is the worker group it belongs to, '' for none."""

    id: str
    name: str
    machine: Machine
    group: str = ""
    serves: frozenset[str] | None = None  # the logins whose jobs it runs; None for everyone's


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """Something that a job needs and a worker lacks: the field, what is wanted, and both in words."""

    need: str
    wanted: str
    text: str


def binary_for(app: App, machine: Machine) -> Binary | None:
    """The most specific binary of `app` that runs on `machine`: its own os and arch before "any"."""
    for os, arch in ((machine.os, machine.arch), (machine.os, ANY), (ANY, machine.arch), (ANY, ANY)):
        for binary in app.binaries:
            if (binary.os, binary.arch) == (os, arch):
                return binary
    return None


def misfit(app: App, machine: Machine) -> str:
    """Why `machine` cannot run `app`, in words for its owner; empty when it can."""
    if app.shared:
        return "" if app.shared in machine.shared else f"the shared asset {app.shared} is not installed"
    if binary_for(app, machine) is None:
        return f"there is no binary for {machine.os}/{machine.arch}"
    return ""


def is_trusted(app: App, machine: Machine) -> bool:
    """Whether the owner of the machine lets the app run: a shared asset he installed himself."""
    if not machine.signers or app.shared:
        return True
    binary = binary_for(app, machine)
    return binary is None or binary.signer in machine.signers


def fits(kind: Kind, app: App, candidate: Candidate) -> bool:
    return next(shortfalls(kind, app, candidate), None) is None


def shortfalls(kind: Kind, app: App, candidate: Candidate) -> Iterator[Shortfall]:
    """Everything that keeps the worker from jobs of that kind."""
    if misfit(app, candidate.machine):
        wanted = app.shared or ", ".join(f"{binary.os}/{binary.arch}" for binary in app.binaries)
        cannot = f"lack the shared asset {app.shared}" if app.shared else f"cannot run its binaries ({wanted})"
        yield Shortfall(need="app", wanted=wanted, text=cannot)
    if not is_trusted(app, candidate.machine):
        yield Shortfall(need="signer", wanted=app.name, text=f"run only what signers they know signed, not {app.name}")
    if candidate.serves is not None and kind.owner not in candidate.serves:
        yield Shortfall(need="visibility", wanted=kind.owner, text=f"do not run jobs of {kind.owner}")
    if kind.needs != _NOTHING:
        yield from _place(kind.needs, candidate)
        yield from _resources(kind.needs, candidate.machine)


_NOTHING = Needs()


def _place(needs: Needs, candidate: Candidate) -> Iterator[Shortfall]:
    machine = candidate.machine
    if needs.os and needs.os != machine.os:
        yield Shortfall(need="os", wanted=needs.os, text=f"do not run {needs.os}")
    if needs.arch and needs.arch != machine.arch:
        yield Shortfall(need="arch", wanted=needs.arch, text=f"are not {needs.arch}")
    if needs.worker_group and needs.worker_group != candidate.group:
        yield Shortfall(
            need="worker_group", wanted=needs.worker_group, text=f"are not in the worker group {needs.worker_group}"
        )
    if needs.worker and needs.worker not in (candidate.id, candidate.name):
        yield Shortfall(need="worker", wanted=needs.worker, text=f"are not the worker {needs.worker}")


def _resources(needs: Needs, machine: Machine) -> Iterator[Shortfall]:
    if needs.cpu_count > machine.cpu_count:
        yield Shortfall(
            need="cpu_count", wanted=str(needs.cpu_count), text=f"have fewer than {needs.cpu_count} processors"
        )
    if needs.ram_bytes > machine.ram_bytes:
        wanted = _gib(needs.ram_bytes)
        yield Shortfall(need="ram_bytes", wanted=str(needs.ram_bytes), text=f"have less than {wanted} of memory")
    if needs.disk_bytes > machine.disk_free_bytes:
        wanted = _gib(needs.disk_bytes)
        yield Shortfall(need="disk_bytes", wanted=str(needs.disk_bytes), text=f"have less than {wanted} of free disk")
    for name in needs.shared:
        if name not in machine.shared:
            yield Shortfall(need="shared", wanted=name, text=f"lack the shared asset {name}")
    for label in needs.labels:
        if label not in machine.labels:
            yield Shortfall(need="labels", wanted=label, text=f"lack the label {label}")


def _gib(size: int) -> str:
    return f"{size / GIBIBYTE:.4g} GiB"
