"""The suites of a build's packages: one index of all of them, signed once for each channel, at the source's time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.repository import About, Index, pool_folder, write_suite
from xwhep_packaging.release.signing import Key


def write(pipeline: Pipeline, apt: Path, channels: Sequence[str], key: Key) -> None:
    """Below `apt`/dists; the pool is another's matter."""
    settings, index = pipeline.settings, index_of(pipeline)
    for channel in channels:
        about = About(
            origin=settings.product.name,
            label=settings.product.name,
            suite=channel,
            architecture=settings.suite.architecture,
            epoch=pipeline.commit(next(iter(settings.sources))).epoch,
        )
        write_suite(apt / "dists" / channel, index, about, key)


def index_of(pipeline: Pipeline) -> Index:
    """What was built, at its places in the pool."""
    index = Index()
    for name in pipeline.settings.sources:
        output, pool = pipeline.output(f"debs:{name}"), pool_folder(name)
        for deb in output.matching(".deb"):
            index.add_deb(deb, f"{pool}/{deb.name}")
        for dsc in output.matching(".dsc"):
            index.add_source(dsc, pool)
    return index
