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
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from xwhep_packaging import command
from xwhep_packaging.alive import is_alive
from xwhep_packaging.artefacts import Manifest, Output
from xwhep_packaging.command import Command
from xwhep_packaging.engines import is_stored, stored_names
from xwhep_packaging.errors import NetworkError, VerifyError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.settings import passed_on
from xwhep_packaging.store import MANIFEST, remove_tree
from xwhep_packaging.temporary import temporary_folder
from xwhep_packaging.verify import locked_python
from xwhep_packaging.verify.ordinary import NAME, Ordinary, ordinary, readable_python
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
RUNTIME = "runtime"
VENV = "venv"
ORDINARY = "unprivileged"
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
    def logs(self) -> Path:
        """Where those of the clone are kept when it fails: the clone itself goes."""
        return self.log.with_suffix("")

    @property
    def cold(self) -> bool:
        return "cache" in self.names

    @property
    def ordinary(self) -> bool:
        return ORDINARY in self.names

    @property
    def shared(self) -> tuple[str, ...]:
        """The stages whose outputs are the first build's; an ordinary user has a storage of images of its own."""
        return SHARED[:1] if self.cold else SHARED[:2] if self.ordinary else SHARED


def steps_of(pipeline: Pipeline, *, cold: bool) -> list[str]:
    """What a rebuild makes and is compared by: all that ships, and the root file systems when they are made again."""
    ships = ("source:", "debs:", "images:", *(("base:",) if cold else ()))
    return [name for name in pipeline.steps if name.startswith(ships)]


def head_of(pipeline: Pipeline) -> str:
    """The commit that rebuilds are made from: whole, as the pipeline file's repository has it."""
    argv = ["git", "-c", "safe.directory=*", "-C", str(pipeline.settings.root_folder), "rev-parse", "HEAD"]
    return command.run(Command(argv=argv, error=VerifyError)).stdout.strip()


def command_of(rebuild: Rebuild, folder: Path, doit: Sequence[str], user: Ordinary | None = None) -> list[str]:
    """The words of a rebuild: what each variation puts before it, then doit."""
    wraps = [word for name in rebuild.names for word in VARIATIONS[name].wrap]
    around = disordered(folder) if "order" in rebuild.names else ()
    # Mounts come first: they need the caller's rights and clock.
    return [*(user.around() if user else ()), *around, *wraps, *(user.inside() if user else ()), *doit]


def environment_of(rebuild: Rebuild, pipeline: Pipeline, home: Path) -> dict[str, str]:
    """The caller's settings for pipelines, the same cache of packages, and what the variations add."""
    own = {"XWHEP_CACHE": str(pipeline.settings.cache_folder.absolute()), "XWHEP_ENGINE": "podman"}
    found = {**passed_on(), **own, "XWHEP_STORE": STORE}
    for name in rebuild.names:
        found |= VARIATIONS[name].environment
    if rebuild.ordinary:  # who has neither root's home nor its cache
        found = {"USER": NAME, "LOGNAME": NAME, **found, "XWHEP_CACHE": str(home / "cache")}
        found |= {"XDG_RUNTIME_DIR": str(home / RUNTIME), "XDG_DATA_HOME": str(home / "data")}
    return {**found, **({"HOME": str(home)} if rebuild.ordinary or "user" in rebuild.names else {})}


@contextmanager
def rebuilt(pipeline: Pipeline, rebuild: Rebuild) -> Iterator[dict[str, Output]]:
    """Step -> its output in the clone, as long as the block lasts.

    Raises:
        VerifyError: the rebuild fails.
    """
    forget_leftovers(rebuild.log)
    with temporary_folder("verify") as place:
        place.chmod(0o755)
        site = Site(pipeline=pipeline, rebuild=rebuild, place=place)
        store = site.clone / STORE
        try:
            site.prepare()
            site.build()
            recipes = {name: pipeline.recipe(name) for name in steps_of(pipeline, cold=rebuild.cold)}
            made = {name: _output(store, f"{recipe.stage}:{recipe.name}") for name, recipe in recipes.items()}
            yield {**made, **{one.step: _output(store, one.step) for one in rebuild.beside}}
        finally:
            _forget_images(store, rebuild.log)
            site.leave()


def _clone(pipeline: Pipeline, rebuild: Rebuild, clone: Path) -> None:
    """What is committed, and the pipeline file with other surroundings."""
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
    for beside in rebuild.beside:
        (clone / STORE / beside.shared).parent.mkdir(parents=True)
        shutil.copy2(pipeline.store.root / beside.shared, clone / STORE / beside.shared)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The folder of one rebuild: the clone, a home and, for an ordinary user, what it sees of root's."""

    pipeline: Pipeline
    rebuild: Rebuild
    place: Path

    @property
    def clone(self) -> Path:
        return self.place / (LONGER if "path" in self.rebuild.names else USUAL)

    @property
    def _home(self) -> Path:
        return self.place / HOME

    @cached_property
    def _user(self) -> Ordinary | None:
        """Root's folders may be root's alone, so that links to them would lead nowhere."""
        if not self.rebuild.ordinary:
            return None
        stages = {self.clone / STORE / stage: self.pipeline.store.root / stage for stage in self.rebuild.shared}
        return ordinary(self.place, {self.place / VENV: _readable_venv(self.pipeline, self.rebuild.log), **stages})

    def prepare(self) -> None:
        """The clone, with what cannot differ in its store."""
        (self._home / RUNTIME).mkdir(parents=True, mode=0o700)
        _clone(self.pipeline, self.rebuild, self.clone)
        if self._user:
            (self.clone / STORE).mkdir(exist_ok=True)
            self._user.furnish(self._home, self.place / self.clone.relative_to(self.place).parts[0])
            return
        for stage in self.rebuild.shared:
            again = self.clone / STORE / stage
            again.mkdir(parents=True)
            for folder in (self.pipeline.store.root / stage).iterdir():
                (again / folder.name).symlink_to(folder.absolute())

    def leave(self) -> None:
        if self._user:
            self._user.sweep()

    def build(self) -> None:
        try:
            self._build()
        except VerifyError:
            keep_logs(self.clone / STORE / "logs", self.rebuild.logs)
            raise
        if self._user:
            for image in _images_of(self.clone / STORE):
                if not is_stored(image["digest"], ()):
                    self._fetch(image["digest"], f"localhost/{image['tags'][0]}", self._user)

    def _fetch(self, digest: str, name: str, user: Ordinary) -> None:
        """An image out of the user's own storage, which is another one, so that it can be compared."""
        archive, log = self._home / "image.tar", self.rebuild.log
        argv: list[str | Path] = [
            *user.around(),
            *user.inside(),
            "buildah",
            "push",
            digest,
            f"docker-archive:{archive}",
        ]
        environment = environment_of(self.rebuild, self.pipeline, self._home)
        command.run(Command(argv=argv, env=environment, cwd=self.clone, log=log, error=VerifyError))
        command.run(Command(argv=["buildah", "pull", f"docker-archive:{archive}"], log=log, error=VerifyError))
        command.run(Command(argv=["buildah", "tag", digest, name], log=log, error=VerifyError))
        archive.unlink()

    def _build(self) -> None:
        pipeline, rebuild = self.pipeline, self.rebuild
        tasks = ["debs", "images", *(["base"] if rebuild.cold else []), *(beside.task for beside in rebuild.beside)]
        file = Path(pipeline.settings.file).absolute().relative_to(pipeline.settings.root_folder.absolute())
        doit = [self._python(), "-E", "-s", "-m", "doit", *tasks, f"pipeline={file.with_name(FILE)}"]
        command.run(
            Command(
                argv=command_of(rebuild, self.clone, doit, self._user),
                cwd=self.clone,
                env=environment_of(rebuild, pipeline, self._home),
                log=rebuild.log,
                timeout_s=LIMIT_S,
                error=VerifyError,
                what=f"the rebuild with {', '.join(rebuild.names)} fails",
                next_step=f"read its logs in {rebuild.logs}: the first build came to its end without them",
            )
        )

    def _python(self) -> str:
        if self._user:
            return str(self.place / VENV / "bin" / "python")
        if "python" not in self.rebuild.names:
            return sys.executable
        found = other_python() or str(locked_python.unpacked(self.pipeline, self.rebuild.log))
        return str(_python_of(self.pipeline, found, self.rebuild.log))


def keep_logs(source: Path, target: Path) -> None:
    remove_tree(target)
    if source.is_dir():
        shutil.copytree(source, target)


def _readable_venv(pipeline: Pipeline, log: Path) -> Path:
    """One whose Python every user may run."""
    python = readable_python()
    own = python == Path(sys.executable).resolve() and sys.prefix != sys.base_prefix
    return Path(sys.prefix) if own else _python_of(pipeline, str(python), log).parents[1]


def _python_of(pipeline: Pipeline, python: str, log: Path) -> Path:
    """Another Python with the pipeline's own pins; kept, because installing them takes longer than a rebuild.

    The pipeline's own pip installs them: Debian's Python brings none.
    """
    pins = pipeline.settings.root_folder / PINS
    folder = pipeline.store.scratch("verify") / f"venv-{Path(python).name}"
    stamp = folder / "pins.txt"
    if not stamp.is_file() or stamp.read_bytes() != pins.read_bytes():
        remove_tree(folder)
        command.run(
            Command(argv=[python, "-E", "-s", "-m", "venv", "--without-pip", folder], error=VerifyError, log=log)
        )
        install: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            folder / "bin" / "python",
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            pins,
        ]
        command.run(Command(argv=install, error=NetworkError, log=log, what="the pins cannot be installed"))
        stamp.write_bytes(pins.read_bytes())
    return folder / "bin" / "python"


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
    there = {name for names in stored_names().values() for name in names}
    for name in [f"localhost/{tag}" for image in _images_of(store) for tag in image["tags"]]:
        if name in there:
            _forget(name, log)


def _images_of(store: Path) -> list[dict[str, Any]]:
    """What the manifests say of the images in a store."""
    paths = sorted((store / "images").glob(f"*/{MANIFEST}"))
    return [msgspec.json.decode(path.read_bytes(), type=Manifest).facts for path in paths]


def forget_leftovers(log: Path) -> None:
    """Take away the names of rebuilds whose process is gone: one that was killed could not do it."""
    for name in sorted(name for names in stored_names().values() for name in names):
        made = OF_REBUILD.match(name)
        if made and not is_alive(made["pid"]):
            _forget(name, log)


def _forget(name: str, log: Path) -> None:
    command.run(Command(argv=["buildah", "rmi", name], log=log), check=False)
