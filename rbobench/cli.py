"""The command line. What is heavy is imported inside the commands, so that `--help` costs next to nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbobench import __version__
from rbobench.errors import UsageError, unknown
from rbobench.perf.commands import perf

if TYPE_CHECKING:
    import pandas as pd

    from rbobench.registry import OptimizerInfo
    from rbobench.runner.trial import PlannedTrial

# Typer carries its own copy of click in some versions: take whichever it uses.
_ClickException: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)

app = typer.Typer(
    name="rbobench",
    help="What is the Rolling Ball Optimizer worth? Suites of trials in, leaderboards out.",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(perf)


class Kind(StrEnum):
    """What can be listed."""

    OPTIMIZERS = "optimizers"
    TASKS = "tasks"
    MODELS = "models"
    SUITES = "suites"
    MEASURES = "measures"


class Study(StrEnum):
    """What can be studied."""

    EDGE = "edge"
    FIDELITY = "fidelity"
    ABLATION = "ablation"
    SPEED = "speed"
    GROWTH = "growth"


class TableFormat(StrEnum):
    """How a leaderboard is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


class FigureFormat(StrEnum):
    """How a figure is stored."""

    PDF = "pdf"
    PNG = "png"
    SVG = "svg"


Folder = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of records.", show_default=False)]
Device = Annotated[str, typer.Option(help="auto takes CUDA, then MPS, then the CPU.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="How many seeds, instead of the suite's.")]
Only = Annotated[
    str | None,
    typer.Option(metavar="GLOB", help="Only trials whose task/optimizer/seed, task or optimizer matches."),
]
DataRoot = Annotated[Path, typer.Option(help="Folder of data sets and image folders.")]
Name = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite file, or a shipped suite's name.", show_default=False)
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: What follows the program's name; `sys.argv` by default.

    Returns:
        The exit code: 0; 1 where `check` has found faults, a trial of `run` has failed, or whoever read the
        output has left; 2 for a mistake of the user's, told in one line;
        130 after an interruption.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="rbobench", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UsageError as error:
        return _refuse(str(error))
    except _ClickException as error:
        return _refuse(error.format_message())  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # Whoever read the output has left. Python flushes once more at its end: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _refuse(message: str) -> int:
    print("rbobench: error:", " ".join(message.replace("Value error, ", "").split()), file=sys.stderr)
    return 2


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"rbobench {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def rbobench(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What is the Rolling Ball Optimizer worth? Suites of trials in, leaderboards out."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.OPTIMIZERS,
    pattern: Annotated[str, typer.Argument(help="Shell pattern of the names, such as 'timm:*'.")] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="All there is to know, as JSON.")] = False,
) -> None:
    """List what there is to run."""
    rows = {
        Kind.OPTIMIZERS: _optimizers,
        Kind.TASKS: _tasks,
        Kind.MODELS: _models,
        Kind.SUITES: _suites,
        Kind.MEASURES: _measures,
    }[kind](pattern)
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False, default=str))
        return
    hidden = ("hyperparameters", "options", "reference", "batched")
    shown = [{name: value for name, value in row.items() if name not in hidden} for row in rows]
    _print_table(shown)


@app.command()
def run(
    suite: Name,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the records. [default: results/runs/<suite>]")
    ] = None,
    device: Device = "auto",
    seeds: Seeds = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the trials and what they will cost; needs no data.")
    ] = False,
    data_root: DataRoot = Path("data"),
    download: Annotated[bool, typer.Option("--download", help="Fetch data sets that are missing.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Trials side by side, each in a process of its own.")] = 1,
) -> None:
    """Run a suite and show its leaderboard.

    Trials that have their records already are not run again. Ends with exit code 1 where a trial failed; a
    diverged one is a result.
    """
    if dry_run:
        from rbobench.runner.execution import plan

        _print_plan(plan(suite, seeds=seeds, only=only))
        return

    from rbobench.progress import progress_on_stderr
    from rbobench.runner.execution import run_suite

    with progress_on_stderr() as progress:
        try:
            summary = run_suite(
                suite,
                out,
                device=device,
                seeds=seeds,
                only=only,
                data_root=data_root,
                download=download,
                jobs=jobs,
                progress=progress,
            )
        except KeyboardInterrupt:
            progress.say("interrupted; finished trials are kept, and the same command goes on from there")
            raise typer.Exit(130) from None
    total = summary.ran + summary.found
    if summary.ran == 0:
        print(f"nothing to run: all {total} trials have their records in {summary.out}")
    else:
        ended = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
        before = f", {summary.found} found" if summary.found else ""
        ran = _counted(summary.ran, "trial")
        print(f"{ran} run in {summary.seconds:.0f} s{before}; of all {total}: {ended}")
    if summary.unmeasured:
        what = _counted(summary.unmeasured, "finished trial")
        print(f"{what} without a measure of the suite, and without weights to take it at")
    print()
    _print_leaderboard(summary.out, TableFormat.TEXT)
    try:
        print(f"\nfigures: {_current_figures(summary.out)}")
    except UsageError as error:
        print(f"\nno figures: {error}")
    if any(summary.statuses.get(status) for status in ("failed", "timeout", "out_of_memory")):
        raise typer.Exit(1)


@app.command()
def cost(
    suite: Name,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder where trials may have their records. [default: results/runs/<suite>]"),
    ] = None,
    device: Device = "auto",
    seeds: Seeds = None,
    only: Only = None,
    data_root: DataRoot = Path("data"),
) -> None:
    """Predict how long a suite will take here, and how that grows.

    A short calibration times gradients, updates and evaluations; nothing is trained and nothing written.
    Where trials have their records in OUT, predicted and measured stand side by side.
    """
    from rbobench.runner import cost_model
    from rbobench.runner.execution import RESULTS

    prediction = cost_model.predict(
        suite,
        out,
        device=device,
        seeds=seeds,
        only=only,
        data_root=data_root,
        before=time.process_time(),
        say=_say,
    )
    _print_frame(cost_model.table(prediction))
    print()
    _print_frame(cost_model.growth(prediction))
    print(
        f"\n{_counted(prediction.trials, 'trial')}, about {prediction.seconds:.0f} s, "
        f"{prediction.left:.0f} s of them left"
    )
    if prediction.waited is not None and prediction.waited > 0.1:
        alone = prediction.seconds * (1.0 - prediction.waited)
        print(f"other programs ran {prediction.waited:.0%} of the time; without them about {alone:.0f} s")
    if any(group.left < len(group.keys) for group in prediction.groups):
        print("\npredicted and measured:")
        folder = RESULTS / prediction.suite if out is None else out
        _print_frame(cost_model.side_by_side(prediction, folder))


@app.command()
def status(out: Folder) -> None:
    """Show how the trials in a folder ended.

    Overhead is the share of their time that was neither a gradient nor a measure.
    """
    from rbobench.analysis.results import load_results
    from rbobench.analysis.results import status as count

    counts = count(out)
    overhead = counts["overhead"].map(lambda share: "" if share != share else f"{share:.0%}")
    _print_table(counts.assign(overhead=overhead).to_dict("records"))
    results = load_results(out)
    for row in results[results["error"].notna()].itertuples():
        print(f"{row.task}/{row.optimizer}/{row.seed}: {row.status}: {row.error}")


@app.command()
def measure(
    out: Folder,
    metric: Annotated[
        list[str],
        typer.Option(help="A measure, or a group: core, full. May be given again.", show_default=False),
    ],
    device: Device = "auto",
    data_root: DataRoot = Path("data"),
) -> None:
    """Add measures to finished trials, from their saved weights.

    Nothing is trained again. A suite keeps weights by save_weights: true; list measures shows what there is.
    """
    from rbobench.runner.measuring import measure_records

    done = measure_records(out, metric, device=device, data_root=data_root, say=_say)
    found = f", {done.found} had them already" if done.found else ""
    others = f", {done.passed_over} left out: not finished, or nothing to measure" if done.passed_over else ""
    for error in done.errors:
        _say(f"failed: {error}")
    print(f"{_counted(done.added, 'trial')} measured{found}{others}")
    if done.errors:
        raise typer.Exit(1)


@app.command()
def show(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="suite/task by a suite's label, or a registered task.", show_default=False
        ),
    ],
    options: Annotated[
        str, typer.Option(help="Of the task, as in a suite: 'backdoor: {kind: badnets, rate: 0.1}'.")
    ] = "",
    out: Annotated[Path, typer.Option(help="File of the figure; its ending is its format.")] = Path(
        "show.png"
    ),
    seed: Annotated[int, typer.Option(help="Of the corruption.")] = 0,
    data_root: DataRoot = Path("data"),
) -> None:
    """Draw what a corruption does: clean and corrupted images side by side, with their labels."""
    from rbobench.analysis.corruption_figure import corruption_figure
    from rbobench.analysis.style import FORMATS, paper_style
    from rbobench.runner.named_task import named_task
    from rbobench.tasks.images import ImageTask
    from rbobench.tasks.task import DataLocation

    if out.suffix.removeprefix(".") not in FORMATS:
        raise unknown("format", out.suffix.removeprefix("."), FORMATS)
    made = named_task(task, options)
    if not isinstance(made, ImageTask):
        raise UsageError(f"task {task!r} has no images to show")
    figure = corruption_figure(made, DataLocation(data_root), seed)
    try:
        with paper_style():
            figure.savefig(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from None
    print(out)


@app.command()
def leaderboard(
    out: Folder,
    format: Annotated[TableFormat, typer.Option(help="How to write it.")] = TableFormat.TEXT,
) -> None:
    """Show the leaderboard of a folder.

    Each score stands beside its gain over the controls.
    """
    _print_leaderboard(out, format)


@app.command()
def memorization(out: Folder) -> None:
    """Compare optimizers where they have memorized as many flipped labels, and say when SGD has most.

    A robust method lies higher there; one that merely moves less does not.
    """
    from rbobench.analysis import memorization as analysis
    from rbobench.analysis.results import finished, load_curves, load_results

    results, curves = load_results(out), load_curves(out)
    print(analysis.render_equal_memorization(analysis.equal_memorization(results, curves)))
    ended = results.loc[finished(results), "key"]
    budgets = analysis.budget_of_memorization(curves[curves["key"].isin(ended)])
    plain = results.loc[results["optimizer_name"] == "sgd", "optimizer"].unique()
    rows = budgets[budgets["optimizer"].isin(plain)].groupby(["task", "optimizer"])["gradient_evaluations"]
    for (task, optimizer), spent in rows:
        reached = f"{int(spent.notna().sum())} of {len(spent)} seeds"
        within = "" if spent.isna().all() else f", within {spent.max():,.0f} gradient evaluations"
        print(f"{task}: {optimizer} has memorized {analysis.MEMORIZED:.0%} in {reached}{within}")


@app.command()
def plot(
    out: Folder,
    format: Annotated[FigureFormat, typer.Option(help="How to store them.")] = FigureFormat.PDF,
) -> None:
    """Draw figures of a folder.

    They go into OUT/figures, each with a CSV of exactly what it shows.
    """
    for path in _draw(out, format):
        print(path)


@app.command()
def paper(
    out: Annotated[Path, typer.Option(help="Folder for the figures and the ledger.")] = Path(
        "results/runs/paper"
    ),
    only: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Only figures and claims of matching names.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes side by side. [default: one for each core]")
    ] = None,
) -> None:
    """Regenerate the paper's figures and test its claims.

    Some minutes. Figures 2 to 4 go to OUT as PDF and PNG, each with a CSV of exactly what it shows; the
    claims to claims.csv and claims.md, the numbers behind them to measurements.csv. A part of the claims is
    shown, and leaves those files alone. Ends with exit code 1 where a test failed to run.
    """
    from rbobench.paper.ledger import CLAIMS, summary
    from rbobench.paper.reproduction import reproduce

    done = reproduce(out, only=only, jobs=jobs, say=_say)
    if len(done.entries) == len(CLAIMS):
        print(summary(done.entries))
    else:
        for claim, outcome in done.entries:
            finding = outcome.finding
            print(f"{claim.name} ({claim.section}): {claim.claim}")
            for label in ("test", "value", "uncertainty", "verdict"):
                print(f"  {label}: {claim.test if label == 'test' else getattr(finding, label)}")
    if done.files:
        print(f"{_counted(len(done.files), 'file')} in {out}, {done.seconds:.0f} s:")
        for path in done.files:
            print(f"  {path.name}")
    if done.failed:
        print(f"failed: {', '.join(done.failed)}")
        raise typer.Exit(1)


@app.command()
def study(
    name: Annotated[Study, typer.Argument(help="Which one.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables and figures. [default: results/runs/study-<name>]")
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="A few cells, to see in seconds that it works.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes side by side. [default: one for each core]")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder of real images, train|test/<class>/*; for fidelity and ablation.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where speed is measured; auto takes CUDA, then MPS, then the CPU. [default: cpu]"),
    ] = None,
) -> None:
    """Run a study of the ball beyond the paper.

    edge: how sharp a minimum each form can sit in, against theory. fidelity: how far each projection solver
    gets. ablation: what pays under label noise. speed: what a step costs beyond its gradients. growth: how
    that grows. Minutes each; tables and figures go to OUT.
    """
    from importlib import import_module

    if images is not None and name not in (Study.FIDELITY, Study.ABLATION):
        raise UsageError(f"the {name.value} study takes no images")
    if device is not None and name is not Study.SPEED:
        raise UsageError(f"the {name.value} study runs on the CPU alone; it takes no device")
    more: dict[str, Any] = {} if images is None else {"images": images}
    if device is not None:
        from rbobench.runner.environment import choose_device

        more["device"] = str(choose_device(device))
    folder = out or Path("results/runs") / f"study-{name.value}"
    try:
        files = import_module(f"rbobench.studies.{name.value}").run(
            folder,
            small=small,
            jobs=jobs,
            say=_say,
            **more,
        )
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from None
    print(f"{_counted(len(files), 'file')} in {folder}:")
    for path in files:
        print(f"  {path.relative_to(folder)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of suite files."""
    from rbobench.runner.suite import suite_schema

    print(json.dumps(suite_schema(), indent=1))


@app.command()
def check(
    optimizer: Annotated[
        str, typer.Argument(metavar="PKG:CLASS", help="An importable optimizer.", show_default=False)
    ],
    device: Device = "cpu",
) -> None:
    """Check an optimizer against the contract.

    It is built as Class(params). Its attribute gradient_evaluations says what a step costs, 1 if absent. That
    no step waits for the device is looked at on CUDA alone.
    """
    from rbobench.runner.environment import choose_device
    from rbobench.testing import check_optimizer

    # As `python -m` does, so that a file in the working directory can be named.
    sys.path.insert(0, os.getcwd())
    results = check_optimizer(optimizer, device=choose_device(device))
    _print_table([{"check": each.name, "status": each.status, "detail": each.detail} for each in results])
    failed = sum(each.status == "failed" for each in results)
    print(f"\n{optimizer}: {failed} of {len(results)} checks failed" if failed else f"\n{optimizer}: passed")
    raise typer.Exit(1 if failed else 0)


def _measures(pattern: str) -> list[dict[str, Any]]:
    from fnmatch import fnmatch

    from rbobench.measures.catalog import GROUPS, MEASURES

    def matching(pattern: str) -> list[str]:
        return [name for name in MEASURES if fnmatch(name, pattern.lower())]

    return [
        {
            "name": name,
            "groups": ", ".join(group for group in GROUPS if name in GROUPS[group]),
            "description": MEASURES[name].description,
        }
        for name in _matching("measure", pattern, matching)
    ]


def _optimizers(pattern: str) -> list[dict[str, Any]]:
    from rbobench.registry import get_optimizer, list_optimizers

    return [
        {
            "name": name,
            "cost": _cost(info),
            "description": info.description,
            "controls": list(info.controls),
            "requires": list(info.requires),
            "batched": info.batched,
            "hyperparameters": _defaults(info),
            "reference": info.reference,
        }
        for name in _matching("optimizer", pattern, list_optimizers)
        for info in (get_optimizer(name),)
    ]


def _tasks(pattern: str) -> list[dict[str, Any]]:
    from rbobench.registry import get_task, list_tasks

    return [
        {
            "name": name,
            "kind": info.kind,
            "description": info.description,
            "options": _defaults(info),
            "reference": info.reference,
        }
        for name in _matching("task", pattern, list_tasks)
        for info in (get_task(name),)
    ]


def _models(pattern: str) -> list[dict[str, Any]]:
    from rbobench.tasks.models import OURS, list_models

    return [
        {"name": name, "from": "rbobench" if name in OURS else "timm"}
        for name in _matching("model", pattern, list_models)
    ]


def _suites(pattern: str) -> list[dict[str, Any]]:
    from fnmatch import fnmatch

    from rbobench.runner.suite_files import find_suites
    from rbobench.runner.yaml_reader import read_yaml

    found = find_suites()

    def matching(pattern: str) -> list[str]:
        return [name for name in found if fnmatch(name, pattern.lower())]

    rows = []
    for name in _matching("suite", pattern, matching):
        suite = read_yaml(found[name]).data
        description = suite.get("description", "") if isinstance(suite, dict) else ""
        rows.append({"name": name, "description": description, "file": str(found[name])})
    return rows


def _print_leaderboard(folder: Path, format: TableFormat) -> None:
    from rbobench.analysis.leaderboard import leaderboard
    from rbobench.analysis.tables import render

    print(render(leaderboard(folder), format.value).rstrip("\n"))


def _print_plan(planned: Sequence[PlannedTrial]) -> None:
    """One row for each task and optimizer, for the seeds of one differ in nothing else."""
    groups: dict[tuple[str, str], list[PlannedTrial]] = {}
    for entry in planned:
        groups.setdefault((entry.task_label, entry.optimizer_label), []).append(entry)
    rows = []
    for (task, optimizer), entries in groups.items():
        each = entries[0].gradient_evaluations
        rows.append(
            {
                "task": task,
                "optimizer": optimizer,
                "seeds": " ".join(str(entry.trial.seed) for entry in entries),
                "gradient evaluations": "unknown" if each is None else f"{each:,.0f}",
                "together": "unknown" if each is None else f"{each * len(entries):,.0f}",
            }
        )
    _print_table(rows)
    costs = [entry.gradient_evaluations for entry in planned]
    known = f"{sum(cost for cost in costs if cost is not None):,.0f} gradient evaluations"
    rest = f" and what {costs.count(None)} of them take in their epochs or seconds" if None in costs else ""
    print(f"\n{_counted(len(planned), 'trial')}, {known}{rest}")


def _current_figures(folder: Path) -> Path:
    """Draw a folder's figures unless they are newer than its records."""
    from rbobench.runner.record import record_files

    figures = [path.stat().st_mtime for path in (folder / "figures").glob("*.png")]
    records = [path.stat().st_mtime for path in record_files(folder)]
    if not figures or min(figures) < max(records):
        _draw(folder, FigureFormat.PNG)
    return folder / "figures"


def _draw(folder: Path, format: FigureFormat) -> list[Path]:
    from rbobench.analysis.figures import save_figures

    try:
        return save_figures(folder, format.value)
    except OSError as error:
        raise UsageError(f"cannot write figures into {folder}: {error.strerror or error}") from None


def _matching(kind: str, pattern: str, names: Any) -> list[str]:
    """Names that match a pattern, of which there must be one."""
    found: list[str] = names(pattern)
    if not found:
        raise unknown(kind, pattern, names("*"))
    return found


def _defaults(info: Any) -> dict[str, Any]:
    """Default values by name; `"required"` where there is none."""
    from rbobench.hyperparameters import REQUIRED, signature

    return {
        name: "required" if declared.default is REQUIRED else declared.default
        for name, declared in signature(info.factory, info.defaults).items()
    }


def _cost(info: OptimizerInfo) -> float | None:
    """Gradient evaluations of a step at the default hyperparameters; `None` where those do not tell."""
    try:
        return info.cost(_defaults(info))
    except (KeyError, TypeError):
        return None


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _print_table(rows: Iterable[Mapping[Any, Any]]) -> None:
    """Aligned columns, empty ones left out, never cut: a terminal may wrap them, a pipe gets them whole."""
    texts = [{name: _cell(value) for name, value in row.items()} for row in rows]
    names = [name for name in texts[0] if any(row[name] for row in texts)]
    widths = {name: max(len(name), *(len(row[name]) for row in texts)) for name in names}
    numeric = {
        name for name in names if all(row[name].replace(",", "").isdecimal() for row in texts if row[name])
    }
    for row in [{name: name for name in names}, *texts]:
        cells = (
            row[name].rjust(widths[name]) if name in numeric else row[name].ljust(widths[name])
            for name in names
        )
        print("  ".join(cells).rstrip())


def _print_frame(frame: pd.DataFrame) -> None:
    """A table of numbers of any size, empty columns left out."""
    kept = [name for name in frame if not (frame[name].isna() | (frame[name] == "")).all()]
    print(frame[kept].to_string(index=False, float_format=lambda value: f"{value:,.3g}", na_rep=""))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
