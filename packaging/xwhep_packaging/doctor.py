"""`doit doctor`: whether this machine can build, and how to mend what it lacks.

machine ──> one finding a subject: ok, hint (a build works, slower or with less), problem (a build fails)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from xwhep_packaging import archive, engines, powers, toolset
from xwhep_packaging.debcache import DebCache
from xwhep_packaging.errors import EngineError, MachineError, PipelineError
from xwhep_packaging.machine import Machine
from xwhep_packaging.pipeline import Pipeline

OK, HINT, PROBLEM = "ok", "hint", "problem"
GIGABYTE = 10**9
DISK_NEEDED, DISK_WANTED = 4 * GIGABYTE, 12 * GIGABYTE  # a first build takes 3.6 GB, and keeps what earlier ones made
CACHE_NEEDED = GIGABYTE // 2
MEMORY_WANTED = 2 * GIGABYTE  # a root file system is unpacked in memory, for each build that runs
TMPFS_WANTED = 2 * 1024**3
IDS_NEEDED = 65536
OWNER_BITS, OTHERS_WRITE = 0o700, 0o022
CLOCK_TOLERATED_S = 5.0
MIRROR_TOLERATED_S = 300.0
PURPOSE = "build"
TUNNEL = "/dev/net/tun"
GIVEN_IN_CONTAINERS = "in a container: --privileged, or --cap-add=SYS_ADMIN with its default seccomp profile off"
# What it means that a machine lacks a power: the verdict says it too, and nothing of it can be released.
MEANINGS = {
    "mounts": "none of one's own: roots are plain folders without /proc, and everything made here is marked as weaker",
    "network": "no namespace of one's own: builds and bakes are not cut off from the network",
    "users": "no namespace of one's own: builds are walled in by an ordinary user alone",
}
LIST = Path(__file__).parents[1] / "system-packages.txt"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`mend` is what to type or to change; empty when all is well."""

    level: str
    subject: str
    what: str
    mend: str = ""


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What is looked at."""

    machine: Machine
    pipeline: Pipeline

    @property
    def store(self) -> Path:
        return self.pipeline.store.root


def examine(patient: Patient) -> list[Finding]:
    """Every check, whatever the others find."""
    return [finding for check in CHECKS for finding in check(patient)]


def raise_for(findings: list[Finding]) -> None:
    """Fail where a build would.

    Raises:
        MachineError: there is a problem.
    """
    problems = [row for row in findings if row.level == PROBLEM]
    if problems:
        raise MachineError(
            f"a build cannot work here: {', '.join(row.subject for row in problems)}", next_step=problems[0].mend
        )


def tools(patient: Patient) -> Iterator[Finding]:
    """The Debian packages that the pipeline calls, and the versions of those that decide bytes."""
    rows = [line.split() for line in patient.machine.read(LIST).splitlines() if line and not line.startswith("#")]
    wanted = [row[0] for row in rows if row[1] == PURPOSE]
    missing = sorted({*wanted} - patient.machine.installed(wanted))
    if missing:
        yield Finding(
            level=PROBLEM,
            subject="tools",
            what=f"not installed: {' '.join(missing)}",
            mend=f"scripts/doit --install, or: apt-get install {' '.join(missing)}",
        )
        return
    found = {name: version for name, version in patient.pipeline.tools.items() if name in toolset.PACKAGES}
    shown = ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
    yield Finding(level=OK, subject="tools", what=f"all {len(wanted)} packages are installed: {shown}")


def engine(patient: Patient) -> Iterator[Finding]:
    try:
        name = engines.choose(patient.pipeline.settings, patient.pipeline.store.scratch("engine")).name
    except EngineError as error:
        yield Finding(level=PROBLEM, subject="engine", what=str(error), mend=error.next_step)
        return
    if name == "podman" and not patient.machine.succeeds(["podman", "info"]):
        what = "no docker daemon answers, and podman does not work"
        yield Finding(level=PROBLEM, subject="engine", what=what, mend="podman info says why")
        return
    if name == "process":
        what = "no container starts here: the network test runs the images' programs as plain processes: weaker"
        yield Finding(level=HINT, subject="engine", what=what, mend="start a docker daemon, and set DOCKER_HOST")
        return
    yield Finding(level=OK, subject="engine", what=f"{name} answers")


def disk(patient: Patient) -> Iterator[Finding]:
    cache = patient.pipeline.settings.cache_folder
    yield _room(patient, "disk", patient.store, (DISK_NEEDED, DISK_WANTED))
    yield _room(patient, "cache", cache, (CACHE_NEEDED, CACHE_NEEDED))


def _room(patient: Patient, subject: str, folder: Path, sizes: tuple[int, int]) -> Finding:
    """`sizes` are what is needed and what is wanted."""
    free = patient.machine.free(folder)
    level = PROBLEM if free < sizes[0] else HINT if free < sizes[1] else OK
    variable = "XWHEP_STORE" if subject == "disk" else "XWHEP_CACHE"
    mend = "" if level == OK else f"free some, or name a folder on another disk: {variable}=FOLDER"
    return Finding(level=level, subject=subject, what=f"{free / GIGABYTE:.1f} GB free for {folder}", mend=mend)


def memory(patient: Patient) -> Iterator[Finding]:
    available = patient.machine.memory()
    said = f"{available / GIGABYTE:.1f} GB available"
    if available < MEMORY_WANTED:
        mend = "end other programs, or make one step at a time: scripts/doit run -n 1 build"
        yield Finding(level=HINT, subject="memory", what=said, mend=mend)
    else:
        yield Finding(level=OK, subject="memory", what=said)


def tmpfs(patient: Patient) -> Iterator[Finding]:
    free = patient.machine.free(Path("/dev/shm"))  # noqa: S108 - asked for its room alone
    if free < TMPFS_WANTED:
        mend = "mount -o remount,size=4g /dev/shm; in a container: --shm-size=4g"
        what = f"{free / GIGABYTE:.1f} GB free in /dev/shm: root file systems are made on the disk, three times slower"
        yield Finding(level=HINT, subject="tmpfs", what=what, mend=mend)
    else:
        yield Finding(level=OK, subject="tmpfs", what=f"{free / GIGABYTE:.1f} GB free in /dev/shm")


def user_ids(patient: Patient) -> Iterator[Finding]:
    """An ordinary user unpacks root file systems in a namespace, which needs numbers for their users."""
    machine = patient.machine
    if machine.uid == 0:
        yield Finding(level=OK, subject="subuid", what="not needed by root")
        return
    for subject in ("subuid", "subgid"):
        rows = [line.split(":") for line in machine.read(Path("/etc") / subject).splitlines()]
        names = (machine.user, str(machine.uid))
        own = [int(row[2]) for row in rows if len(row) == 3 and row[0] in names and row[2].isdigit()]
        if max(own, default=0) < IDS_NEEDED:
            option = subject.replace("sub", "--add-sub") + "s"
            yield Finding(
                level=PROBLEM,
                subject=subject,
                what=f"/etc/{subject} gives {machine.user} no {IDS_NEEDED} numbers",
                mend=f"sudo usermod {option} 100000-165535 {machine.user}",
            )
        else:
            yield Finding(level=OK, subject=subject, what=f"{max(own)} numbers for {machine.user}")


def tunnel(patient: Patient) -> Iterator[Finding]:
    """podman links an ordinary user's containers by it."""
    if patient.machine.uid == 0:
        return
    if patient.machine.succeeds(["test", "-w", TUNNEL]):
        yield Finding(level=OK, subject="tunnel", what=f"{TUNNEL} can be written")
        return
    what = f"{TUNNEL} is closed to {patient.machine.user}: rootless podman cannot link containers by a network"
    yield Finding(level=HINT, subject="tunnel", what=what, mend=f"sudo chmod 666 {TUNNEL}, as udev does; or use docker")


def namespaces(patient: Patient) -> Iterator[Finding]:
    """Builds run without a network and with mounts of their own; where there are none, root can still do without."""
    root = patient.machine.uid == 0
    here = powers.attempt(patient.machine.succeeds, root=root)
    missing = here.lacking(MEANINGS)
    if not missing:
        yield Finding(level=OK, subject="namespaces", what="can be made")
        return
    if here.chroot:
        for power in missing:
            yield Finding(level=HINT, subject=power, what=MEANINGS[power], mend=GIVEN_IN_CONTAINERS)
        return
    mend = GIVEN_IN_CONTAINERS
    if not root:
        mend = "sudo sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        mend += " (the one of the two that this kernel has)"
    yield Finding(level=PROBLEM, subject="namespaces", what="this machine gives no namespaces", mend=mend)


def store(patient: Patient) -> Iterator[Finding]:
    """Whether the store can be written, and whether its file system has this machine's time."""
    try:
        patient.store.mkdir(parents=True, exist_ok=True)
        written = patient.machine.written_at(patient.store)
    except OSError as exc:
        mend = "correct the folder's rights, or name another: XWHEP_STORE=FOLDER"
        yield Finding(
            level=PROBLEM, subject="store", what=f"{patient.store} cannot be written: {exc.strerror}", mend=mend
        )
        return
    yield Finding(level=OK, subject="store", what=f"{patient.store} can be written")
    away = written - patient.machine.now()
    if abs(away) > CLOCK_TOLERATED_S:
        what = f"the file system of {patient.store} is {abs(away):.0f} s {'ahead' if away > 0 else 'behind'}"
        yield Finding(
            level=HINT, subject="clock", what=what, mend="have both machines take their time from one server (NTP)"
        )


def umask(patient: Patient) -> Iterator[Finding]:
    """Packages and images have modes of their own; what lies in the store has those that the umask leaves."""
    bits = patient.machine.umask()
    what = f"{bits:04o}"
    if bits & OWNER_BITS:
        what += ": a build could not read or write again what it wrote itself"
        yield Finding(level=PROBLEM, subject="umask", what=what, mend="umask 0022, in the shell that builds")
    elif bits & OTHERS_WRITE != OTHERS_WRITE:
        what += ": other users of this machine could change what builds make before it is signed"
        yield Finding(level=HINT, subject="umask", what=what, mend="umask 0022, in the shell that builds")
    else:
        yield Finding(level=OK, subject="umask", what=what)


def mirror(patient: Patient) -> Iterator[Finding]:
    """Whether the archive answers, and its date: apt refuses what is signed in the future."""
    settings = patient.pipeline.settings
    try:
        address, _ = archive.mirrors(settings)
        missing = _missing(patient)
    except PipelineError as error:
        yield Finding(level=PROBLEM, subject="mirror", what=str(error), mend=error.next_step)
        return
    release = patient.machine.release_of(f"{address}/dists/{settings.suite.name}/InRelease")
    if not release:
        level = PROBLEM if missing else HINT
        held = f"{missing} locked packages are not in the cache" if missing else "all locked packages are in the cache"
        mend = "check the network and /etc/apt, or name another: XWHEP_MIRROR=ADDRESS"
        yield Finding(level=level, subject="mirror", what=f"it does not answer; {held}", mend=mend)
        return
    yield Finding(level=OK, subject="mirror", what="it answers")
    yield from _clock(patient, release)


def _missing(patient: Patient) -> int:
    """How many of the locked packages would have to be fetched; 1 stands for those that nobody knows without a lock."""
    lock = patient.pipeline.supply.lock
    cache = DebCache(patient.pipeline.settings.cache_folder)
    return len(cache.missing(lock.debs.values())) if lock else 1


def _clock(patient: Patient, release: str) -> Iterator[Finding]:
    dated = re.search(r"^Date: (.+)$", release, re.M)
    try:
        behind = parsedate_to_datetime(dated[1]).timestamp() - patient.machine.now() if dated else 0.0
    except ValueError:
        behind = 0.0
    if behind > MIRROR_TOLERATED_S:
        what = f"this machine's clock is at least {behind:.0f} s behind: the archive's index was signed later"
        yield Finding(level=PROBLEM, subject="clock", what=what, mend="sudo timedatectl set-ntp true, or set the time")
    else:
        yield Finding(level=OK, subject="clock", what="not behind the archive's")


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    tools,
    engine,
    namespaces,
    tunnel,
    user_ids,
    store,
    umask,
    disk,
    memory,
    tmpfs,
    mirror,
)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """For machines."""
    rows = [{"level": row.level, "subject": row.subject, "what": row.what, "mend": row.mend} for row in findings]
    return {"works": all(row.level != PROBLEM for row in findings), "findings": rows}


def table(findings: list[Finding]) -> str:
    """For people: one line a finding, below it how to mend it."""
    marks = {OK: "✓", HINT: "!", PROBLEM: "✗"}
    width = max(len(row.subject) for row in findings)
    lines = []
    for row in findings:
        lines.append(f"{marks[row.level]}  {row.subject:<{width}}  {row.what}")
        if row.mend:
            lines.append(f"   {'':<{width}}  next: {row.mend}")
    return "\n".join(lines)
