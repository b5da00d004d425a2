"""The gate `autopkgtest`: debian/tests of each source, every test in a root that holds just what it depends on.

locked .debs, ours ──> closed repository ── mmdebstrap, the test's Depends ──> root.tar ──> room ──> the test's status

Debian's own runner wants apt and its sources in the testbed; roots here have neither, and come from the lock. Of the
form (https://salsa.debian.org/ci-team/autopkgtest, README.package-tests) this reads Tests, Test-Command, Depends and
the restrictions below; another restriction is refused, so that no test passes for a reason that was not meant.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.definitions import DebianSource
from xwhep_packaging.errors import BaseError, ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.bills.installed import paragraphs
from xwhep_packaging.release.gates.kept import Gate
from xwhep_packaging.release.gates.rooms import Room
from xwhep_packaging.settings import RootFs
from xwhep_packaging.stages import base, source
from xwhep_packaging.temporary import temporary_folder

NAME = "autopkgtest"
CONTROL = "debian/tests/control"
KNOWN = frozenset({"allow-stderr", "needs-root", "superficial", "isolation-container"})
USER = "1000"  # of the name build, in a room
NOTES = ("AUTOPKGTEST_TMP", "AUTOPKGTEST_ARTIFACTS")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One test. `argv` starts at the source's top folder; `packages` is what it depends on."""

    name: str
    argv: tuple[str, ...]
    packages: tuple[str, ...]
    restrictions: frozenset[str] = frozenset()


def gate(pipeline: Pipeline, say: Callable[[str], None]) -> Gate:
    """Decided by the sources, which hold the tests, the packages, and what roots are made of."""
    names = [name for name in pipeline.steps if name.startswith(("source:", "debs:"))]
    return Gate(name=NAME, inputs=pipeline.keys("base:rootfs", *names), check=lambda: check(pipeline, say))


def check(pipeline: Pipeline, say: Callable[[str], None]) -> Sequence[str]:
    """All tests of all sources; returns their names.

    Raises:
        ReleaseError: one fails, or asks for what is not offered.
    """
    tried: list[str] = []
    for name, definition in pipeline.settings.sources.items():
        if isinstance(definition, DebianSource):
            path = "/".join(part for part in (_subfolder(pipeline, name), CONTROL) if part)
            text = source.read_file(pipeline.commit(name), path)
            binaries = tuple(deb.name.partition("_")[0] for deb in pipeline.output(f"debs:{name}").matching(".deb"))
            if not text:
                say(f"·  autopkgtest: {name} has no {CONTROL}")
            for test in read_tests(text, binaries):
                say(f"·  autopkgtest {test.name}")
                run(pipeline, name, test)
                tried.append(f"{test.name} of {name}")
    return tried


def read_tests(text: str, binaries: tuple[str, ...]) -> Iterator[Trial]:
    """`binaries`: what @ stands for.

    Raises:
        ReleaseError: a restriction is not known.
    """
    for number, fields in enumerate(paragraphs(text), 1):
        restrictions = frozenset(fields.get("Restrictions", "").replace(",", " ").split())
        if unknown := sorted(restrictions - KNOWN):
            known = ", ".join(sorted(KNOWN))
            what = f"{CONTROL} asks for {', '.join(unknown)}, which is not offered"
            raise ReleaseError(what, cause=f"known: {known}", next_step="skip=autopkgtest goes without these tests")
        words = fields.get("Depends", "@").replace("@", ",".join(binaries)).split(",")
        packages = tuple(word.strip().partition(" ")[0] for word in words if word.strip())
        folder = fields.get("Tests-Directory", "debian/tests")
        named = fields.get("Tests", "").replace(",", " ").split()
        commands: dict[str, tuple[str, ...]] = {name: (f"{folder}/{name}",) for name in named}
        if "Test-Command" in fields:
            commands[f"command{number}"] = ("sh", "-euc", fields["Test-Command"])
        for name, argv in commands.items():
            yield Trial(name=name, argv=argv, packages=packages, restrictions=restrictions)


def run(pipeline: Pipeline, name: str, test: Trial) -> None:
    """One test in its own root.

    Raises:
        ReleaseError: it fails, or says something on standard error that it may not.
    """
    log = pipeline.store.log("autopkgtest", test.name)
    with temporary_folder("autopkgtest", _roomy_place()) as folder:
        folder.chmod(0o755)
        tarball = _root(pipeline, test, folder, log)
        work = folder / "work"
        _unpack(pipeline.output(f"source:{name}").path("source.tar"), work)
        variables = {note: f"/build/{note.lower()}" for note in NOTES}
        room = Room(tarball=tarball, mountpoint=folder / "root", work=work, variables=variables)
        top = "/".join(part for part in ("/build/source", _subfolder(pipeline, name)) if part)
        done = room.run(["sh", "-c", _script(test), "sh", *test.argv], top, log)
        said = (work / "stderr").read_text(errors="replace") if (work / "stderr").is_file() else ""
    if done.returncode != 0 or (said and "allow-stderr" not in test.restrictions):
        raise ReleaseError(
            f"the test {test.name} of {name} fails" + ("" if done.returncode else ": it writes to standard error"),
            cause=command.last_lines(done.stdout + said),
            next_step=f"mend it: {CONTROL} names its packages; skip=autopkgtest goes without",
            log=log,
        )


def _subfolder(pipeline: Pipeline, name: str) -> str:
    return pipeline.settings.sources[name].subfolder.strip("/")


def _roomy_place() -> Path | None:
    """Memory when it has room: unpacking packages takes a third of the time there."""
    there = base.TMPFS.is_dir() and shutil.disk_usage(base.TMPFS).free > base.TMPFS_NEEDED_BYTES
    return base.TMPFS if there else None


def _script(test: Trial) -> str:
    """Its standard error is kept apart, to be judged, and shown in the log all the same."""
    user = "" if "needs-root" in test.restrictions else f"setpriv --reuid={USER} --regid={USER} --clear-groups -- "
    return f'{user}"$@" 2>/build/stderr; status=$?; cat /build/stderr; exit $status'


def _unpack(tarball: Path, work: Path) -> None:
    for folder in ("source", *(note.lower() for note in NOTES)):
        (work / folder).mkdir(parents=True)
        (work / folder).chmod(0o777)  # the test may be another user's
    command.run(Command(argv=["tar", "-C", work / "source", "-xf", tarball], error=ReleaseError))


def _root(pipeline: Pipeline, test: Trial, folder: Path, log: Path) -> Path:
    """What the test depends on, by apt's own word, from the lock and what was built; nothing that is only recommended.

    Raises:
        BaseError: it cannot be installed from these.
    """
    settings, supply = pipeline.settings, pipeline.supply.output("rootfs")
    made = base.Made.of(settings, supply)
    repository = made.repository(folder, log)
    for name in settings.sources:
        for deb in pipeline.output(f"debs:{name}").matching(".deb"):
            shutil.copyfile(deb, repository / deb.name)
    _index(repository)
    wanted = RootFs(
        packages=list(test.packages),
        exclude=settings.base.exclude,
        include=settings.base.include,
    )
    argv = base.mmdebstrap_command(settings, wanted, repository, folder / "root.tar")
    environment = {"TMPDIR": str(folder), "SOURCE_DATE_EPOCH": str(made.debs.epoch)}
    what = f"cannot install what the test {test.name} depends on: {', '.join(test.packages)}"
    command.run(Command(argv=argv, env=environment, error=BaseError, what=what, log=log))
    return folder / "root.tar"


def _index(repository: Path) -> None:
    for old in ("Packages", "Release"):
        (repository / old).unlink()
    argv = ["apt-ftparchive", *base.SHA256_ONLY, "packages", "."]
    index = command.run(Command(argv=argv, cwd=repository, error=BaseError)).stdout
    (repository / "Packages").write_text(index)
    digest = f" {hashlib.sha256(index.encode()).hexdigest()} {len(index.encode())} Packages"
    (repository / "Release").write_text(f"Date: Wed, 01 Jan 2025 00:00:00 +0000\nSHA256:\n{digest}\n")
