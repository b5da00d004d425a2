"""The data flow: what each step needs, what decides it, how it is made. Knows no doit; tasks.py puts it on a list.

    source:NAME ──> debs:NAME ──> lint:NAME ──────────────────────┐
    base:chroot ──────┘│                                          ├──> the verdict
    base:rootfs ──> base:image ──> images:ROLE ──> network_test ──┘

Keys are computed from inputs alone, so what would run is known before anything runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xwhep_packaging import command, engines
from xwhep_packaging.artefacts import Commit, Output
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BakeError, PipelineError
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import base, debs, images, network_test, source
from xwhep_packaging.store import Draft, Recipe, Store

TOOLS = ("mmdebstrap", "buildah")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One output. `needs` are other steps' names; `present` tells whether it is still where it belongs."""

    name: str
    doc: str
    needs: tuple[str, ...]
    recipe: Callable[[], Recipe]
    maker: Callable[[Draft], None]
    present: Callable[[Output], bool] = lambda output: True


class Pipeline:
    """The steps of one pipeline file. Nothing is asked of git, dpkg or an engine before a step is."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.steps = {step.name: step for step in self._all_steps()}
        self._recipes: dict[str, Recipe] = {}
        self._commits: dict[str, Commit] = {}
        self.seconds: dict[str, float] = {}  # what this run made, and how long each took

    @cached_property
    def engine(self) -> engines.Engine:
        return engines.choose(self.settings, self.store.scratch("engine"))

    @cached_property
    def tools(self) -> dict[str, str]:
        """Versions of the tools that decide bytes, by Debian package."""
        argv = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *TOOLS]
        rows = command.run(Command(argv=argv), check=False).stdout.splitlines()
        found = dict(row.split(" ", 1) for row in rows if " " in row)
        return {tool: found.get(tool) or command.find_tool(tool) for tool in TOOLS}

    def recipe(self, name: str) -> Recipe:
        if name not in self._recipes:
            self._recipes[name] = self.steps[name].recipe()
        return self._recipes[name]

    def find(self, name: str) -> Output | None:
        """The finished output of a step, or None when it is to be made."""
        output = self.store.find(self.recipe(name))
        return output if output and self.steps[name].present(output) else None

    def make(self, name: str) -> Output:
        """Make one step; all that it needs is made already, or made first."""
        step = self.steps[name]
        for need in step.needs:
            if self.find(need) is None:
                self.make(need)
        started = time.monotonic()
        output = self.store.make(self.recipe(name), step.maker, step.present)
        self.seconds[name] = time.monotonic() - started
        self.store.remember_seconds(name, output.manifest.key, self.seconds[name])
        return output

    def output(self, name: str) -> Output:
        """The output of a step that was made before."""
        found = self.store.find(self.recipe(name))
        if found is None:
            raise PipelineError(f"{name} is not made, though it was a moment ago", next_step="doit build")
        return found

    def commit(self, name: str) -> Commit:
        """The commit of source `name`; resolved once a run: a commit made meanwhile changes nothing half-way."""
        if name not in self._commits:
            self._commits[name] = source.resolve(self.settings, self.store, name)
        return self._commits[name]

    def _all_steps(self) -> list[Step]:
        roots = [self._root_step("chroot"), self._root_step("rootfs")]
        sources = [step for name in self.settings.sources for step in self._source_steps(name)]
        roles = [self._image_step(name) for name in self.settings.images]
        return [*sources, *roots, self._base_image_step(), *roles, self._network_step()]

    def _root_step(self, kind: str) -> Step:
        return Step(
            name=f"base:{kind}",
            doc={"chroot": "the root file system that builds run in", "rootfs": "the one that images share"}[kind],
            needs=(),
            recipe=lambda: base.recipe(self.settings, kind, self.tools),
            maker=lambda draft: base.make_base(self.settings, kind, draft),
        )

    def _base_image_step(self) -> Step:
        return Step(
            name="base:image",
            doc="the shared base layer, in the image storage",
            needs=("base:rootfs",),
            recipe=lambda: images.base_recipe(self.recipe("base:rootfs").key, self.tools),
            maker=lambda draft: images.make_base_image(self.settings, self.output("base:rootfs"), draft),
            present=lambda output: output.manifest.facts["digest"].removeprefix("sha256:") in engines.stored_images(),
        )

    def _source_steps(self, name: str) -> list[Step]:
        definition = self.settings.sources[name]
        exported, built, root = f"source:{name}", f"debs:{name}", "base:chroot"

        def make_source(draft: Draft) -> None:
            source.make_source(self.store, self.commit(name), definition, draft)

        def make_debs(draft: Draft) -> None:
            inputs = {"source": self.output(exported), "chroot": self.output(root)}
            debs.make_debs(self.settings, self.commit(name), inputs, draft)

        steps = [
            Step(
                name=exported,
                doc=f"export what ships of {name}",
                needs=(),
                recipe=lambda: source.recipe(name, definition, self.commit(name)),
                maker=make_source,
            ),
            Step(
                name=built,
                doc=f"build the .debs of {name}",
                needs=(exported, root),
                recipe=lambda: debs.recipe(name, definition, self._keys(exported, root)),
                maker=make_debs,
            ),
        ]
        return [*steps, self._lint_step(name)] if definition.lint else steps

    def _lint_step(self, name: str) -> Step:
        built, root = f"debs:{name}", "base:chroot"
        return Step(
            name=f"lint:{name}",
            doc=f"check the packages of {name} with lintian",
            needs=(built, root),
            recipe=lambda: debs.lint_recipe(name, self.recipe(built).key, self.recipe(root).key),
            maker=lambda draft: debs.make_lint({"debs": self.output(built), "chroot": self.output(root)}, draft),
        )

    def _image_step(self, name: str) -> Step:
        own_sources = list(self.settings.images[name].debs)
        built = [f"debs:{source_name}" for source_name in own_sources]

        def upstream() -> dict[str, str]:
            folder = self._image_folder(name)
            own = {"folder": folder.content, "epoch": str(self._image_epoch(name))}
            return {**own, **self._keys("base:image", *built)}

        def make(draft: Draft) -> None:
            inputs = images.ImageInputs(
                context=self._export_folder(name, draft),
                debs={source_name: self.output(f"debs:{source_name}") for source_name in own_sources},
                base=self.output("base:image"),
                epoch=self._image_epoch(name),
                revision=self.commit(own_sources[0]).shipped_sha,
                origin=self.commit(own_sources[0]).origin,
            )
            images.make_image(self.settings, name, inputs, draft)
            image = draft.facts
            self.engine.take(image["digest"], tuple(image["tags"]), draft.log)

        return Step(
            name=f"images:{name}",
            doc=f"bake the {name} image",
            needs=("base:image", *built),
            recipe=lambda: images.recipe(self.settings, name, upstream()),
            maker=make,
            present=lambda output: self.engine.has_image(output.manifest.facts["digest"]),
        )

    def _network_step(self) -> Step:
        roles = tuple(f"images:{name}" for name in self.settings.images)
        return Step(
            name="network_test",
            doc="link the containers on one network and let a job go through them",
            needs=roles,
            recipe=lambda: network_test.recipe(self.settings, self.engine.name, self._keys(*roles)),
            maker=lambda draft: network_test.make_network_test(
                self.settings, self.engine, [self.output(role) for role in roles], draft
            ),
        )

    def _keys(self, *names: str) -> dict[str, str]:
        return {name: self.recipe(name).key for name in names}

    def _image_folder(self, name: str) -> Commit:
        """The image's folder as a source of its own: what is baked is what is committed, not what lies about."""
        key = f"image {name}"
        if key not in self._commits:
            self._commits[key] = source.resolve_folder(self.settings, self.settings.images[name].folder)
        return self._commits[key]

    def _image_epoch(self, name: str) -> int:
        """The latest time of all that goes in (decision 4)."""
        commits = [self.commit(source_name) for source_name in self.settings.images[name].debs]
        return max(commit.epoch for commit in [self._image_folder(name), *commits])

    def _export_folder(self, name: str, draft: Draft) -> Path:
        tarball = draft.folder / "context.tar"
        argv = source.export_command(self._image_folder(name), [self.settings.images[name].folder], tarball)
        command.run(Command(argv=argv, error=BakeError, log=draft.log))
        return tarball
