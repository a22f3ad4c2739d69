"""Terminals that are forgotten end; one that runs something does not, whether it prints or not.

The image names the class and the time in its jupyter_server_config.json; without it Jupyter ends no terminal.
"""

from __future__ import annotations

from pathlib import Path

from jupyter_server_terminals.terminalmanager import TerminalManager


class PatientTerminalManager(TerminalManager):
    """Jupyter's own, whose ``cull_inactive_timeout`` spares a terminal whose shell has a program running."""

    # jupyter_server_terminals 0.5 has no hook for it: this is what its culler calls for each terminal.
    async def _cull_inactive_terminal(self, name: str) -> None:
        if not self.runs_a_program(name):
            await super()._cull_inactive_terminal(name)

    def runs_a_program(self, name: str) -> bool:
        """Whether the shell of a terminal has a child: in the foreground, or in the background."""
        terminal = self.terminals.get(name)
        pid = getattr(getattr(terminal, "ptyproc", None), "pid", None)
        try:
            return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())
        except OSError:
            return False
