"""A spawner for tests of the pages: it tells a start's story as gpubox does, with no GPU to wait for.

What it says and when it goes on stands in files of the directory ``$GATES``, which the test writes.
"""

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner, SpawnException

from gpubox.engines import KeptMachine
from gpubox.form import Card, Choice, render_options_form
from gpubox.progress import StartStory

GATES = Path(os.environ.get("GATES", "."))
REASON = 'No <b>H100</b> "here" (1 < 2): choose another machine.'


KEPT = KeptMachine("0123456789abcdef", "una", "", "free", "gpubox/cpu:latest", 1e9, 1e9, 3 * 10**9, True)


def machine_cards():
    figures = json.loads((GATES / "figures").read_text())
    return (
        Card("free", "CPU", spec_lines=("4 CPUs",), has_gpu=False, persistent=True),
        Card("line", "1x H100", total=1, in_use=1, price_per_hour=2.5, **figures),
        Card("broken", "4x H100", total=1, free=1),
        Card("closed", "8x H100", disabled_reason="For members of: vision-lab"),
    )


class GatedSpawner(SimpleLocalProcessSpawner):
    cmd = [sys.executable, str(Path(__file__).parent / "stand_in_server.py")]
    home_dir_template = str(GATES / "home" / "{username}")
    apply_user_options = staticmethod(lambda spawner, options: None)
    _story = None

    @property
    def story(self):
        self._story = self._story or StartStory()
        return self._story

    @property
    def machine(self):
        return next((card for card in machine_cards() if card.name == self.user_options.get("machine")), None)

    @staticmethod
    async def options_form(spawner):
        kept = [KEPT] if spawner.user.name == "una" else []
        name = spawner.user.name
        lab = Choice(f"{name}/lab:1", "lab, version 1", note="", facts="", mine=True)
        disk = replace(lab, reference=f"{name}/disk:1", title="disk, version 1", engine="libvirt")
        shown = machine_cards()
        if name == "vera":  # of virtual machines, too
            shown += (Card("vm", "A machine", has_gpu=False, persistent=True, engine="libvirt"),)
            kept = [replace(KEPT, user="vera", engine="libvirt")]
        templates = {"una": [lab], "vera": [lab, disk]}.get(name, [])
        return render_options_form(
            shown, images=[], currency="$", selected="", kept=kept, templates=templates
        )

    @staticmethod
    def options_from_form(form):
        return {name: value[0] for name, value in form.items() if name in ("machine", "fresh", "template")}

    async def run_pre_spawn_hook(self):
        self._story = StartStory()
        wanted = self.user_options.get("machine")
        if wanted == "broken":
            raise SpawnException(REASON, reason="no_such_gpu", status_code=503)
        if wanted == "line":
            self.story.tell("waiting", 10, "2nd in line, about 14 minutes", place=2, waiting=3)
            while not (GATES / f"open-{self.user.name}").exists():
                if (GATES / f"fail-{self.user.name}").exists():
                    raise SpawnException(REASON, reason="no_such_gpu", status_code=503)
                await asyncio.sleep(0.05)
        self.story.tell("leased", 20, "It is yours; starting it")

    async def progress(self):
        async for event in self.story.events():
            yield event
