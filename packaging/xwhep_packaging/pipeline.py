"""The data flow: what each step needs, what decides it, how it is made. Knows no doit; tasks.py puts it on a list.

    source:NAME ──> debs:NAME ──> lint:NAME ──────────────────────┐
    base:chroot ──────┘│                                          ├──> the verdict
    base:rootfs ──> base:image ──> images:ROLE ──> network_test ──┘
                                        │
    deployments/NAME ──> conf:ROLE ──> bound:ROLE        where a deployment is configured; private

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
from xwhep_packaging.definitions import DebianSource, StdebSource, own_packages
from xwhep_packaging.deployment import folder as deployments
from xwhep_packaging.deployment.records import ROLES, Deployment
from xwhep_packaging.errors import BakeError, DeploymentError, PipelineError, SourceError
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import base, bound, conf, images, network_test, sdist, source
from xwhep_packaging.stages.debs import build, control, lint
from xwhep_packaging.store import Draft, Recipe, Store

TOOLS = ("mmdebstrap", "buildah", "dpkg")
CHROOT = "base:chroot"


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
        self.bound_images = self._bound_images()
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
            definition = self.settings.sources[name]
            stage = sdist if isinstance(definition, StdebSource) and definition.sdist else source
            self._commits[name] = stage.resolve(self.settings, self.store, name)
        return self._commits[name]

    def _all_steps(self) -> list[Step]:
        roots = [self._root_step("chroot"), self._root_step("rootfs")]
        sources = [step for name in self.settings.sources for step in self._source_steps(name)]
        extras = [self._extra_step(name) for name, image in self.settings.images.items() if image.packages]
        roles = [self._image_step(name) for name in self.settings.images]
        private = [step for name, role in self.bound_images.items() for step in self._private_steps(name, role)]
        return [*sources, *roots, *extras, self._base_image_step(), *roles, *private, self._network_step()]

    def _extra_step(self, name: str) -> Step:
        wanted = self.settings.images[name].packages
        return Step(
            name=f"base:packages-{name}",
            doc=f"the Debian packages that the {name} image has beside the base",
            needs=("base:rootfs",),
            recipe=lambda: base.extra_recipe(name, self.recipe("base:rootfs").key, wanted, self.tools),
            maker=lambda draft: base.make_extra(self.settings, self.output("base:rootfs"), wanted, draft),
        )

    def _root_step(self, kind: str) -> Step:
        return Step(
            name=f"base:{kind}",
            doc={"chroot": "the root file system that builds run in", "rootfs": "the one that images share"}[kind],
            needs=(),
            recipe=lambda: base.recipe(self.settings, kind, self.tools),
            maker=lambda draft: base.make_base(self.settings, kind, draft),
        )

    def _bound_images(self) -> dict[str, str]:
        """Image -> the role whose conf package it takes; empty where no deployment is configured."""
        settings = self.settings
        if not settings.deployment.name and not deployments.names(settings.deployments_folder):
            return {}
        packages = {name: {p for some in image.debs.values() for p in some} for name, image in settings.images.items()}
        return {name: role for name, some in packages.items() for role in ROLES if f"xwhep-{role}" in some}

    @cached_property
    def deployment(self) -> Deployment:
        """The one that this run binds to.

        Raises:
            DeploymentError: it is damaged, or one of several and nobody says which.
        """
        found = deployments.names(self.settings.deployments_folder)
        if not self.settings.deployment.name and len(found) > 1:
            raise DeploymentError(
                "there are several deployments",
                cause=", ".join(found),
                next_step="say which: XWHEP_DEPLOYMENT=NAME, or [deployment] name in the pipeline file",
            )
        return deployments.read(self.settings.deployments_folder, self.settings.deployment.name or found[0])

    def _private_steps(self, name: str, role: str) -> list[Step]:
        packaged, role_image = f"conf:{role}", f"images:{name}"

        def bake(draft: Draft) -> None:
            bound.make_bound(self.settings, self.output(role_image), self.output(packaged), draft)
            self.engine.take(draft.facts["digest"], tuple(draft.facts["tags"]), draft.log)

        return [
            Step(
                name=packaged,
                doc=f"the private package that binds a {role} to the deployment",
                needs=(),
                recipe=lambda: conf.recipe(self.settings, self.deployment, role, self.tools["dpkg"]),
                maker=lambda draft: conf.make_conf(self.settings, self.deployment, role, draft),
            ),
            Step(
                name=f"bound:{name}",
                doc=f"bake the {name} image of the deployment, private",
                needs=(role_image, packaged),
                recipe=lambda: bound.recipe(self.settings, name, self._keys(role_image, packaged)),
                maker=bake,
                present=self._has_image,
            ),
        ]

    def _has_image(self, output: Output) -> bool:
        return self.engine.has_image(output.manifest.facts["digest"], tuple(output.manifest.facts["tags"]))

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
        exported, built, root = f"source:{name}", f"debs:{name}", self._chroot_of(name)
        archive = isinstance(definition, StdebSource) and definition.sdist

        def source_recipe() -> Recipe:
            commit = self.commit(name)
            return sdist.recipe(name, commit) if archive else source.recipe(name, definition, commit)

        def make_source(draft: Draft) -> None:
            if archive:
                sdist.make_source(self.commit(name), draft)
            else:
                source.make_source(self.store, self.commit(name), definition, draft)

        steps = [
            Step(
                name=exported,
                doc=f"export what ships of {name}",
                needs=(),
                recipe=source_recipe,
                maker=make_source,
            ),
            *([] if root == CHROOT else [self._own_chroot_step(name)]),
            Step(
                name=built,
                doc=f"build the .debs of {name}",
                needs=(exported, root),
                recipe=lambda: self._debs_recipe(name),
                maker=lambda draft: self._make_debs(name, draft),
            ),
        ]
        return [*steps, self._lint_step(name)] if definition.lint else steps

    def _debs_recipe(self, name: str) -> Recipe:
        overlay = self._overlay(name)
        upstream = self._keys(f"source:{name}", self._chroot_of(name))
        if overlay:
            upstream |= {"overlay": overlay.content, "overlay epoch": str(overlay.epoch)}
        return build.recipe(name, self.settings.sources[name], self.settings.product.maintainer, upstream)

    def _make_debs(self, name: str, draft: Draft) -> None:
        overlay, tarball = self._overlay(name), draft.folder / "overlay.tar"
        definition = self.settings.sources[name]
        if overlay and isinstance(definition, StdebSource):
            argv = source.export_command(overlay, [definition.overlay], tarball)
            command.run(Command(argv=argv, error=SourceError, log=draft.log))
        inputs = build.Inputs(
            source=self.output(f"source:{name}"),
            chroot=self.output(self._chroot_of(name)),
            overlay=tarball if overlay else None,
            overlay_epoch=overlay.epoch if overlay else 0,
        )
        build.make_debs(self.settings, self.commit(name), inputs, draft)
        tarball.unlink(missing_ok=True)

    def _overlay(self, name: str) -> Commit | None:
        definition = self.settings.sources[name]
        if not isinstance(definition, StdebSource) or not definition.overlay:
            return None
        return self._folder(definition.overlay)

    def _chroot_of(self, name: str) -> str:
        """The step that makes the root file system in which a source is built: its own when it may need more."""
        definition = self.settings.sources[name]
        enough = set(own_packages(definition)) <= set(self.settings.chroot.packages)
        return CHROOT if enough and not isinstance(definition, DebianSource) else f"{CHROOT}-{name}"

    def _own_chroot_step(self, name: str) -> Step:
        def recipe() -> Recipe:
            more = self._additions(name)
            shared = self.recipe(CHROOT)
            return base.derived_recipe(shared.key, more, self.tools) if more.any else shared

        return Step(
            name=f"{CHROOT}-{name}",
            doc=f"the one that builds of {name} run in: the shared one and what its Build-Depends name besides",
            needs=(CHROOT,),
            recipe=recipe,
            maker=lambda draft: base.make_derived(self.settings, self.output(CHROOT), self._additions(name), draft),
        )

    def _additions(self, name: str) -> base.Additions:
        """What the chroot of a source needs beyond the shared one."""
        definition = self.settings.sources[name]
        present = {*self.settings.chroot.packages, *own_packages(definition)}
        clauses: list[str] = []
        if isinstance(definition, DebianSource):
            path = "/".join(part for part in (definition.subfolder.strip("/"), "debian/control") if part)
            text = source.read_file(self.commit(name), path)
            conditions = control.Conditions(
                architecture=self.settings.suite.architecture, profiles=frozenset(definition.profiles)
            )
            clauses = control.beyond(
                control.all_build_dependencies(text, conditions, f"debian/control of {name!r}"), present
            )
        packages = sorted(set(own_packages(definition)) - set(self.settings.chroot.packages))
        return base.Additions(packages=tuple(packages), clauses=tuple(clauses))

    def _lint_step(self, name: str) -> Step:
        built = f"debs:{name}"
        return Step(
            name=f"lint:{name}",
            doc=f"check the packages of {name} with lintian",
            needs=(built, CHROOT),
            recipe=lambda: lint.recipe(name, self._keys(built, CHROOT), build.code()),
            maker=lambda draft: lint.make_lint({"debs": self.output(built), "chroot": self.output(CHROOT)}, draft),
        )

    def _image_step(self, name: str) -> Step:
        own_sources = list(self.settings.images[name].debs)
        built = [f"debs:{source_name}" for source_name in own_sources]

        extra = [f"base:packages-{name}"] if self.settings.images[name].packages else []

        def upstream() -> dict[str, str]:
            folder = self._image_folder(name)
            own = {"folder": folder.content if folder else "", "epoch": str(self._image_epoch(name))}
            if name in self.bound_images:
                own["dated name"] = "the bound image's"
            return {**own, **self._keys("base:image", *extra, *built)}

        def make(draft: Draft) -> None:
            inputs = images.ImageInputs(
                context=self._export_folder(name, draft),
                debs={source_name: self.output(f"debs:{source_name}") for source_name in own_sources},
                base=self.output("base:image"),
                epoch=self._image_epoch(name),
                revision=self.commit(own_sources[0]).shipped_sha,
                origin=self.commit(own_sources[0]).origin,
                extra=self.output(extra[0]) if extra else None,
                bound=name in self.bound_images,
            )
            images.make_image(self.settings, name, inputs, draft)
            image = draft.facts
            self.engine.take(image["digest"], tuple(image["tags"]), draft.log)

        return Step(
            name=f"images:{name}",
            doc=f"bake the {name} image",
            needs=("base:image", *extra, *built),
            recipe=lambda: images.recipe(self.settings, name, upstream()),
            maker=make,
            present=self._has_image,
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

    def _image_folder(self, name: str) -> Commit | None:
        """The image's folder as a source of its own: what is baked is what is committed, not what lies about."""
        folder = self.settings.images[name].folder
        return self._folder(folder) if folder else None

    def _folder(self, path: str) -> Commit:
        """The last commit of a folder of the pipeline file's repository."""
        key = f"folder {path}"
        if key not in self._commits:
            self._commits[key] = source.resolve_folder(self.settings, path)
        return self._commits[key]

    def _image_epoch(self, name: str) -> int:
        """The latest time of all that goes in (decision 4)."""
        sources = self.settings.images[name].debs
        commits = [self.commit(source_name) for source_name in sources]
        folders = [self._image_folder(name), *(self._overlay(source_name) for source_name in sources)]
        return max(commit.epoch for commit in [*commits, *folders] if commit)

    def _export_folder(self, name: str, draft: Draft) -> Path | None:
        """A tar of the image's folder as committed; None when it has none."""
        folder = self._image_folder(name)
        if folder is None:
            return None
        tarball = draft.folder / "context.tar"
        argv = source.export_command(folder, [self.settings.images[name].folder], tarball)
        command.run(Command(argv=argv, error=BakeError, log=draft.log))
        return tarball
