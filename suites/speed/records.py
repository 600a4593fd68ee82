"""Reading results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from .commit import offered
from .paired import Ratios, ratio
from .trial import run_tiny_suite

COUNT = 10_000


class Records:
    """Loading 10,000 records into a data frame as a multiple of only parsing their files."""

    unit = "times of parsing"
    version = "1"
    timeout = 600

    def setup_cache(self) -> str:
        """Run one trial, and write its record under 10,000 seeds, in a folder that asv removes."""
        try:
            offered("rbobench.analysis.results", "load_results")
            (original,) = run_tiny_suite(Path.cwd()).glob("*.json")
        except NotImplementedError:
            return ""
        folder = Path.cwd() / "records"
        write_copies(original, folder, COUNT)
        return str(folder)

    def setup(self, folder: str) -> None:
        """Skip on commits that cannot run a trial."""
        if not folder:
            raise NotImplementedError("this commit writes or reads no records")
        self._load_results = offered("rbobench.analysis.results", "load_results")

    def track_time(self, folder: str) -> Ratios:
        """The multiple."""
        paths = sorted(Path(folder).glob("*.json"))

        def parse() -> None:
            for path in paths:
                json.loads(path.read_text(encoding="utf-8"))

        return ratio(lambda: self._load_results(folder), parse, rounds=3)


def write_copies(original: Path, folder: Path, count: int) -> None:
    """Write a record `count` times, each under a seed and a key of its own."""
    record = json.loads(original.read_text(encoding="utf-8"))
    folder.mkdir()
    for seed in range(count):
        record["trial"]["seed"] = seed
        record["key"] = hashlib.sha256(str(seed).encode()).hexdigest()
        (folder / f"{record['key']}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
