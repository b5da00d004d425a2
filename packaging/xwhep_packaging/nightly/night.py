"""`doit nightly`: build HEAD, verify it, release it to a channel, and write down what came of it.

build ──> verify ──> release, promote ──> history.jsonl ──> reproducibility.html ──> one line, exit code
   └─────────┴──────────────┴── a failure ends the night early; the history and the page are written all the same
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from xwhep_packaging import report
from xwhep_packaging.errors import PipelineError
from xwhep_packaging.nightly import history, page
from xwhep_packaging.nightly.history import Night
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release import moving
from xwhep_packaging.release.comparable import BESIDE
from xwhep_packaging.store import write_durably
from xwhep_packaging.verify import verdict
from xwhep_packaging.verify.rebuild import head_of

FOLDER = "nightly"
SUMMARY = "summary.txt"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """`channel`: where a good night is released ("": nowhere); `bounded`: two rebuilds instead of all pairs of
    variations; `skip`: gates of the release that are left out by name."""

    channel: str = "nightly"
    bounded: bool = False
    skip: str = ""


@dataclass(kw_only=True)
class Run:
    """A night under way: each step adds to what the history will say."""

    pipeline: Pipeline
    wanted: Wanted
    say: Say
    started: float = field(default_factory=time.monotonic)
    failure: PipelineError | None = None
    step: str = ""

    def night(self) -> Path:
        """Go as far as it goes; returns the page.

        Raises:
            PipelineError: what ended the night early, after it was written down.
        """
        folder = self.pipeline.store.scratch(FOLDER)
        commit, released = head_of(self.pipeline), ""
        forget_verdict(self.pipeline)
        try:
            self._do("build", self._build)
            self._do("verify", self._verify)
            released = self._do("release", self._release) if self.wanted.channel else ""
        except PipelineError as error:
            self.failure = error
        night = self._record(commit, released)
        history.append(folder, night)
        write_durably(folder / SUMMARY, summary(night).encode() + b"\n")
        made = page.write(folder, history.read(folder), self.pipeline.settings.product.name)
        self.say(f"\n{summary(night)}\npage     {made}")
        if self.failure:
            raise self.failure
        return made

    def _do(self, step: str, action: Callable[[], str]) -> str:
        self.step = step
        self.say(f"·  nightly: {step}")
        return action()

    def _build(self) -> str:
        """As `doit build` does it: the checks of packages beside the verdict."""
        for name in self.pipeline.ends():
            self._make(name)
        report.save(self.pipeline, report.build_report(self.pipeline))
        return ""

    def _make(self, name: str) -> None:
        """A step after all that it needs; what is made is not made again."""
        for needed in self.pipeline.steps[name].needs:
            self._make(needed)
        if self.pipeline.find(name) is None:
            self.say(f"·  {name}")
            self.pipeline.make(name)

    def _verify(self) -> str:
        plan = verdict.plan_bounded() if self.wanted.bounded else verdict.plan_all()
        verdict.verify(self.pipeline, replace(plan, beside=(BESIDE,)), self.say)
        return ""

    def _release(self) -> str:
        moving.make(self.pipeline, self.wanted.skip, self.say)
        version = str(report.build_report(self.pipeline)["version"])
        moving.promote(self.pipeline, self.wanted.channel, version, self.say)
        return version

    def _record(self, commit: str, released: str) -> Night:
        build = self.pipeline.store.read_latest() if self.step != "build" else None
        file = verdict_file(self.pipeline)
        verified = history.load_json(file) if build and file.is_file() else {"rebuilds": [], "differences": []}
        error = self.failure
        return Night(
            at=int(time.time()),
            commit=commit,
            version=str(build["version"]) if build else "",
            failed=self.step if error else "",
            error=str(error) if error else "",
            released=released,
            seconds=round(time.monotonic() - self.started, 1),
            artefacts=history.artefacts_of(build, verified) if build else {},
            impossible=verified.get("not_possible_here", {}),
        )


def verdict_file(pipeline: Pipeline) -> Path:
    return pipeline.store.scratch("verify") / "latest.json"


def forget_verdict(pipeline: Pipeline) -> None:
    """That of an earlier commit must not stand in for one that tonight does not come to."""
    verdict_file(pipeline).unlink(missing_ok=True)


def summary(night: Night) -> str:
    """One line, as the subject of a mail."""
    head = f"nightly  {night.commit[:12]} {night.version}".rstrip()
    count = len(night.artefacts)
    different = sorted(name for name, seen in night.artefacts.items() if seen.state == history.DIFFERENT)
    if night.failed:
        what = f"; differs: {', '.join(different)}" if different else ""
        return f"{head}: FAILED at {night.failed}: {night.error}{what}"
    where = f"; released as {night.released}" if night.released else ""
    return f"{head}: passed, {count} artefacts identical{where}"
