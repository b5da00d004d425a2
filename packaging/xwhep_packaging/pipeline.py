"""The data flow: what each step needs, what decides it, how it is made. Knows no doit; tasks/ puts it on a list.

                           source:NAME ──> debs:NAME ──> lint:NAME ──────────┐
    packages:chroot ──> base:chroot ──────────┘│                             ├──> the verdict
    packages:rootfs ──> base:rootfs ──> base:image ──> images:ROLE ──> network_test
                                                          │      └──> endurance, when it is asked for
                        deployments/NAME ──> conf:ROLE ──> bound:ROLE    where a deployment is configured; private

Keys are computed from inputs alone, so what would run is known before anything runs.
"""

from __future__ import annotations

import time
from functools import cached_property, partial
from pathlib import Path

from xwhep_packaging import engines, sources, toolset, weakness
from xwhep_packaging.artefacts import Commit, Output
from xwhep_packaging.binding import Binding
from xwhep_packaging.definitions import DebianSource, StdebSource, own_packages
from xwhep_packaging.errors import PipelineError
from xwhep_packaging.git_answers import Answers
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import base, images, network_test, packages, source
from xwhep_packaging.stages.debs import build, control, lint
from xwhep_packaging.step import Step
from xwhep_packaging.store import Draft, Recipe, Store
from xwhep_packaging.supply import Around, Supply

CHROOT = "base:chroot"


class Pipeline:
    """The steps of one pipeline file. Nothing is asked of git, dpkg or an engine before a step is."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        memory = partial(store.scratch, "lock")
        around = Around(recipe=self.recipe, find=store.find, additions=self._additions, memory=memory)
        self.supply = Supply(settings, around)
        self.binding = Binding(settings, self)
        self.steps = {step.name: step for step in self._all_steps()}
        self._recipes: dict[str, Recipe] = {}
        self._commits: dict[str, Commit] = {}
        self._more: dict[str, base.Additions] = {}
        self.seconds: dict[str, float] = {}  # what this run made, and how long each took

    @cached_property
    def engine(self) -> engines.Engine:
        return engines.choose(self.settings, self.store.scratch("engine"))

    @cached_property
    def answers(self) -> Answers:
        return Answers(self.store.scratch("git") / "answers.json")

    @cached_property
    def tools(self) -> dict[str, str]:
        """Versions of the tools that decide bytes."""
        return toolset.versions(self.store.scratch("tools") / "versions.json")

    def recipe(self, name: str) -> Recipe:
        """What decides a step: what its stage says, and the versions of the tools that make it."""
        known = self._recipes.get(name)
        if known is None:
            step = self.steps[name]
            strong = toolset.with_tools(step.recipe(), lambda: self.tools)
            known = self._recipes[name] = weakness.keyed(self.store, step, strong)
        return known

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
        recipe = self.recipe(name)
        told = weakness.Told(maker=step.maker, recipe=recipe, needs=lambda: [self.output(need) for need in step.needs])
        output = self.store.make(recipe, told, step.present)
        if name.startswith("packages:"):
            self._recipes.clear()  # which packages a root gets is known for certain only now
        self.seconds[name] = time.monotonic() - started
        self.store.remember_seconds(name, output.manifest.key, self.seconds[name])
        return output

    def output(self, name: str) -> Output:
        """The output of a step that was made before."""
        found = self.store.find(self.recipe(name))
        if found is None:
            raise PipelineError(f"{name} is not made, though it was a moment ago", next_step="scripts/doit build")
        return found

    def ends(self) -> list[str]:
        """The steps that nothing of a build waits for: with them, all of it is made. The longest chain comes first,
        so that its steps get the free cores."""
        return ["network_test", *(name for name in self.steps if name.startswith(("lint:", "bound:")))]

    def commit(self, name: str) -> Commit:
        """The commit of source `name`; resolved once a run: a commit made meanwhile changes nothing half-way."""
        if name not in self._commits:
            self._commits[name] = sources.commit(self.settings, self.store, name, self.answers)
        return self._commits[name]

    def _all_steps(self) -> list[Step]:
        roots = [step for kind in ("chroot", "rootfs") for step in self._root_steps(kind)]
        of_sources = [step for name in self.settings.sources for step in self._source_steps(name)]
        extras = [
            step for name, image in self.settings.images.items() if image.packages for step in self._extra_steps(name)
        ]
        roles = [self._image_step(name) for name in self.settings.images]
        return [
            *of_sources,
            *roots,
            *extras,
            self._base_image_step(),
            *roles,
            *self.binding.steps(),
            *self._network_steps(),
        ]

    def wishes(self) -> list[packages.Wish]:
        """What the lock has to answer."""
        return [self.supply.wish(name.partition(":")[2]) for name in self.steps if name.startswith("packages:")]

    def drifted(self, name: str) -> list[str]:
        """Why what went into a finished step is not what the lock says; empty when it is."""
        if name.startswith("packages:"):
            reason = str(self.output(name).manifest.facts["drifted"])
            return [reason] if reason else []
        return sorted({reason for need in self.steps[name].needs for reason in self.drifted(need)})

    def _extra_steps(self, name: str) -> list[Step]:
        wanted = f"image-{name}"
        return [
            self.supply.step(wanted, f"which packages the {name} image gets beside the base"),
            Step(
                name=f"base:packages-{name}",
                doc=f"the Debian packages that the {name} image has beside the base",
                needs=(f"packages:{wanted}",),
                recipe=lambda: base.extra_recipe(name, self.supply.digest(wanted)),
                maker=lambda draft: base.make_extra(self.settings, self.supply.full(wanted, draft), draft),
            ),
        ]

    def _root_steps(self, kind: str) -> list[Step]:
        docs = {"chroot": "the root file system that builds run in", "rootfs": "the one that images share"}
        return [
            self.supply.step(kind, f"which packages {docs[kind]} gets"),
            Step(
                name=f"base:{kind}",
                doc=docs[kind],
                needs=(f"packages:{kind}",),
                recipe=lambda: base.recipe(self.settings, kind, self.supply.digest(kind)),
                maker=lambda draft: base.make_base(self.settings, kind, self.supply.full(kind, draft), draft),
            ),
        ]

    def has_image(self, output: Output) -> bool:
        """Whether the engine still has a baked image under its names."""
        return self.engine.has_image(output.manifest.facts["digest"], tuple(output.manifest.facts["tags"]))

    def _base_image_step(self) -> Step:
        return Step(
            name="base:image",
            doc="the shared base layer, in the image storage",
            needs=("base:rootfs",),
            recipe=lambda: images.base_recipe(self.recipe("base:rootfs").key),
            maker=lambda draft: images.make_base_image(self.settings, self.output("base:rootfs"), draft),
            present=lambda output: engines.is_stored(output.manifest.facts["digest"], output.manifest.facts["tags"]),
        )

    def _source_steps(self, name: str) -> list[Step]:
        definition = self.settings.sources[name]
        exported, built, root = f"source:{name}", f"debs:{name}", self._chroot_of(name)
        steps = [
            Step(
                name=exported,
                doc=f"export what ships of {name}",
                needs=(),
                recipe=lambda: sources.recipe(name, definition, self.commit(name)),
                maker=lambda draft: sources.make(self.store, self.commit(name), definition, draft),
            ),
            *([] if root == CHROOT else self._own_chroot_steps(name)),
            Step(
                name=built,
                doc=f"build the .debs of {name}",
                needs=(exported, root),
                recipe=lambda: self._debs_recipe(name),
                maker=lambda draft: self._make_debs(name, draft),
            ),
        ]
        return (
            [*steps, self._lint_step(name, lint.QUICK), self._lint_step(name, lint.STRICT)]
            if definition.lint
            else steps
        )

    def _debs_recipe(self, name: str) -> Recipe:
        overlay = self._overlay(name)
        upstream = self.keys(f"source:{name}", self._chroot_of(name))
        if overlay:
            upstream |= {"overlay": overlay.content, "overlay epoch": str(overlay.epoch)}
        return build.recipe(name, self.settings.sources[name], self.settings.product.maintainer, upstream)

    def _make_debs(self, name: str, draft: Draft) -> None:
        overlay, tarball = self._overlay(name), draft.folder / "overlay.tar"
        definition = self.settings.sources[name]
        if overlay and isinstance(definition, StdebSource):
            source.export(overlay, [definition.overlay], tarball, draft.log)
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

    def _own_chroot_steps(self, name: str) -> list[Step]:
        wanted = f"chroot-{name}"

        def recipe() -> Recipe:
            more = self._additions(name)
            shared = self.recipe(CHROOT)
            return base.derived_recipe(shared.key, more, self.supply.digest(wanted)) if more.any else shared

        def make(draft: Draft) -> None:
            inputs = base.Derived(
                shared=self.output(CHROOT),
                beside=self.supply.output("chroot"),
                packages=self.supply.full(wanted, draft),
                more=self._additions(name),
            )
            base.make_derived(self.settings, inputs, draft)

        return [
            self.supply.step(wanted, f"which packages builds of {name} need beside the chroot's"),
            Step(
                name=f"{CHROOT}-{name}",
                doc=f"the one that builds of {name} run in: the shared one and what its Build-Depends name besides",
                needs=(CHROOT, f"packages:{wanted}"),
                recipe=recipe,
                maker=make,
            ),
        ]

    def _additions(self, name: str) -> base.Additions:
        """What the chroot of a source needs beyond the shared one; read from the commit once a run."""
        if name not in self._more:
            self._more[name] = self._read_additions(name)
        return self._more[name]

    def _read_additions(self, name: str) -> base.Additions:
        definition = self.settings.sources[name]
        present = {*self.settings.chroot.packages, *own_packages(definition)}
        clauses: list[str] = []
        if isinstance(definition, DebianSource):
            path = "/".join(part for part in (definition.subfolder.strip("/"), "debian/control") if part)
            text = source.read_file(self.commit(name), path, self.answers)
            conditions = control.Conditions(
                architecture=self.settings.suite.architecture, profiles=frozenset(definition.profiles)
            )
            clauses = control.beyond(
                control.all_build_dependencies(text, conditions, f"debian/control of {name!r}"), present
            )
        packages = sorted(set(own_packages(definition)) - set(self.settings.chroot.packages))
        return base.Additions(packages=tuple(packages), clauses=tuple(clauses))

    def _lint_step(self, name: str, strictness: lint.Strictness) -> Step:
        built = f"debs:{name}"

        def make(draft: Draft) -> None:
            lint.make_lint(strictness, {"debs": self.output(built), "chroot": self.output(CHROOT)}, draft)

        return Step(
            name=f"{strictness.stage}:{name}",
            doc=f"check the packages of {name} with lintian",
            needs=(built, CHROOT),
            recipe=lambda: lint.recipe(strictness, name, self.keys(built, CHROOT), build.code()),
            maker=make,
        )

    def _image_step(self, name: str) -> Step:
        own_sources = list(self.settings.images[name].debs)
        built = [f"debs:{source_name}" for source_name in own_sources]

        extra = [f"base:packages-{name}"] if self.settings.images[name].packages else []

        def upstream() -> dict[str, str]:
            folder = self._image_folder(name)
            own = {"folder": folder.content if folder else "", "epoch": str(self._image_epoch(name))}
            if name in self.binding.images:
                own["dated name"] = "the bound image's"
            return {**own, **self.keys("base:image", *extra, *built)}

        def origins() -> dict[str, str]:
            folder = self._image_folder(name)
            return {"folder": folder.listing} if folder else {}

        def make(draft: Draft) -> None:
            inputs = images.ImageInputs(
                context=self._export_folder(name, draft),
                debs={source_name: self.output(f"debs:{source_name}") for source_name in own_sources},
                base=self.output("base:image"),
                epoch=self._image_epoch(name),
                revision=self.commit(own_sources[0]).shipped_sha,
                origin=self.commit(own_sources[0]).origin,
                extra=self.output(extra[0]) if extra else None,
                bound=name in self.binding.images,
            )
            images.make_image(self.settings, name, inputs, draft)
            image = draft.facts
            self.engine.take(image["digest"], tuple(image["tags"]), draft.log)

        return Step(
            name=f"images:{name}",
            doc=f"bake the {name} image",
            needs=("base:image", *extra, *built),
            recipe=lambda: images.recipe(self.settings, name, upstream(), origins()),
            maker=make,
            present=self.has_image,
        )

    def _network_steps(self) -> list[Step]:
        """The verdict of every build and, when some tests are to run apart, those."""
        steps = [
            self._network_step(
                network_test.verdict_part(self.settings),
                "link the containers on one network and let a job go through them",
            )
        ]
        if self.settings.network_test.endurance:
            apart = network_test.endurance_part(self.settings)
            steps.append(self._network_step(apart, "the network test's longer part, which no build waits for"))
        return steps

    def _network_step(self, part: network_test.Part, doc: str) -> Step:
        roles = tuple(f"images:{name}" for name in self.settings.images)

        def make(draft: Draft) -> None:
            images = [self.output(role) for role in roles]
            trial = network_test.Trial(part=part, engine=self.engine, images=images)
            network_test.make_network_test(self.settings, trial, draft)

        return Step(
            name=part.stage,
            doc=doc,
            needs=roles,
            recipe=lambda: network_test.recipe(self.settings, part, self.engine.name, self.keys(*roles)),
            maker=make,
        )

    def keys(self, *names: str) -> dict[str, str]:
        return {name: self.recipe(name).key for name in names}

    def _image_folder(self, name: str) -> Commit | None:
        """The image's folder as a source of its own: what is baked is what is committed, not what lies about."""
        folder = self.settings.images[name].folder
        return self._folder(folder) if folder else None

    def _folder(self, path: str) -> Commit:
        """The last commit of a folder of the pipeline file's repository."""
        return source.resolve_folder(self.settings, path, self.answers)

    def _image_epoch(self, name: str) -> int:
        """The latest time of all that goes in (decision 4)."""
        sources = self.settings.images[name].debs
        commits = [self.commit(source_name) for source_name in sources]
        folders = [self._image_folder(name), *(self._overlay(source_name) for source_name in sources)]
        epochs = [commit.epoch for commit in [*commits, *folders] if commit]
        return max(*epochs, self.supply.epoch("rootfs"))

    def _export_folder(self, name: str, draft: Draft) -> Path | None:
        """A tar of the image's folder as committed; None when it has none."""
        folder = self._image_folder(name)
        if folder is None:
            return None
        tarball = draft.folder / "context.tar"
        source.export(folder, [self.settings.images[name].folder], tarball, draft.log)
        return tarball
