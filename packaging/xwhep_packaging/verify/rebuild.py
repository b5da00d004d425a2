"""One rebuild: a fresh clone in a folder of its own, built under some variations, its manifests brought home.

commit ── git clone ──> folder ── pipeline file + [surroundings] ──> doit debs images ... ──> manifests, files
                          │
what cannot differ: locked packages, root file systems (unless the cache is cold), as links to the first build's
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from xwhep_packaging import command
from xwhep_packaging.artefacts import Manifest, Output
from xwhep_packaging.command import Command
from xwhep_packaging.errors import NetworkError, VerifyError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.settings import passed_on
from xwhep_packaging.store import MANIFEST, remove_tree
from xwhep_packaging.temporary import temporary_folder
from xwhep_packaging.verify.variations import (
    IMAGES,
    VARIATIONS,
    disordered,
    has_table,
    other_python,
    rendered,
    surroundings_of,
)

FILE = "verify.toml"
STORE = "_build"
HOME = "home-of-somebody-else"
PINS = Path("packaging") / "requirements" / "build.txt"
LIMIT_S = 1800.0
SHARED = ("packages", "base", "base_image")
OF_REBUILD = re.compile(rf"localhost/{IMAGES}-(?P<pid>\d+)-[0-9a-f]{{8}}-")
USUAL, LONGER = "clone", "another-folder/with-a-longer-name.d/clone"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """An output that is no step of a build, and compared as well.

    `task` makes it in a clone, of whose store the file `shared` is a copy of the first build's; `make` makes, or finds,
    that of the first build. `step` is how it is called among the others.
    """

    task: str
    step: str
    make: Callable[[Pipeline], Output]
    shared: str


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """Which variations are on, where the log goes, and what is made beside the build's own steps."""

    names: tuple[str, ...]
    log: Path
    beside: tuple[Beside, ...] = ()

    @property
    def cold(self) -> bool:
        return "cache" in self.names


def steps_of(pipeline: Pipeline, *, cold: bool) -> list[str]:
    """What a rebuild makes and is compared by: all that ships, and the root file systems when they are made again."""
    ships = ("source:", "debs:", "images:", *(("base:",) if cold else ()))
    return [name for name in pipeline.steps if name.startswith(ships)]


def head_of(pipeline: Pipeline) -> str:
    """The commit that rebuilds are made from: whole, as the pipeline file's repository has it."""
    argv = ["git", "-c", "safe.directory=*", "-C", str(pipeline.settings.root_folder), "rev-parse", "HEAD"]
    return command.run(Command(argv=argv, error=VerifyError)).stdout.strip()


def command_of(rebuild: Rebuild, folder: Path, doit: Sequence[str]) -> list[str]:
    """The words of a rebuild: what each variation puts before it, then doit."""
    wraps = [word for name in rebuild.names for word in VARIATIONS[name].wrap]
    around = disordered(folder) if "order" in rebuild.names else ()
    # The mount comes first: it needs the caller's rights and clock.
    return [*around, *wraps, *doit]


def environment_of(rebuild: Rebuild, pipeline: Pipeline, home: Path) -> dict[str, str]:
    """The caller's settings for pipelines, the same cache of packages, and what the variations add."""
    own = {"XWHEP_CACHE": str(pipeline.settings.cache_folder.absolute()), "XWHEP_ENGINE": "podman"}
    found = {**passed_on(), **own, "XWHEP_STORE": STORE}
    for name in rebuild.names:
        found |= VARIATIONS[name].environment
    return {**found, **({"HOME": str(home)} if "user" in rebuild.names else {})}


@contextmanager
def rebuilt(pipeline: Pipeline, rebuild: Rebuild) -> Iterator[dict[str, Output]]:
    """Step -> its output in the clone, as long as the block lasts.

    Raises:
        VerifyError: the rebuild fails.
    """
    forget_leftovers(rebuild.log)
    with temporary_folder("verify") as place:
        place.chmod(0o755)
        clone = place / (LONGER if "path" in rebuild.names else USUAL)
        (place / HOME).mkdir()
        _clone(pipeline, rebuild, clone)
        try:
            _run(pipeline, rebuild, clone, place / HOME)
            store = clone / STORE
            recipes = {name: pipeline.recipe(name) for name in steps_of(pipeline, cold=rebuild.cold)}
            made = {name: _output(store, f"{recipe.stage}:{recipe.name}") for name, recipe in recipes.items()}
            yield {**made, **{one.step: _output(store, one.step) for one in rebuild.beside}}
        finally:
            _forget_images(clone / STORE, rebuild.log)


def _clone(pipeline: Pipeline, rebuild: Rebuild, clone: Path) -> None:
    """What is committed, the pipeline file with other surroundings, and links to what cannot differ."""
    settings = pipeline.settings
    clone.parent.mkdir(parents=True, exist_ok=True)
    argv: list[str | Path] = [
        "git",
        "-c",
        "safe.directory=*",
        "clone",
        "--quiet",
        "--no-hardlinks",
        settings.root_folder,
        clone,
    ]
    command.run(Command(argv=argv, error=VerifyError, log=rebuild.log))
    own = Path(settings.file).absolute().relative_to(settings.root_folder.absolute())
    text = (clone / own).read_text(encoding="utf-8")
    if has_table(text):
        raise VerifyError("the pipeline file has [surroundings]", next_step="remove it: verify gives other values")
    varied = f"{text}\n{rendered(surroundings_of(rebuild.names))}"
    (clone / own).with_name(FILE).write_text(varied, encoding="utf-8")
    for stage in SHARED[:1] if rebuild.cold else SHARED:
        again = clone / STORE / stage
        again.mkdir(parents=True)
        for folder in (pipeline.store.root / stage).iterdir():
            (again / folder.name).symlink_to(folder.absolute())
    for beside in rebuild.beside:
        (clone / STORE / beside.shared).parent.mkdir(parents=True)
        shutil.copy2(pipeline.store.root / beside.shared, clone / STORE / beside.shared)


def _run(pipeline: Pipeline, rebuild: Rebuild, clone: Path, home: Path) -> None:
    python = _python(pipeline, rebuild.log) if "python" in rebuild.names else sys.executable
    tasks = ["debs", "images", *(["base"] if rebuild.cold else []), *(beside.task for beside in rebuild.beside)]
    file = Path(pipeline.settings.file).absolute().relative_to(pipeline.settings.root_folder.absolute())
    doit = [python, "-E", "-s", "-m", "doit", *tasks, f"pipeline={file.with_name(FILE)}"]
    command.run(
        Command(
            argv=command_of(rebuild, clone, doit),
            cwd=clone,
            env=environment_of(rebuild, pipeline, home),
            log=rebuild.log,
            timeout_s=LIMIT_S,
            error=VerifyError,
            what=f"the rebuild with {', '.join(rebuild.names)} fails",
            next_step="read the log: the first build came to its end without them",
        )
    )


def _python(pipeline: Pipeline, log: Path) -> str:
    """Another Python with the pipeline's own pins; kept, because installing them takes longer than a rebuild."""
    python = other_python()
    pins = pipeline.settings.root_folder / PINS
    folder = pipeline.store.scratch("verify") / f"venv-{Path(python).name}"
    stamp = folder / "pins.txt"
    if not stamp.is_file() or stamp.read_bytes() != pins.read_bytes():
        remove_tree(folder)
        command.run(Command(argv=[python, "-E", "-s", "-m", "venv", folder], error=VerifyError, log=log))
        install: list[str | Path] = [
            folder / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            pins,
        ]
        command.run(Command(argv=install, error=NetworkError, log=log, what="the pins cannot be installed"))
        stamp.write_bytes(pins.read_bytes())
    return str(folder / "bin" / "python")


def _output(store: Path, made: str) -> Output:
    """The output that a rebuild made, by STAGE:NAME. Its key may differ, as with another Python; its name does not."""
    stage, _, name = made.partition(":")
    for path in sorted((store / stage).glob(f"*/{MANIFEST}")):
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        if manifest.name == name:
            return Output(folder=path.parent, manifest=manifest)
    raise VerifyError(f"the rebuild made no {made}", next_step="read the log")


def _forget_images(store: Path, log: Path) -> None:
    """Take the rebuild's names away; an image with the first build's digest keeps those."""
    for path in sorted((store / "images").glob(f"*/{MANIFEST}")):
        for tag in msgspec.json.decode(path.read_bytes(), type=Manifest).facts["tags"]:
            _forget(f"localhost/{tag}", log)


def forget_leftovers(log: Path) -> None:
    """Take away the names of rebuilds whose process is gone: one that was killed could not do it."""
    argv = ["buildah", "images", "--noheading", "--format", "{{.Name}}:{{.Tag}}"]
    for name in command.run(Command(argv=argv, error=VerifyError, log=log)).stdout.split():
        made = OF_REBUILD.match(name)
        if made and not Path("/proc", made["pid"]).exists():
            _forget(name, log)


def _forget(name: str, log: Path) -> None:
    command.run(Command(argv=["buildah", "rmi", name], log=log), check=False)
