"""What a person types: release, promote, rollback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xwhep_packaging import report
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release import pushing, retention
from xwhep_packaging.release.channels import Channels
from xwhep_packaging.release.comparable import BESIDE
from xwhep_packaging.release.gates import autopkgtest, kept, purging, structure
from xwhep_packaging.release.gates.kept import Gate
from xwhep_packaging.release.making import FOLDER, GATES, Making, check
from xwhep_packaging.release.signing import fingerprint_of, refuse_unknown
from xwhep_packaging.stages.debs.lint import STRICT
from xwhep_packaging.verify import verdict
from xwhep_packaging.verify.rebuild import steps_of

Say = Callable[[str], None]


def make(pipeline: Pipeline, skip: str, say: Say) -> None:
    """Do what the gates lack, then make the release.

    Raises:
        ReleaseError: an unknown gate is to be skipped.
        ReleaseError, LintError, BaseError, VerifyError, NetworkTestError: a gate does not hold.
    """
    skipped = tuple(sorted(filter(None, skip.split(","))))
    if unknown := [name for name in skipped if name not in GATES]:
        raise ReleaseError(f"there is no check {unknown[0]!r} to skip", next_step=f"one of {', '.join(GATES)}")
    making = Making(pipeline=pipeline, skipped=skipped, say=say)
    with pipeline.store.locked(FOLDER):  # the first call may make a key
        made = making.is_made()
    if not made:
        _try_packages_and_images(making)
        _rebuild_and_link(making)
        for name in skipped:
            say(f"!  {name} is left out, and the release says so")
    making.run()


def _try_packages_and_images(making: Making) -> None:
    """The gates that need nothing but what was built, the quickest first."""
    if making.database:
        making.say(f"·  vulnerabilities: {len(making.database.tracked)} source packages are known")
    gates = _gates(making)
    for name in (structure.NAME, purging.NAME):
        _pass(making, gates[name]())
    if "lintian" not in making.skipped:
        _lint_strictly(making)
    _pass(making, gates[autopkgtest.NAME]())


def try_gate(pipeline: Pipeline, name: str, say: Say) -> None:
    """One of them alone; a verdict that is known is told.

    Raises:
        ReleaseError, BaseError: it does not hold.
    """
    making = Making(pipeline=pipeline, skipped=(), say=say)
    _pass(making, _gates(making)[name]())
    say(f"✓  {name}: {', '.join(making.tried[name])}")


def _gates(making: Making) -> dict[str, Callable[[], Gate]]:
    """Those whose verdict is kept beside what was built, by name."""
    return {
        structure.NAME: lambda: structure.gate(making.pipeline, lambda: making.subjects),
        purging.NAME: lambda: purging.gate(making.pipeline),
        autopkgtest.NAME: lambda: autopkgtest.gate(making.pipeline, making.say),
    }


def _pass(making: Making, gate: Gate) -> None:
    """Unless it is left out; what it tried will stand in the release."""
    if gate.name not in making.skipped:
        if not kept.is_known(making.pipeline.store, gate):
            making.say(f"·  {gate.name}")
        making.tried[gate.name] = kept.passed(making.pipeline.store, gate)


def _lint_strictly(making: Making) -> None:
    """All of lintian's checks; the verdict is kept."""
    pipeline = making.pipeline
    steps = [name for name in pipeline.steps if name.startswith(f"{STRICT.stage}:")]
    for name in steps:
        if pipeline.find(name) is None:
            making.say(f"·  lintian: {name.partition(':')[2]}")
            pipeline.make(name)
    making.tried["lintian"] = tuple(name.partition(":")[2] for name in steps)


def _rebuild_and_link(making: Making) -> None:
    """The gates that take minutes, where their verdict is not known already."""
    pipeline, skipped, say = making.pipeline, making.skipped, making.say
    if "endurance" not in skipped and "endurance" in pipeline.steps and pipeline.find("endurance") is None:
        say("·  endurance")
        pipeline.make("endurance")
        report.save(pipeline, report.build_report(pipeline))
    if "verify" not in skipped and not is_verified(pipeline):
        verdict.verify(pipeline, replace(verdict.plan_bounded(), beside=(BESIDE,)), say)


def is_verified(pipeline: Pipeline) -> bool:
    """Whether the last `doit verify` was of this very build, under no fewer variations than `verify:ci` has, and found
    nothing."""
    file = pipeline.store.scratch("verify") / "latest.json"
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    keys = {step: pipeline.recipe(step).key for step in steps_of(pipeline, cold=False)}
    varied = {name for row in verdict.plan_bounded().rows.values() for name in row}
    enough = varied <= {*record.get("variations", ())} and BESIDE.step in record.get("beside", ())
    return bool(record.get("identical")) and record.get("keys") == keys and enough


def promote(pipeline: Pipeline, channel: str, version: str, say: Say) -> None:
    channels = Channels(pipeline.store.scratch(FOLDER))
    with pipeline.store.locked(FOLDER):
        wanted = version or newest(channels)
        old = channels.promote(channel, wanted, lambda folder: _trust(pipeline, folder))
    say(f"{channel}  {old or 'nothing'} -> {wanted}")


def prune(pipeline: Pipeline, keep: int, *, dry: bool, say: Say) -> None:
    with pipeline.store.locked(FOLDER):
        retention.prune(Channels(pipeline.store.scratch(FOLDER)), keep, dry=dry, say=say)


def push(pipeline: Pipeline, registry: pushing.Registry, version: str, say: Say) -> None:
    """Only what verifies is pushed."""
    channels = Channels(pipeline.store.scratch(FOLDER))
    with pipeline.store.locked(FOLDER):
        wanted = version or newest(channels)
        folder = channels.release(wanted)
        _trust(pipeline, folder)
        pushing.push(channels, wanted, registry, say)


def rollback(pipeline: Pipeline, channel: str, say: Say) -> None:
    with pipeline.store.locked(FOLDER):
        old, new = Channels(pipeline.store.scratch(FOLDER)).rollback(channel)
    say(f"{channel}  {old} -> {new}")


def newest(channels: Channels) -> str:
    """The release that was made last.

    Raises:
        ReleaseError: there is none.
    """
    made = [channels.folder / version for version in channels.versions()]
    if not made:
        raise ReleaseError("there is no release", next_step="scripts/doit release")
    return max(made, key=lambda folder: (folder / "release.json").stat().st_mtime_ns).name


def _trust(pipeline: Pipeline, folder: Path) -> None:
    """By its own key it is whole, and that key is one that the settings name, where they name any.

    Raises:
        ReleaseError: it is not.
    """
    public, wanted = folder / "release-key.asc", pipeline.settings.release
    refuse_unknown(fingerprint_of(public), wanted.key, wanted.keys, f"release {folder.name}")
    check(pipeline, folder, public.read_text(encoding="utf-8"))
