"""`doit deploy`: the files of each way to run the images that were made, and a composed grid up and down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xwhep_packaging.definitions import Deploy
from xwhep_packaging.deploy import compose, files
from xwhep_packaging.deploy.compose import Composed
from xwhep_packaging.errors import DeployError, SettingsError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.stages.images import image_of

FOLDER = "deploy"
MOST_WORKERS = 1000


def write(pipeline: Pipeline, way: str) -> Path:
    """Write the files of a way into _build/deploy/WAY.

    Raises:
        SettingsError: the pipeline file describes another product than a grid.
    """
    missing = [role for role in files.ROLES if role not in pipeline.settings.images]
    if missing:
        raise SettingsError(
            f"a grid needs the images {', '.join(files.ROLES)}, and {', '.join(missing)} is not among [images.NAME]"
        )
    images = {role: image_of(pipeline.output(f"images:{role}")) for role in files.ROLES}
    words = files.values(pipeline.settings.deploy, images, pipeline.engine.name)
    return files.write(way, words, pipeline.store.scratch(FOLDER) / way)


def compose_up(pipeline: Pipeline, workers: str | None, say: Callable[[str], None]) -> None:
    """Write compose.yaml, start the grid, and wait until a test job has passed."""
    count = _count(workers) if workers else pipeline.settings.deploy.workers
    folder = write(pipeline, "compose")
    log = pipeline.store.log(FOLDER, "compose")
    with pipeline.engine.serving(log.with_name("deploy-engine.log")) as address:
        grid = _composed(pipeline, folder, address, log)
        seconds = compose.up(grid, count)
    deploy = pipeline.settings.deploy
    workers = "1 worker" if count == 1 else f"{count} workers"
    say(f"the grid {deploy.name!r} is up on {pipeline.engine.name}, with {workers}")
    say(f"  test job passed in {seconds:.1f} s")
    say(f"  at       {deploy.address or 'this machine'}, port {deploy.port}")
    say(f"  connect  {connect_command(pipeline.engine.name, deploy)}")
    say("  stop     scripts/doit deploy:compose_down")


def connect_command(engine: str, deploy: Deploy) -> str:
    """For a partner outside of the grid's own network: only inside is the server called `server`."""
    host = deploy.address or "localhost"
    return f"{engine} exec {deploy.name}-server-1 xwhep-server join-line client --address {host}:{deploy.port}"


def compose_down(pipeline: Pipeline, say: Callable[[str], None]) -> None:
    """Leave no container of the grid behind, and all of its data."""
    log = pipeline.store.log(FOLDER, "compose")
    folder = pipeline.store.scratch(FOLDER) / "compose"
    if not (folder / "compose.yaml").is_file():
        raise DeployError("no composed grid was started from here", next_step="scripts/doit deploy:compose_up")
    with pipeline.engine.serving(log.with_name("deploy-engine.log")) as address:
        compose.down(_composed(pipeline, folder, address, log))
    name = pipeline.settings.deploy.name
    say(f"the grid {name!r} is down; its data stays in the volumes {name}_server and {name}_client")


def _composed(pipeline: Pipeline, folder: Path, address: str, log: Path) -> Composed:
    name = pipeline.settings.deploy.name
    return Composed(name=name, folder=folder, engine=pipeline.engine, address=address, log=log)


def _count(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MOST_WORKERS:
        return int(text)
    raise SettingsError(f"workers={text} is no number of workers", next_step="scripts/doit deploy:compose_up workers=3")
