"""Builder `command`: a tree that makes its own .debs, with its services beside it.

tree ── chroot: services started, waited for, command, services stopped ──> .debs that match ──> checked, normalised ─┐
  └──── the same under another host name, time zone, locale and umask ────> normalised ──> compared ─────────────────┴─>
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging.definitions import CommandSource, Service
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs import explain, normalise
from xwhep_packaging.stages.debs.chroot import Chroot
from xwhep_packaging.stages.debs.job import Built, Job
from xwhep_packaging.store import remove_tree

REPORT = "reproducibility.json"
SERVICE_FAILED = 97
POLLS_PER_S = 5
VERSION = re.compile(r"(\d+:)?\d[A-Za-z0-9.+~-]*\Z")
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
# A service is gone before the script is, so that it writes to no package while that is read.
_STOP = """stop() {
status=$?
trap - EXIT
for pid in $pids; do kill $pid 2>/dev/null || true; done
tries=0
for pid in $pids; do
while kill -0 $pid 2>/dev/null && [ $tries -lt 20 ]; do tries=$((tries + 1)); sleep 0.1; done
kill -9 $pid 2>/dev/null || true
done
wait $pids 2>/dev/null || true
exit $status
}"""


def build(job: Job, source: CommandSource) -> Built:
    """Run the command, collect its .debs, and say what in them is not reproducible.

    Raises:
        BuildError: a service does not start, the command fails, or what it made are no sound packages.
    """
    first = _run(job, source, job.chroot)
    comparison: dict[str, list[str]] = {}
    if source.twice:
        again = job.chroot.elsewhere(job.work / ".again")
        again.work.mkdir()
        comparison = compare(first, _run(job, source, again))
        remove_tree(again.work)
    for deb in first:
        (job.work / deb.file_name).write_bytes(deb.content)
    report = {
        "compared": source.twice,
        "identical": source.twice and not comparison,
        "differences": comparison,
        "normalised": {deb.file_name: deb.changes for deb in first},
    }
    (job.work / REPORT).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    main = first[0]
    return Built(package=main.fields["Package"], version=main.fields["Version"], facts={"reproducibility": report})


@dataclass(frozen=True, kw_only=True)
class Deb:
    """One .deb in its normal form; `changes` says in words what was put right."""

    fields: dict[str, str]
    content: bytes
    changes: list[str]

    @property
    def file_name(self) -> str:
        version = self.fields["Version"].rpartition(":")[2]
        return f"{self.fields['Package']}_{version}_{self.fields['Architecture']}.deb"


def script(source: CommandSource) -> str:
    """Services first, each waited for; then the command, which may fail; at the end everything is stopped."""
    parts = [
        'pids=""',
        _STOP,
        "trap stop EXIT",
        *(part for number, service in enumerate(source.services) for part in _service(number, service)),
        shlex.join(source.command),
    ]
    return "\n".join(parts)


def _service(number: int, service: Service) -> list[str]:
    log = f"/tmp/service-{number}.log"  # noqa: S108 - inside the chroot
    failed = f"echo 'service {number} failed:'; tail -n 8 {log}; exit {SERVICE_FAILED}"
    start = [f"{shlex.join(service.command)} >{log} 2>&1 &", 'pid=$!; pids="$pids $pid"', "tries=0"]
    ready = shlex.join(service.ready) if service.ready else "true"
    wait = (
        f"until {ready} >>{log} 2>&1; do kill -0 $pid 2>/dev/null && [ $tries -lt {service.timeout_s * POLLS_PER_S} ] "
        f"|| {{ {failed}; }}; tries=$((tries + 1)); sleep {1 / POLLS_PER_S}; done"
    )
    return [*start, wait, f"kill -0 $pid 2>/dev/null || {{ {failed}; }}"]


def compare(first: list[Deb], second: list[Deb]) -> dict[str, list[str]]:
    """File name -> the paths in it that differ between two builds; empty when all are the same bytes."""
    others = {deb.file_name: deb for deb in second}
    found: dict[str, list[str]] = {
        name: ["only in one of two builds"] for name in {d.file_name for d in first} ^ set(others)
    }
    for deb in first:
        other = others.get(deb.file_name)
        if other and other.content != deb.content:
            found[deb.file_name] = normalise.differing(deb.content, other.content)
    return dict(sorted(found.items()))


def _run(job: Job, source: CommandSource, chroot: Chroot) -> list[Deb]:
    tree = _unpacked(job, source, chroot.work / job.name)
    result = chroot.shell(script(source), f"/build/{tree.name}", job.log)
    if result.returncode == SERVICE_FAILED:
        raise _service_error(job, source, result.stdout)
    if result.returncode != 0 and explain.wanted_hosts(result.stdout):
        raise explain.network_wanted(job.name, result.stdout, job.log)
    if result.returncode != 0:
        raise BuildError(
            f"the command of source {job.name!r} fails with status {result.returncode}",
            cause=explain.relevant_lines(result.stdout),
            next_step="mend what it names; the network is off, and packages it needs belong into build_packages",
            log=job.log,
        )
    debs = [_read(job, path) for path in _found(job, source, tree)]
    remove_tree(tree)
    return sorted(debs, key=lambda deb: deb.file_name)


def _unpacked(job: Job, source: CommandSource, to: Path) -> Path:
    tree = job.unpack(source.subfolder, to)
    remove_tree(job.work / ".export")
    return tree


def _service_error(job: Job, source: CommandSource, output: str) -> BuildError:
    match = re.search(r"^service (\d+) failed:\n(.*)", output, re.M | re.S)
    command = shlex.join(source.services[int(match[1])].command) if match else "a service"
    return BuildError(
        f"a service of source {job.name!r} does not start: {command}",
        cause=match[2].strip() if match else output[-500:],
        next_step=f"correct `services` of [sources.{job.name}], or add its package to build_packages",
        log=job.log,
    )


def _found(job: Job, source: CommandSource, tree: Path) -> list[Path]:
    for pattern in source.debs:
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            raise BuildError(f"the pattern {pattern!r} leads out of the tree", next_step="write it from the tree's top")
    found = sorted({path for pattern in source.debs for path in tree.glob(pattern) if not path.is_symlink()})
    missing = [pattern for pattern in source.debs if not list(tree.glob(pattern))]
    if missing:
        raise BuildError(
            f"source {job.name!r} left no package that matches {missing[0]!r}",
            cause="its command ended well",
            next_step=f"correct `debs` of [sources.{job.name}], or the command",
            log=job.log,
        )
    return found


def _read(job: Job, path: Path) -> Deb:
    try:
        content, changes = normalise.normal_form(path.read_bytes(), job.chroot.epoch)
        fields = normalise.control_fields(content)
    except normalise.NotADeb as exc:
        raise BuildError(
            f"{path.name} of source {job.name!r} is no sound package",
            cause=str(exc),
            next_step="mend the command",
            log=job.log,
        ) from exc
    wrong = problem(fields, job.settings.suite.architecture)
    if wrong:
        raise BuildError(
            f"{path.name} of source {job.name!r} is no sound package", cause=wrong, next_step="mend its control file"
        )
    return Deb(fields=fields, content=content, changes=changes)


def problem(fields: dict[str, str], architecture: str) -> str:
    """What is wrong with a package's control fields; empty when nothing is."""
    for field in ("Package", "Version", "Architecture", "Maintainer", "Description"):
        if not fields.get(field):
            return f"its control file has no {field}"
    if not NAME.match(fields["Package"]):
        return f"{fields['Package']!r} is no package name"
    if not VERSION.match(fields["Version"]):
        return f"{fields['Version']!r} is no version"
    if fields["Architecture"] not in ("all", architecture):
        return f"it is for {fields['Architecture']}, not for {architecture} or all"
    return ""
