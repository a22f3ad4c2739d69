"""What an engine adds to `gpubox.spawner.GPUSpawner`: all that it asks of one, with what most answer."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC
from types import SimpleNamespace
from typing import TYPE_CHECKING

from traitlets.config import Config, LoggingConfigurable

from . import Box, EngineError, KeptMachine

if TYPE_CHECKING:
    from typing import Self

    from jupyterhub.spawner import Spawner as StockSpawner

    from ..machine_templates.storage import TemplateStorage
    from ..machines import MachineType
else:
    StockSpawner = LoggingConfigurable


class EngineHooks(StockSpawner):
    """One engine's part of a server. A plain mixin, as `GPUSpawner` is."""

    # --- for the whole hub -------------------------------------------------------------------------

    @classmethod
    def check_installed(cls) -> None:
        """Raise ImportError where something that the engine needs is not installed."""

    @classmethod
    def for_reconciliation(cls, config: Config) -> Self:
        """An instance of nobody's, for questions about all of the hub's boxes."""
        # Some of DockerSpawner's options make it look at the user's name as soon as they are set.
        return cls(user=SimpleNamespace(name="nobody"), config=config)

    @classmethod
    def template_storage(cls, config: Config, hub_id: str) -> TemplateStorage | None:
        """What makes templates of this engine's servers; None where nothing can."""
        return None

    @classmethod
    def base_image(cls, config: Config) -> str:
        """The image that machines start from by default; empty where they start from none."""
        return ""

    async def boxes(self, hub_id: str) -> list[Box]:
        """All boxes of the hub of that id, by the engine's word. Raises EngineError."""
        raise NotImplementedError

    async def stop_box(self, box: Box) -> None:
        """Stop a box that no server claims. Raises EngineError."""
        raise NotImplementedError

    async def look_after(self, boxes: Collection[Box]) -> None:
        """See to what these boxes, all of the hub's, need beside them; trouble is logged, not raised."""

    # --- a start and a stop ----------------------------------------------------------------------------

    async def image_contents(self, machine: MachineType) -> str:
        """What is in the image of the machine type, in words; empty where the engine cannot tell."""
        return ""

    def image_choices(self) -> list[str]:
        """Images that the user may choose from, beside the machine type's own."""
        return []

    async def check_can_run(self, machine: MachineType) -> None:
        """Raise SpawnException where a machine of this type can never start (image missing, ...)."""

    async def check_gpus(self) -> None:
        """Make sure that the started server has its GPUs. Raises SpawnException if not."""

    @property
    def box_id(self) -> str:
        """What the engine calls the running server; empty where that is of no use to templates."""
        return ""

    async def confirm_stopped(self) -> bool:
        """Whether the engine says that this server does not run. Raises EngineError if it won't say."""
        raise NotImplementedError

    async def abandon(self) -> None:
        """Stop and remove whatever an unfinished start has made. Raises EngineError."""
        if await self.poll() is None:
            await self.stop(now=True)

    async def last_words(self) -> str:
        """The end of the server's log as a sentence, for a start that failed; may be empty."""
        return ""

    def explain_failure(self, error: Exception) -> str | None:
        """A sentence for the user about an engine's error; None to leave it as it is."""
        return str(error) if isinstance(error, EngineError) else None

    # --- machines that are kept ------------------------------------------------------------------------

    async def resume(self, machine: MachineType) -> bool:
        """Whether this start goes on with a machine that was kept. Raises SpawnException where it cannot."""
        return False

    def gives_up(self, kept_id: str) -> bool:
        """Whether the user wants what is kept, of that id, deleted, to start afresh."""
        # By its id: options are kept for the next start, which must not delete what was left since.
        wanted = self.user_options.get("fresh") or ""
        wanted = str(wanted[0] if isinstance(wanted, list) else wanted)
        return len(wanted) >= 12 and kept_id.startswith(wanted)

    def is_somebody_elses(self, made_at: float) -> bool:
        """Whether what was made then (seconds since the epoch) is of an earlier account of that name."""
        return made_at < float(self.user.orm_user.created.replace(tzinfo=UTC).timestamp())

    @property
    def server_words(self) -> str:
        """The server as the command line takes it: ``ada``, or ``ada/server``."""
        return f"{self.user.name}/{self.name}" if self.name else str(self.user.name)

    async def has_kept(self) -> bool:
        """Whether something of this server outlives its starts, running or not. Raises EngineError."""
        return False

    async def kept_machine(self) -> KeptMachine | None:
        """What the next start of this server goes on with; None where there is nothing."""
        return None

    async def kept_machines(self, hub_id: str) -> list[KeptMachine]:
        """All machines that the hub of that id keeps. Raises EngineError."""
        return []

    async def remove_kept(self, machine: KeptMachine) -> None:
        """Delete a machine that is kept. Raises EngineError."""
        raise NotImplementedError
