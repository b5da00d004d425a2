"""`doit release`: a verified build, laid out so that any static web server can serve it.

build, endurance, verify ──> staged in RELEASES/.staging ──> verify-release reads it ──> renamed to RELEASES/VERSION

    apt/            a signed repository, one suite a channel
    oci/            the images as an OCI layout
    buildinfo/      what each package was built with
    sbom/           bills of materials of each package and image
    attestations/   signed statements: provenance, network test, structure, packages, verify
    sizes.json, and vulnerabilities.json where a database is configured
    release.json, CHANGELOG.md, *.sources, release-key.asc, index.html, SHA256SUMS and its signature

A release is never changed, and a version never gets other bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from xwhep_packaging import command, weakness
from xwhep_packaging.artefacts import Output, rfc3339, sha256_file
from xwhep_packaging.command import Command
from xwhep_packaging.errors import LockError, ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release import page, statements, suites
from xwhep_packaging.release.bills.vulnerabilities import Database
from xwhep_packaging.release.channels import CHANNELS, Channels
from xwhep_packaging.release.gates.structure import Subject
from xwhep_packaging.release.layout import Layout, Named
from xwhep_packaging.release.papers import BYPRODUCTS, Papers, database_of, subjects_of
from xwhep_packaging.release.public import refuse_private
from xwhep_packaging.release.repository import pool_folder
from xwhep_packaging.release.signing import Key, key_of, refuse_unknown
from xwhep_packaging.store import remove_tree, sync_tree

FOLDER = "release"
OWN_KEY = "release-key/secret.asc"
CHECKER = Path("scripts") / "verify-release"
OF_PACKAGES = ("autopkgtest", "lintian", "purge")
GATES = ("verify", "endurance", "structure", *OF_PACKAGES)


@dataclass(frozen=True, kw_only=True)
class Making:
    """One release in the making. `skipped`: gates that are left out by name; `tried`: what the others tried, which its
    statements name; `say` prints one line."""

    pipeline: Pipeline
    skipped: tuple[str, ...]
    say: Callable[[str], None]
    tried: dict[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def channels(self) -> Channels:
        return Channels(self.pipeline.store.scratch(FOLDER))

    @cached_property
    def report(self) -> dict[str, Any]:
        """The build, as latest.json has it."""
        found = self.pipeline.store.read_latest()
        if found is None or found["keys"] != {name: self.pipeline.recipe(name).key for name in self.pipeline.steps}:
            raise ReleaseError("there is no build of this commit", next_step="scripts/doit build")
        return found

    @property
    def version(self) -> str:
        return str(self.report["version"])

    @cached_property
    def database(self) -> Database | None:
        return database_of(self.pipeline.settings)

    @cached_property
    def subjects(self) -> list[Subject]:
        """Its images; reading them takes seconds."""
        return subjects_of(self.pipeline, self.report)

    @property
    def target(self) -> Path:
        return self.channels.folder / self.version

    def is_made(self) -> bool:
        """Whether nothing is left to do, not even a check.

        Raises:
            LockError: the build is not made of the locked packages.
            WeakError: it was made on a machine that gives less.
            ReleaseError: this version is there with other content; there are changes that no commit has; the key is
                none that the settings name.
        """
        if self.report["drifted"]:
            raise LockError(
                "this build has drifted: it cannot be released",
                cause=self.report["drifted"][0],
                next_step="scripts/doit lock",
            )
        if self.report.get("dirty"):
            raise ReleaseError(
                "the work tree has changes that are in no commit, so this build lacks them",
                next_step="commit or stash them (git status names them), and build again",
            )
        weakness.refuse(self.report, "released")
        release = self.pipeline.settings.release
        with self._key() as key:
            refuse_unknown(key.fingerprint, release.key, release.keys, f"release {self.version}")
            return self._is_there(self._content(key))

    def run(self) -> None:
        """Make it, unless it is made.

        Raises:
            LockError, ReleaseError: see above; or what was staged does not verify.
            SecretFound: what was staged holds a secret of a deployment.
        """
        with self.pipeline.store.locked(FOLDER):
            if self.is_made():
                self.say(f"release {self.version} is made already: {self.target}")
                return
            with self._key() as key:
                self._stage(key)
        self.say(f"release {self.version} is made: {self.target}")

    def _stage(self, key: Key) -> None:
        staging = self.channels.folder / ".staging"
        remove_tree(staging)
        Stage(making=self, folder=staging, key=key).write(self._content(key))
        refuse_private(self.pipeline, staging)
        check(self.pipeline, staging, key.public())
        sync_tree(staging)
        staging.rename(self.target)

    def _key(self) -> AbstractContextManager[Key]:
        return key_of(self.pipeline.settings.release.key, self.pipeline.store.root / OWN_KEY, self.say)

    def _content(self, key: Key) -> dict[str, Any]:
        """What makes one release another: release.json."""
        report = self.report
        return {
            "product": report["product"],
            "version": self.version,
            "commit": report["commit"],
            "date": report["date"],
            "channels": list(CHANNELS),
            "key": key.fingerprint,
            "skipped": list(self.skipped),
            "debs": [
                {name: row[name] for name in ("package", "version", "architecture", "sha256")} for row in report["debs"]
            ],
            "images": [{name: row[name] for name in ("name", "digest", "tags", "size")} for row in report["images"]],
        }

    def _is_there(self, content: dict[str, Any]) -> bool:
        file = self.target / "release.json"
        if not file.is_file():
            return False
        known = json.loads(file.read_text(encoding="utf-8"))
        unequal = sorted(name for name in content if known.get(name) != content[name])
        if unequal:
            raise ReleaseError(
                f"release {self.version} is made already, and is another one",
                cause=f"other: {', '.join(unequal)}",
                next_step="tag the commit, or change what ships: a new version gets a new name",
            )
        return True


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The folder that becomes a release."""

    making: Making
    folder: Path
    key: Key

    @property
    def _pipeline(self) -> Pipeline:
        return self.making.pipeline

    @property
    def _epoch(self) -> int:
        return int(self.making.report["epoch"])

    def write(self, content: dict[str, Any]) -> None:
        self.folder.mkdir()
        self.making.say("·  release: the apt repository")
        self._repository()
        self.making.say("·  release: the images")
        images = Layout(self.folder / "oci").write(self._images())
        self._text("release.json", json.dumps({**content, "manifests": images}, indent=1) + "\n")
        self.making.say("·  release: bills of materials")
        papers = self._papers()
        papers.write(self.folder)
        self._text("release-key.asc", self.key.public())
        self._text("CHANGELOG.md", changelog(self._pipeline, self.making.channels, self.making.version))
        for channel in CHANNELS:
            self._text(f"{content['product']}-{channel}.sources", self._sources(channel))
        self._statements()
        self._text("index.html", page.render(content, self._pipeline.settings.release.url, papers.listing))
        sums = "".join(f"{sha256}  {name}\n" for name, sha256 in self._files())
        self._text("SHA256SUMS", sums)
        self._text("SHA256SUMS.asc", self.key.detached(sums, self._epoch))

    def _papers(self) -> Papers:
        making = self.making
        return Papers(
            pipeline=making.pipeline, report=making.report, subjects=making.subjects, database=making.database
        )

    def _repository(self) -> None:
        for name in self._pipeline.settings.sources:
            self._pool(self._pipeline.output(f"debs:{name}"), pool_folder(name))
        suites.write(self._pipeline, self.folder / "apt", CHANNELS, self.key)

    def _pool(self, output: Output, pool: str) -> None:
        for name in sorted(output.manifest.files):
            papers = name.endswith((".buildinfo", ".changes"))
            target = self.folder / ("buildinfo" if papers else f"apt/{pool}") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output.folder / name, target)

    def _images(self) -> Iterator[Named]:
        """By version, by time, and by each channel; the commit stands in the manifest: two can have the same image."""
        report = self.making.report
        for row in report["images"]:
            names = [tag.removesuffix(":latest") for tag in row["tags"]]
            names += [f"{names[0].rpartition(':')[0]}:{channel}" for channel in CHANNELS]
            annotations = {
                "org.opencontainers.image.revision": report["commit"],
                "org.opencontainers.image.version": row["version"],
                "org.opencontainers.image.created": rfc3339(row["epoch"]),
            }
            image = self._pipeline.output(f"images:{row['name']}")
            yield Named(image=image, names=tuple(names), annotations=annotations)

    def _sources(self, channel: str) -> str:
        """A deb822 stanza to save below /etc/apt/sources.list.d, the key in it."""
        url = self._pipeline.settings.release.url or "URL"
        lines = [
            "Types: deb deb-src",
            f"URIs: {url}/{channel}/apt",
            f"Suites: {channel}",
            "Components: main",
            "Signed-By:",
        ]
        key = [f" {line or '.'}" for line in self.key.public().strip().splitlines()]
        return "\n".join([*lines, *key]) + "\n"

    def _statements(self) -> None:
        subjects = list(self._files())
        folder = self.folder / "attestations"
        folder.mkdir()
        report, pipeline = self.making.report, self._pipeline
        made = {"provenance": statements.provenance(subjects, built(self.making, _byproducts(subjects)))}
        tested = {"engine": report["engine"], "tests": str(report["network_test"]["tests"])}
        parts = ["network_test", *([] if "endurance" in self.making.skipped else ["endurance"])]
        made["network-test"] = statements.test_result(subjects, "PASSED", parts, tested)
        suite = {"suite": pipeline.settings.suite.name}
        for name, gates in (("structure", ("structure",)), ("packages", OF_PACKAGES)):
            if passed := [f"{gate}: {one}" for gate in gates for one in self.making.tried.get(gate, ())]:
                made[name] = statements.test_result(subjects, "PASSED", passed, suite)
        if "verify" not in self.making.skipped:
            record = json.loads((pipeline.store.scratch("verify") / "latest.json").read_text(encoding="utf-8"))
            compared = {"compared": str(record["compared"])}
            made["verify"] = statements.test_result(subjects, "PASSED", record["variations"], compared)
        for name, statement in made.items():
            (folder / f"{name}.json").write_bytes(statements.envelope(statement, self.key, self._epoch))

    def _files(self) -> Iterator[tuple[str, str]]:
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            yield str(path.relative_to(self.folder)), sha256_file(path)

    def _text(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


def _byproducts(files: statements.Subjects) -> statements.Subjects:
    return [(name, sha256) for name, sha256 in files if name.startswith(BYPRODUCTS)]


def built(making: Making, byproducts: statements.Subjects) -> statements.Built:
    """What went in, from the manifests of what was built."""
    pipeline = making.pipeline
    commits = {name: pipeline.commit(name) for name in pipeline.settings.sources}
    sources = [
        statements.Source(
            name=name,
            uri=commit.origin,
            digest={"sha256" if commit.released else "gitCommit": commit.sha},
        )
        for name, commit in commits.items()
    ]
    lock = pipeline.supply.lock
    packages = sorted({(deb.name, deb.version, deb.sha256) for deb in lock.debs.values()}) if lock else []
    return statements.Built(
        sources=sources,
        packages=packages,
        tools=pipeline.tools,
        keys=making.report["keys"],
        skipped=making.skipped,
        byproducts=byproducts,
        finished_at=int(making.report["finished_at"]),
    )


def changelog(pipeline: Pipeline, channels: Channels, version: str) -> str:
    """The commits since the release that a channel shows, newest first; all of them where none is shown."""
    main = pipeline.commit(next(iter(pipeline.settings.sources)))
    last = next((shown for name in reversed(CHANNELS) if (shown := channels.current(name)) not in ("", version)), "")
    known = json.loads((channels.folder / last / "release.json").read_text())["commit"] if last else ""
    argv = ["git", "log", "--no-decorate", "--format=- %s (%h)", f"{known}..{main.sha}" if known else main.sha]
    answer = command.run(Command(argv=argv, cwd=main.repository), check=False)
    if answer.returncode != 0:  # the commit of that release is not in this clone
        return f"# {version}\n\nThe commits since {last} are not known here.\n"
    since = f"Since {last}:" if last else "All commits:"
    return f"# {version}\n\n{since}\n\n{answer.stdout}"


def check(pipeline: Pipeline, folder: Path, public_key: str) -> None:
    """What anybody can do with the release, done at once: scripts/verify-release.

    Raises:
        ReleaseError: it finds something.
    """
    key = pipeline.store.scratch("release-key") / "public.asc"
    key.write_text(public_key)
    checker = Path(__file__).resolve().parents[3] / CHECKER
    argv: Sequence[str] = [sys.executable, "-E", "-s", str(checker), str(folder), "--key", str(key)]
    what = f"{folder.name} does not verify"
    command.run(
        Command(
            argv=argv, error=ReleaseError, what=what, next_step="do not publish it; scripts/doit release makes it again"
        )
    )
