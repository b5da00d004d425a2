"""Rebuilds compared with the first build, for machines (_build/verify/*.json) and for people (one table).

first build ──┐
              ├── file by file, fact by fact ──> identical, or differences with their causes ──> NAME.json, latest.json
rebuild ──────┘
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xwhep_packaging import weakness
from xwhep_packaging.artefacts import Manifest, Output
from xwhep_packaging.errors import LockError, VerifyError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.powers import WEAKER
from xwhep_packaging.store import write_durably
from xwhep_packaging.verify import bisect, covering, evidence
from xwhep_packaging.verify.causes import SUM, Known
from xwhep_packaging.verify.explain import Finding, explain
from xwhep_packaging.verify.rebuild import Beside, Rebuild, head_of, rebuilt, steps_of
from xwhep_packaging.verify.variations import BOUNDED, VARIATIONS, known_of, possible

NAMES_ONLY = frozenset({"tags"})  # a rebuild's images have names of their own
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one rebuild came to. `variations` were on; `seconds` is the wall clock's."""

    name: str
    variations: tuple[str, ...]
    compared: int
    seconds: float
    differences: tuple[Finding, ...] = ()

    @property
    def word(self) -> str:
        return "different" if self.differences else "identical"

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.word, "identical": not self.differences}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Rebuilds by name, each with its variations; why some variations cannot be had on this machine, and some pairs
    nowhere; and what is compared beside a build's own steps."""

    rows: Mapping[str, tuple[str, ...]]
    impossible: Mapping[str, str]
    apart: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[Beside, ...] = ()


def plan_one(name: str) -> Plan:
    able, impossible = possible([name])
    return Plan(rows={name: tuple(able)} if able else {}, impossible=impossible)


def plan_bounded() -> Plan:
    """What every change can afford: two rebuilds, each variation on in one of them."""
    return _plan("ci", BOUNDED, covering.halves)


def plan_all() -> Plan:
    """Every pair of variations, on and off; one that not all others go with has rows of its own."""
    plan = _plan("all", tuple(VARIATIONS), _all_pairs)
    able = {name for row in plan.rows.values() for name in row}
    pairs = [(one, other, why) for one in able for other, why in VARIATIONS[one].apart.items() if other in able]
    return replace(plan, apart={f"{one} with {other}": why for one, other, why in sorted(pairs)})


def _all_pairs(names: Sequence[str]) -> list[covering.Row]:
    loners = [name for name in names if VARIATIONS[name].apart]
    rows = covering.pairwise([name for name in names if name not in loners])
    for one in loners:
        rows += covering.beside(one, [name for name in names if name not in (*loners, *VARIATIONS[one].apart)])
    return rows


def _plan(prefix: str, names: Sequence[str], rows: Callable[[Sequence[str]], list[covering.Row]]) -> Plan:
    able, impossible = possible(names)
    chosen = rows(able)
    ordered = {f"{prefix}-{n}": tuple(name for name in able if name in row) for n, row in enumerate(chosen, 1)}
    return Plan(rows=ordered, impossible=impossible)


def verify(pipeline: Pipeline, plan: Plan, say: Callable[[str], None]) -> None:
    """Rebuild by the plan, say and write what came of it.

    Raises:
        LockError: the first build is not made of the locked packages, so it could differ from anything.
        WeakError: it was made on a machine that gives less.
        VerifyError: a rebuild fails, differs, or none is possible on this machine.
    """
    drifted = sorted({why for step in steps_of(pipeline, cold=True) for why in pipeline.drifted(step)})
    if drifted:
        raise LockError(
            "this build has drifted: it cannot be verified", cause=drifted[0], next_step="scripts/doit lock"
        )
    weaker = {why for step in steps_of(pipeline, cold=True) for why in weakness.of(pipeline.output(step))}
    weakness.refuse({WEAKER: sorted(weaker)}, "verified")
    beside = {one.step: one.make(pipeline) for one in plan.beside}
    trials = Trials(pipeline=pipeline, plan=plan, beside=beside, say=say)
    verdicts = [trials.verdict(name) for name in plan.rows]
    for name, reason in plan.impossible.items():
        _write(pipeline, name, {"name": name, "verdict": "not possible here", "reason": reason, "identical": None})
    keys = {step: pipeline.output(step).manifest.key for step in steps_of(pipeline, cold=False)}
    more = {"not_together": dict(plan.apart), "beside": list(beside), "keys": keys}
    _write(pipeline, "latest", {**summary(verdicts, plan.impossible), **more})
    say("\n".join([*table(verdicts, plan.impossible), *_apart(plan)]))
    _judge(pipeline, verdicts, plan)


def _judge(pipeline: Pipeline, verdicts: Sequence[Verdict], plan: Plan) -> None:
    different = [verdict for verdict in verdicts if verdict.differences]
    folder = pipeline.store.scratch("verify")
    if different:
        lines = [line for verdict in different for line in shown(verdict.differences)]
        raise VerifyError(
            f"{len(different)} of {len(verdicts)} rebuilds give other bytes",
            cause="\n".join(lines[:SHOWN]),
            next_step=f"read {folder / different[0].name}.json",
        )
    if not verdicts:
        raise VerifyError(
            "not possible here",
            cause="\n".join(f"{name}: {reason}" for name, reason in plan.impossible.items()),
            next_step="install what is missing, or verify on another machine",
        )


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The rebuilds of a plan; `beside` is the first build's, by step."""

    pipeline: Pipeline
    plan: Plan
    beside: Mapping[str, Output]
    say: Callable[[str], None]

    def verdict(self, name: str) -> Verdict:
        """Of one rebuild, said and written."""
        pipeline, row, started = self.pipeline, self.plan.rows[name], time.monotonic()
        self.say(f"·  verify:{name:<17} {', '.join(row)}")
        compared, found = self._compared(name, Rebuild(names=row, log=self._log(name), beside=self.plan.beside))
        seconds = round(time.monotonic() - started, 1)
        verdict = Verdict(name=name, variations=row, compared=compared, seconds=seconds, differences=found)
        _write(pipeline, name, verdict.record())
        bisect.remember(pipeline.store.scratch("verify"), head_of(pipeline), row, identical=not found)
        self.say(f"{'✗' if found else '✓'}  verify:{name:<17} {verdict.word}, {compared} compared, {seconds} s")
        return verdict

    def _compared(self, name: str, rebuild: Rebuild) -> tuple[int, tuple[Finding, ...]]:
        steps = steps_of(self.pipeline, cold=rebuild.cold)
        first = {**{step: self.pipeline.output(step) for step in steps}, **self.beside}
        with rebuilt(self.pipeline, rebuild) as again:
            known = known_of(rebuild.names)
            found = [finding for step in steps for finding in differences(first[step], again[step], known)]
            beside = [finding for step in self.beside for finding in differences(first[step], again[step], known)]
            evidence.keep(self.pipeline.store.scratch("verify") / name, tuple(found or beside), (first, again))
        # What is derived from a build that differs has no cause of its own.
        derived = [replace(finding, cause=SUM) for finding in beside] if found else beside
        return sum(_count(output.manifest) for output in first.values()), (*found, *derived)

    def _log(self, name: str) -> Path:
        log = self.pipeline.store.log("verify", name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        return log


def _count(manifest: Manifest) -> int:
    return len(manifest.files) + len(manifest.facts)


def differences(first: Output, again: Output, known: Known) -> Iterator[Finding]:
    """What two outputs of one step do not have in common, explained."""
    step = f"{first.manifest.stage}:{first.manifest.name}"
    files = first.manifest.files, again.manifest.files
    for name in sorted({*files[0], *files[1]}):
        if files[0].get(name) != files[1].get(name):
            yield from evidence.of_file(f"{step} {name}", (first.folder / name, again.folder / name), known)
    facts = first.manifest.facts, again.manifest.facts
    unequal = [n for n in sorted({*facts[0], *facts[1]} - NAMES_ONLY) if facts[0].get(n) != facts[1].get(n)]
    if "layers" in unequal:
        yield from evidence.of_layers(step, facts, known)
    elif unequal and files[0] == files[1]:
        for name in unequal:
            texts = [json.dumps(side.get(name), sort_keys=True).encode() for side in facts]
            yield from explain(f"{step} manifest {name}", (texts[0], texts[1]), known)


def summary(verdicts: Sequence[Verdict], impossible: Mapping[str, str]) -> dict[str, Any]:
    """latest.json of a run: `compared` counts files and facts over all rebuilds."""
    found = [asdict(finding) for verdict in verdicts for finding in verdict.differences]
    return {
        "variations": sorted({name for verdict in verdicts for name in verdict.variations}),
        "rebuilds": [verdict.record() for verdict in verdicts],
        "not_possible_here": dict(impossible),
        "compared": sum(verdict.compared for verdict in verdicts),
        "identical": bool(verdicts) and not found,
        "differences": found,
    }


def table(verdicts: Sequence[Verdict], impossible: Mapping[str, str]) -> list[str]:
    """What a person wants to know."""
    width = max([len(name) for name in (*(verdict.name for verdict in verdicts), *impossible)], default=0)
    lines = ["", "verify"]
    for verdict in verdicts:
        lines.append(
            f"  {verdict.name:<{width}}  {verdict.word:<17}  {verdict.seconds:>6.1f} s  {verdict.compared} compared"
        )
        if len(verdict.variations) > 1:
            lines.append(f"  {'':<{width}}  {' '.join(verdict.variations)}")
    lines += [f"  {name:<{width}}  not possible here  {reason}" for name, reason in impossible.items()]
    return lines


def _apart(plan: Plan) -> list[str]:
    return [f"  not together: {pair}: {why}" for pair, why in plan.apart.items()]


def shown(findings: Sequence[Finding]) -> list[str]:
    """One line a difference: where, what on both sides, why."""
    return [f"{f.file} {f.member} at {f.offset}: {f.first!r} / {f.second!r} ({f.cause})" for f in findings]


def _write(pipeline: Pipeline, name: str, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_durably(pipeline.store.scratch("verify") / f"{name}.json", text.encode())
