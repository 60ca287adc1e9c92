"""Plans that bring their own images: a container is completed when its image has come.

An image's defaults (command, environment, volumes, health check) are part of what a
container needs. A plan that pulls an image, or builds it, has containers that are planned
without them, and that are completed when they are created: nobody waits for the images of
others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from stackctl.scheduler.executor import Engine
from stackctl.scheduler.ops import BuildImage, CreateContainer, Op, Plan, PullImage, RunInit

if TYPE_CHECKING:
    from stackctl.daemon.projects import Project, Projects


class LateImages:
    """Implements scheduler.executor.Engine around the real one, for one plan of a project.

    `on_complete` is called when the plan's last image has come (at once if it brings none).
    """

    def __init__(
        self,
        engine: Engine,
        projects: Projects,
        project: Project,
        plan: Plan,
        on_complete: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._projects = projects
        self._project = project
        self._on_complete = on_complete
        #: References that are still to come.
        self._coming = {
            s.op.reference for s in plan.steps if isinstance(s.op, PullImage | BuildImage)
        }
        self._brought = frozenset(self._coming)
        stack = project.stack
        self._late = {n for n, s in stack.services.items() if stack.reference(s) in self._coming}
        if not self._coming:
            on_complete()

    async def perform(self, op: Op) -> str | None:
        """As the engine does, once the operation is complete."""
        if isinstance(op, PullImage | BuildImage):
            try:
                return await self._engine.perform(op)
            finally:
                self._coming.discard(op.reference)
                if not self._coming:
                    self._on_complete()
        if isinstance(op, CreateContainer) and self._is_late(op):
            op = replace(op, config=await self._projects.completed(self._project, op.config))
        if isinstance(op, RunInit) and self._has_come(op.config.image):
            config = await self._projects.completed_init(self._project, op.config)
            op = replace(op, config=config)
        return await self._engine.perform(op)

    def _has_come(self, image: str) -> bool:
        return self._project.stack.pins.get(image, image) in self._brought

    def _is_late(self, op: CreateContainer) -> bool:
        # A one-off has been made for an image that was here already.
        return op.config.service in self._late and not op.config.oneoff
