"""Takes one commit's speed at another's bidding: a process of `rbobench.perf.check`, one for each commit.

Run by its path, with the commit's tree ahead on `PYTHONPATH`, so that only what is measured differs between
commits: the benchmarks and this file are the same for both. It imports nothing of rbobench itself. The first
line it prints, in JSON, says what can be measured and where the measured packages came from; then it answers
every index on its standard input with one value, and ends with its input.

A benchmark class is asv's, with one addition. Where `setup_cache` measures all choices of parameters at once,
a method `measure(*parameters)` gives a fresh value of one of them, and is asked instead of a `track_` method.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import pkgutil
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

PACKAGE = "rbobench_speed_suite"
"""What the folder of benchmarks is called here, so that no installed package can be taken for it."""

MEASURED = ("rbobench", "baselines")
"""Packages that must come from the commit."""

SHORTEST = 0.02
"""Seconds that a sample of a `time_` benchmark takes at least; a shorter call is repeated."""

Method = Callable[..., Any]


class Case:
    """One method of a benchmark class, at one choice of parameters.

    Attributes:
        name: As asv writes it: module, class and method, and the parameters in brackets.
        unit: Of its values.
    """

    def __init__(self, kind: type, method: str, module: str, parameters: Sequence[Any]) -> None:
        self.label = f"{module}.{kind.__name__}.{method}"
        self.parameters = tuple(parameters)
        self._arguments = self.parameters
        # asv names parameters by their repr.
        self.choice = ", ".join(map(repr, self.parameters))
        self.name = f"{self.label}({self.choice})" if self.parameters else self.label
        self.timed = method.startswith("time_")
        self._kind, self._method = kind, method
        self._calls = int(getattr(kind, "number", 0))
        self._run: Method = _not_set_up
        self._tear_down: Method = _nothing
        unit = getattr(getattr(kind, method), "unit", getattr(kind, "unit", "unit"))
        self.unit = "seconds" if self.timed else str(unit)

    def set_up(self, caches: dict[type, Any]) -> None:
        """Set up; what is timed is warmed up by a call.

        Args:
            caches: What `setup_cache` gave, by class; added to.

        Raises:
            NotImplementedError: If the commit does without it.
        """
        instance = self._kind()
        if not self.timed and hasattr(instance, "measure"):
            self._run = instance.measure
            return
        if hasattr(instance, "setup_cache"):
            if self._kind not in caches:
                caches[self._kind] = instance.setup_cache()
            self._arguments = (caches[self._kind], *self.parameters)
        getattr(instance, "setup", _nothing)(*self._arguments)
        self._tear_down = getattr(instance, "teardown", _nothing)
        self._run = getattr(instance, self._method)
        if self.timed:
            begin = time.perf_counter()
            self._run(*self._arguments)
            elapsed = time.perf_counter() - begin
            self._calls = self._calls or max(1, round(SHORTEST / max(elapsed, 1e-9)))

    def sample(self) -> float:
        """One value: what the method gives or, if it is timed, the seconds of a call."""
        if not self.timed:
            return float(self._run(*self._arguments))
        begin = time.perf_counter()
        for _ in range(self._calls):
            self._run(*self._arguments)
        return (time.perf_counter() - begin) / self._calls

    def tear_down(self) -> None:
        """Clean up, if it has been set up."""
        self._tear_down(*self._arguments)


def load(folder: Path) -> list[ModuleType]:
    """The modules of a folder of benchmarks, which may import each other by relative imports."""
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package of benchmarks")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    names = [found.name for found in pkgutil.iter_modules([str(folder)], f"{PACKAGE}.")]
    return [importlib.import_module(name) for name in sorted(names)]


def cases(modules: Sequence[ModuleType], pattern: str) -> Iterator[Case]:
    """The `track_` and `time_` benchmarks whose name a regular expression finds.

    A class counts in the module that defines it.
    """
    wanted = re.compile(pattern)
    for module in modules:
        short = module.__name__.removeprefix(f"{PACKAGE}.")
        for kind in vars(module).values():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__ or kind.__name__[0] == "_":
                continue
            for method, _ in inspect.getmembers(kind, inspect.isfunction):
                if method.startswith(("track_", "time_")):
                    for choice in itertools.product(*_axes(kind)):
                        case = Case(kind, method, short, choice)
                        if wanted.search(case.name):
                            yield case


def main(arguments: Sequence[str] | None = None) -> None:
    """Say what there is, then measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure the commit whose tree leads PYTHONPATH.")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of benchmark modules")
    parser.add_argument("--bench", default="", help="regular expression of names")
    options = parser.parse_args(arguments)
    # A benchmark, or a process of its own, may print and read: neither must be taken for this conversation.
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    modules = load(options.benchmarks)
    found = list(cases(modules, options.bench))
    caches: dict[type, Any] = {}
    states = [_state(case, caches) for case in found]
    # Looked up rather than only collected: a benchmark may not have imported it.
    origins = {name: _origin(name) for name in MEASURED if name == MEASURED[0] or name in sys.modules}
    _answer(answers, {"origins": origins, "benchmarks": states})
    for line in requests:
        try:
            _answer(answers, {"value": found[int(line)].sample()})
        except Exception as error:
            _answer(answers, {"absent": _told(error)})
    for case in found:
        case.tear_down()


def _state(case: Case, caches: dict[type, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {
        "name": case.name,
        "label": case.label,
        "choice": case.choice,
        "unit": case.unit,
        "absent": None,
    }
    try:
        case.set_up(caches)
    except Exception as error:
        state["absent"] = _told(error)
    return state


def _axes(kind: type) -> list[Sequence[Any]]:
    # asv takes a flat list of values for the only parameter.
    params = list(getattr(kind, "params", ()))
    if params and not all(isinstance(axis, (list, tuple)) for axis in params):
        return [params]
    return params


def _origin(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    spec = importlib.util.find_spec(name)
    return None if spec is None else spec.origin


def _answer(answers: TextIO, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def _told(error: Exception) -> str:
    """Why there is no value, in a line."""
    if isinstance(error, NotImplementedError):
        told = str(error) or "not offered"
    else:
        told = f"failed with {type(error).__name__}: {error}"
    return " ".join(told.split())[:300]


def _nothing(*parameters: Any) -> None:
    pass


def _not_set_up(*parameters: Any) -> None:
    raise RuntimeError("a case is set up before it is sampled")


if __name__ == "__main__":
    main()
