"""The first commit that gives other bytes under a variation.

known verdicts ──> git bisect ──> a commit ── its own `doit verify:NAME`, in a clone ──> good, bad, or no answer
                       ▲                                                                          │
                       └──────────────────────────────────────────────────────────────────────────┘

git chooses the commits: only those that touch what decides a byte. What verify found before is not tried again.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.definitions import StdebSource
from xwhep_packaging.errors import VerifyError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.settings import passed_on
from xwhep_packaging.store import write_durably
from xwhep_packaging.temporary import temporary_folder
from xwhep_packaging.verify.rebuild import LIMIT_S, SHARED, STORE
from xwhep_packaging.verify.variations import VARIATIONS

HISTORY = "history.jsonl"
RECORD = "bisect.json"
FOUND = re.compile(r"^([0-9a-f]{40}) is the first bad commit", re.M)
UNSURE = re.compile(r"only 'skip'ped commits left to test")
WORDS = {True: "good", False: "bad", None: "skip"}
SAID = {True: "identical", False: "different", None: "cannot tell: it does not build, or cannot verify"}
Trial = Callable[[Path, str], bool | None]  # clone, variation -> identical, different, or no answer


@dataclass(frozen=True, kw_only=True)
class Search:
    """Where and what for. `paths`: only commits that touch them are tried; empty: all."""

    repository: Path
    variation: str
    good: str
    paths: tuple[str, ...] = ()


def remember(folder: Path, commit: str, variations: Sequence[str], *, identical: bool) -> None:
    """Append a verdict; one short line, so that two runs at once do not mix theirs."""
    row = {"commit": commit, "variations": list(variations), "identical": identical, "at": int(time.time())}
    with (folder / HISTORY).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def known_verdicts(folder: Path, variation: str) -> dict[str, bool]:
    """Commit -> whether it was identical. One that differed under several variations says nothing of each."""
    file = folder / HISTORY
    found: dict[str, bool] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        row = json.loads(line)
        if variation in row["variations"] and (row["identical"] or row["variations"] == [variation]):
            found[row["commit"]] = row["identical"]
    return found


def bisect(pipeline: Pipeline, variation: str, good: str, say: Callable[[str], None]) -> None:
    """Find it, say it, and write it to _build/verify/bisect.json.

    Raises:
        VerifyError: no such variation or commit, nothing differs between the two ends, or it cannot be told.
    """
    if variation not in VARIATIONS:
        raise VerifyError(f"there is no variation {variation!r}", next_step=f"one of {', '.join(VARIATIONS)}")
    folder = pipeline.store.scratch("verify")
    known = known_verdicts(folder, variation)
    search = Search(
        repository=pipeline.settings.root_folder, variation=variation, good=good, paths=deciding_paths(pipeline)
    )
    with _clone(pipeline) as clone:
        first = Bisection(clone=clone, search=search, trial=lambda *a: tried(pipeline, *a), say=say).run(known)
        about = _git(clone, "log", "-1", "--format=%H%n%an, %as%n%s", first).strip().splitlines()
    fields = dict(zip(("commit", "by", "subject"), about, strict=True))
    write_durably(folder / RECORD, json.dumps({"variation": variation, **fields}, indent=1).encode() + b"\n")
    say(f"\nfirst commit with other bytes under {variation}:\n  " + "\n  ".join(about))


def deciding_paths(pipeline: Pipeline) -> tuple[str, ...]:
    """What of the repository decides a byte of what ships: sources, images' folders, all beside the pipeline file."""
    settings = pipeline.settings
    paths = [image.folder for image in settings.images.values() if image.folder]
    for source in settings.sources.values():
        if source.location == "." and not source.ships and not source.subfolder:
            return ()
        if source.location == ".":
            paths += source.ships or [source.subfolder]
        if isinstance(source, StdebSource) and source.overlay:
            paths.append(source.overlay)
    own = Path(settings.file).absolute().parent.relative_to(settings.root_folder.absolute())
    return tuple(sorted({*paths, str(own)})) if own != Path() else ()


@dataclass(frozen=True, kw_only=True)
class Bisection:
    """A search in a clone of its own, whose work tree git moves about."""

    clone: Path
    search: Search
    trial: Trial
    say: Callable[[str], None]

    def run(self, known: Mapping[str, bool]) -> str:
        """The commit's hash; `known` verdicts are taken as they are."""
        head, good = self._commit("HEAD"), self._good_end(known)
        self._try(head, known, wanted=False)
        self._try(good, known, wanted=True)
        answer = _git(self.clone, "bisect", "start", "--first-parent", head, good, "--", *self.search.paths)
        while not (found := FOUND.search(answer)):
            if UNSURE.search(answer):
                raise VerifyError("it cannot be told", cause=answer.strip(), next_step="look at these commits by hand")
            commit = self._commit("HEAD")
            answer = _git(self.clone, "bisect", WORDS[self._verdict(commit, known)], check=False)
        return found[1]

    def _good_end(self, known: Mapping[str, bool]) -> str:
        """The commit that is named, else the newest that is known as identical."""
        if self.search.good:
            return self._commit(self.search.good)
        for commit in _git(self.clone, "rev-list", "--first-parent", "HEAD").split():
            if known.get(commit):
                return commit
        raise VerifyError(
            f"no commit is known that is identical under {self.search.variation}",
            next_step=f"name one: scripts/doit verify:bisect variation={self.search.variation} good=COMMIT",
        )

    def _commit(self, name: str) -> str:
        answer = _git(self.clone, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False).strip()
        if not answer:
            raise VerifyError(f"there is no commit {name!r}", next_step="git log --oneline shows them")
        return answer

    def _try(self, commit: str, known: Mapping[str, bool], *, wanted: bool) -> None:
        """The two ends must be what they are taken for."""
        _git(self.clone, "checkout", "--quiet", "--detach", commit)
        if self._verdict(commit, known) is not wanted:
            other = "different" if wanted else "identical"
            raise VerifyError(
                f"{commit[:12]} is not {SAID[wanted]} under {self.search.variation}",
                cause=f"it is {other}, or cannot be verified",
                next_step="choose another commit that was good" if wanted else "there is nothing to look for",
            )

    def _verdict(self, commit: str, known: Mapping[str, bool]) -> bool | None:
        if commit in known:
            self.say(f"✓  {commit[:12]}  {SAID[known[commit]]}, as verify found before")
            return known[commit]
        self.say(f"·  {commit[:12]}  {_git(self.clone, 'log', '-1', '--format=%s').strip()}")
        verdict = self.trial(self.clone, self.search.variation)
        self.say(f"✓  {commit[:12]}  {SAID[verdict]}")
        return verdict


@contextmanager
def _clone(pipeline: Pipeline) -> Iterator[Path]:
    """What is committed, and links to what cannot differ."""
    with temporary_folder("bisect") as place:
        clone = place / "clone"
        root = pipeline.settings.root_folder
        argv = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", str(root), str(clone)]
        command.run(Command(argv=argv, error=VerifyError))
        for stage in SHARED:
            (clone / STORE / stage).mkdir(parents=True)
            for folder in (pipeline.store.root / stage).glob("*"):
                (clone / STORE / stage / folder.name).symlink_to(folder.absolute())
        yield clone


def tried(pipeline: Pipeline, clone: Path, variation: str) -> bool | None:
    """What that commit's own `doit verify:VARIATION` says; None when it says nothing, as before there was one."""
    record = clone / STORE / "verify" / f"{variation}.json"
    record.unlink(missing_ok=True)
    own = Path(pipeline.settings.file).absolute().relative_to(pipeline.settings.root_folder.absolute())
    environment = {**passed_on(), "XWHEP_CACHE": str(pipeline.settings.cache_folder.absolute()), "XWHEP_STORE": STORE}
    argv = [sys.executable, "-E", "-s", "-m", "doit", f"verify:{variation}", f"pipeline={own}"]
    log = pipeline.store.log("verify", "bisect")
    command.run(Command(argv=argv, cwd=clone, env=environment, log=log, timeout_s=2 * LIMIT_S), check=False)
    said = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return said.get("identical")


def _git(clone: Path, *words: str, check: bool = True) -> str:
    argv = ["git", "-c", "safe.directory=*", "-C", str(clone), *words]
    return command.run(Command(argv=argv, error=VerifyError), check=check).stdout
