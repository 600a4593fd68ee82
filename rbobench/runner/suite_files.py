"""Where suite files are: those that packages ship, and a user's own.

A package ships suites by an entry point of the group `rbobench.suites` whose value is the package's name. It
is found without being imported, so that listing suites stays fast.
"""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import entry_points
from pathlib import Path

from rbobench.errors import UsageError, unknown

SUITE_GROUP = "rbobench.suites"


def find_suites() -> dict[str, Path]:
    """The shipped suites by name, sorted.

    Raises:
        UsageError: If two packages ship a suite of one name.
    """
    found: dict[str, Path] = {}
    for package in sorted({point.value for point in entry_points(group=SUITE_GROUP)}):
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).glob("*.yaml")):
                if path.stem in found:
                    raise UsageError(f"suite {path.stem!r} is shipped twice: {found[path.stem]} and {path}")
                found[path.stem] = path
    return dict(sorted(found.items()))


def suite_path(name_or_file: str | Path) -> Path:
    """The file of a suite that is named by file or, for a shipped one, by bare name; a file comes first.

    Raises:
        UsageError: If there is none.
    """
    path = Path(name_or_file)
    if path.is_file():
        return path
    name = str(name_or_file)
    if os.sep not in name and path.suffix not in (".yaml", ".yml"):
        shipped = find_suites()
        if name.lower() in shipped:
            return shipped[name.lower()]
        if not path.exists():
            raise unknown("suite", name, shipped)
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a suite file")
    raise UsageError(f"there is no suite file {path}")
