"""`doit bench`: one group of figures after the other, each by a script of tests/bench in the test environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import CheckError
from xwhep_packaging.pipeline import Pipeline

OUTPUT = Path("bench") / "latest.json"


def bench_command(pipeline: Pipeline, group: str, runs: int) -> list[str]:
    """The call that measures one group; tox gives it the platform's own libraries."""
    settings = pipeline.settings
    script = settings.root_folder / "tests" / "bench" / "figures.py"
    python = settings.root_folder / ".tox" / "dev" / "bin" / "python"
    return [str(python), str(script), group, str(settings.store_folder / OUTPUT), f"--runs={runs}"]


def measure(pipeline: Callable[[], Pipeline], group: str, runs: int) -> None:
    """Measure one group and merge its medians of `runs` runs into _build/bench/latest.json.

    Raises:
        CheckError: a measured command failed.
    """
    log = pipeline().store.log("bench", group)
    log.unlink(missing_ok=True)
    argv = bench_command(pipeline(), group, runs)
    command.run(Command(argv=argv, log=log, error=CheckError, what=f"the figures of {group} cannot be measured"))
