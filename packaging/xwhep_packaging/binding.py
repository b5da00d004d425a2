"""What binds packages and images to one deployment: private, and made only where one is configured.

deployments/NAME ──> conf:ROLE ──┐
                   images:ROLE ──┴──> bound:ROLE
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

from xwhep_packaging.artefacts import Output
from xwhep_packaging.deployment import folder as deployments
from xwhep_packaging.deployment.records import ROLES, Deployment
from xwhep_packaging.engines import Engine
from xwhep_packaging.errors import DeploymentError
from xwhep_packaging.settings import Settings
from xwhep_packaging.step import Step
from xwhep_packaging.store import Draft


class Around(Protocol):
    """What is asked of the pipeline."""

    @property
    def engine(self) -> Engine: ...

    def output(self, name: str) -> Output: ...

    def keys(self, *names: str) -> dict[str, str]: ...

    def has_image(self, output: Output) -> bool: ...


class Binding:
    """The deployment of one pipeline file, if there is one."""

    def __init__(self, settings: Settings, around: Around) -> None:
        self._settings = settings
        self._around = around
        self._known = deployments.names(settings.deployments_folder)
        self.images = self._bound_images()

    def made_meanwhile(self) -> list[str]:
        """Deployments that were configured after this run had listed its steps: nothing of it is bound to them."""
        return [name for name in deployments.names(self._settings.deployments_folder) if name not in self._known]

    def _bound_images(self) -> dict[str, str]:
        """Image -> the role whose conf package it takes; empty where no deployment is configured."""
        settings = self._settings
        if not settings.deployment.name and not self._known:
            return {}
        held = {name: {p for some in image.debs.values() for p in some} for name, image in settings.images.items()}
        return {name: role for name, some in held.items() for role in ROLES if f"xwhep-{role}" in some}

    @cached_property
    def deployment(self) -> Deployment:
        """The one that this run binds to.

        Raises:
            DeploymentError: it is damaged, or one of several and nobody says which.
        """
        found = deployments.names(self._settings.deployments_folder)
        if not self._settings.deployment.name and len(found) > 1:
            raise DeploymentError(
                "there are several deployments",
                cause=", ".join(found),
                next_step="say which: XWHEP_DEPLOYMENT=NAME, or [deployment] name in the pipeline file",
            )
        return deployments.read(self._settings.deployments_folder, self._settings.deployment.name or found[0])

    def steps(self) -> list[Step]:
        return [step for name, role in self.images.items() for step in (self._conf_step(role), self._bound_step(name))]

    def _conf_step(self, role: str) -> Step:
        from xwhep_packaging.stages import conf

        return Step(
            name=f"conf:{role}",
            doc=f"the private package that binds a {role} to the deployment",
            needs=(),
            recipe=lambda: conf.recipe(self._settings, self.deployment, role),
            maker=lambda draft: conf.make_conf(self._settings, self.deployment, role, draft),
        )

    def _bound_step(self, name: str) -> Step:
        from xwhep_packaging.stages import bound

        packaged, role_image, around = f"conf:{self.images[name]}", f"images:{name}", self._around

        def bake(draft: Draft) -> None:
            bound.make_bound(self._settings, around.output(role_image), around.output(packaged), draft)
            facts: dict[str, Any] = draft.facts
            around.engine.take(facts["digest"], tuple(facts["tags"]), draft.log)

        return Step(
            name=f"bound:{name}",
            doc=f"bake the {name} image of the deployment, private",
            needs=(role_image, packaged),
            recipe=lambda: bound.recipe(self._settings, name, around.keys(role_image, packaged)),
            maker=bake,
            present=around.has_image,
        )
