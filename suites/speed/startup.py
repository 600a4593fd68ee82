"""How long one waits for the program to begin."""

from __future__ import annotations

import subprocess
import sys

from .commit import offered
from .paired import Ratios, ratio

_PROGRAMS = {"import": "import rbobench", "help": "from rbobench.cli import main; main(['--help'])"}


class Startup:
    """`import rbobench` and `rbobench --help` as multiples of Python's own start."""

    params = (("import", "help"),)
    param_names = ("program",)
    unit = "starts of Python"
    version = "1"
    timeout = 300

    def setup(self, program: str) -> None:
        """Skip on commits without a command line."""
        offered("rbobench")
        if program == "help":
            offered("rbobench.cli", "main")

    def track_time(self, program: str) -> Ratios:
        """The multiple."""
        return ratio(lambda: _run(_PROGRAMS[program]), lambda: _run("pass"), rounds=15)


def _run(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)
