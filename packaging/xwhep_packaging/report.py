"""What a build made, for machines (latest.json) and for people (one table)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from xwhep_packaging import weakness
from xwhep_packaging.artefacts import rfc3339
from xwhep_packaging.pipeline import Pipeline

MEGABYTE = 1_000_000
DIGEST_SHOWN = 12
SLOWEST_SHOWN = 3


def build_report(pipeline: Pipeline) -> dict[str, Any]:
    """The last build as latest.json has it. Sizes are bytes, times seconds, `epoch` UTC seconds of the first source."""
    verdict = pipeline.output("network_test")
    return {
        **contents(pipeline),
        "bound": [_bound(pipeline, name) for name in pipeline.binding.images],
        "drifted": pipeline.drifted("network_test"),
        "weaker": sorted({row for end in pipeline.ends() for row in weakness.of(pipeline.output(end))}),
        "verdict": verdict.manifest.facts["verdict"],
        "engine": verdict.manifest.facts["engine"],
        "network_test": {"folder": str(verdict.folder), "tests": verdict.manifest.facts["tests"]},
        "endurance": _endurance(pipeline),
        "timings": verdict.manifest.facts["timings"],
        "needs": {name: list(step.needs) for name, step in pipeline.steps.items()},
        "keys": {name: pipeline.recipe(name).key for name in pipeline.steps},
        "seconds": pipeline.store.last_seconds({name: pipeline.recipe(name).key for name in pipeline.steps}),
    }


def contents(pipeline: Pipeline) -> dict[str, Any]:
    """The part of it that is the product itself, known before any test of it."""
    settings = pipeline.settings
    main = next(iter(settings.sources))
    commit = pipeline.commit(main)
    return {
        "product": settings.product.name,
        "pipeline_file": Path(settings.file).name,
        "commit": commit.sha,
        "shipped_commit": commit.shipped_sha,
        "epoch": commit.epoch,
        "date": rfc3339(commit.epoch),
        "dirty": commit.dirty,
        "version": pipeline.output(f"debs:{main}").manifest.facts["version"],
        "debs": [row for name in settings.sources for row in _debs(pipeline, f"debs:{name}")],
        "images": [_image(pipeline, f"images:{name}") for name in settings.images],
    }


def _endurance(pipeline: Pipeline) -> dict[str, Any]:
    """The longer tests of these very images, which may have run or not."""
    output = pipeline.find("endurance") if "endurance" in pipeline.steps else None
    if output is None:
        return {"verdict": "not run"}
    facts = output.manifest.facts
    return {"folder": str(output.folder), **{name: facts[name] for name in ("verdict", "engine", "tests", "timings")}}


def save(pipeline: Pipeline, report: dict[str, Any]) -> None:
    """Replace latest.json when it says something else; its wall-clock time is provenance, no input of anything."""
    known = pipeline.store.read_latest() or {}
    if {**known, "finished_at": 0} != {**json.loads(json.dumps(report)), "finished_at": 0}:
        pipeline.store.write_latest({**report, "finished_at": int(time.time())})


def _debs(pipeline: Pipeline, step: str) -> list[dict[str, Any]]:
    output, drifted = pipeline.output(step), bool(pipeline.drifted(step))
    rows = []
    for path in output.matching(".deb"):
        record = output.manifest.files[path.name]
        package, version, architecture = path.stem.split("_")
        rows.append(
            {
                "source": output.manifest.name,
                "package": package,
                "version": version,
                "architecture": architecture,
                "path": str(path),
                "size": record.size,
                "sha256": record.sha256,
                "drifted": drifted,
                "weaker": weakness.of(output),
            }
        )
    return rows


def _image(pipeline: Pipeline, step: str) -> dict[str, Any]:
    output = pipeline.output(step)
    facts = output.manifest.facts
    kept = ("digest", "tags", "size", "layers", "layer_sizes", "version", "epoch")
    drifted = bool(pipeline.drifted(step))
    return {
        "name": output.manifest.name,
        **{name: facts[name] for name in kept},
        "drifted": drifted,
        "weaker": weakness.of(output),
    }


def _bound(pipeline: Pipeline, name: str) -> dict[str, Any]:
    """A private image and the private package in it; nothing that is published may name either."""
    facts = pipeline.output(f"bound:{name}").manifest.facts
    conf = _debs(pipeline, f"conf:{pipeline.binding.images[name]}")[0]
    return {
        **_image(pipeline, f"bound:{name}"),
        "private": facts["private"],
        "deployment": facts["deployment"],
        "conf": conf,
    }


def table(report: dict[str, Any], made: dict[str, float], took: float = 0) -> str:
    """What the person who typed `doit build` wants to know, in one table; `took`: seconds of the whole run."""
    debs = [
        (
            f"{row['package']}_{row['version']}_{row['architecture']}.deb",
            _size(row["size"]),
            row["sha256"][:DIGEST_SHOWN],
        )
        for row in [*report["debs"], *(image["conf"] for image in report["bound"])]
    ]
    images, bound = _image_rows(report["images"]), _image_rows(report["bound"])
    stages = [
        (name, f"{seconds:.1f} s", "made now" if name in made else "up to date")
        for name, seconds in report["seconds"].items()
    ]
    width = max(len(row[0]) for row in [*debs, *images, *bound, *stages])
    lines: list[str] = []
    private = f"private images of the deployment {report['bound'][0]['deployment']}" if bound else ""
    for title, rows in (("packages", debs), ("images", images), (private, bound), ("stages", stages)):
        if rows:
            lines += ["", title, *(f"  {a:<{width}}  {b:>9}  {c}" for a, b, c in rows)]
    what = f"{report['network_test']['tests']} network tests on {report['engine']}"
    if report["endurance"]["verdict"] != "not run":
        what += f"; endurance {report['endurance']['verdict']}: {report['endurance']['tests']}"
    dirty = "  (the work tree has changes that are not in this commit)" if report["dirty"] else ""
    lines += [
        "",
        f"commit   {report['commit'][:12]}  version {report['version']}{dirty}",
        f"made     {_summary(made, len(report['seconds']), took)}",
        "report   scripts/doit report makes a page of it",
        f"verdict  {report['verdict']}: {what}",
    ]
    return "\n".join([*lines, *_drift(report["drifted"]), *_weaker(report["weaker"])])


def _summary(made: dict[str, float], steps: int, took: float) -> str:
    """How much of it was made now, and what took longest."""
    if not made:
        return f"nothing in {took:.1f} s: all {steps} steps were up to date"
    slowest = sorted(made, key=lambda name: -made[name])[:SLOWEST_SHOWN]
    named = ", ".join(f"{name} {made[name]:.1f} s" for name in slowest)
    return f"{len(made)} steps in {took:.0f} s, {max(0, steps - len(made))} were up to date; longest: {named}"


def not_bound(pipeline: Pipeline) -> str:
    """Said where `doit configure build` was typed: doit lists the steps of a run before it begins."""
    names = ", ".join(pipeline.binding.made_meanwhile())
    return (
        f"\n\nNOT BOUND to {names}: it was configured in this very run.\n  next:  scripts/doit build" if names else ""
    )


def _drift(reasons: list[str]) -> list[str]:
    """Said after the verdict, where nobody misses it."""
    if not reasons:
        return []
    return [
        "",
        "DRIFTED: this build is not made of the locked packages. It cannot be verified or released.",
        *(f"  {reason}" for reason in reasons),
        "  next:  scripts/doit lock, review and commit it",
    ]


def _weaker(sentences: list[str]) -> list[str]:
    if not sentences:
        return []
    return [
        "",
        "WEAKER: this machine gives a build less than others do. What it made cannot be verified or released.",
        *(f"  {sentence}" for sentence in sentences),
        "  next:  scripts/doit doctor says what is missing, and what gives it",
    ]


def _image_rows(images: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """One row for each name of an image; its size stands beside the first."""
    return [
        (tag.removesuffix(":latest"), "" if number else _size(image["size"]), image["digest"][7:][:DIGEST_SHOWN])
        for image in images
        for number, tag in enumerate(image["tags"])
    ]


def _size(size: int) -> str:
    return f"{size / MEGABYTE:.1f} MB" if size >= MEGABYTE else f"{size / 1000:.1f} kB"
