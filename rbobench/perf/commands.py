"""`rbobench perf`: the commands. What is heavy is imported inside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rbobench.errors import UsageError

perf = typer.Typer(
    name="perf",
    help="Watch the speed of a step, commit by commit.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def _say(message: object) -> None:
    print(message, file=sys.stderr, flush=True)


@perf.command()
def run(
    commits: Annotated[
        list[str] | None, typer.Argument(metavar="[REVISION]...", help="[default: HEAD]", show_default=False)
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(help="What to call this machine. [default: as asv knows it, or its host's name]"),
    ] = None,
    bench: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Only benchmarks whose name matches.")
    ] = None,
) -> None:
    """Record the speed of commits on this machine, under results/asv.

    Each commit is installed into an environment of its own, torch left where it is. A checkout with
    uncommitted changes is refused.
    """
    from rbobench.perf.asv_runs import record
    from rbobench.perf.checkout import Checkout

    print(record(Checkout.find(), machine=machine, bench=bench, commits=commits or ("HEAD",), say=_say))


@perf.command()
def check(
    base: Annotated[str, typer.Argument(help="The revision to compare with.", show_default=False)],
    head: Annotated[str, typer.Argument(help="The revision in question.")] = "HEAD",
    bench: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Benchmarks to compare. [default: steps on an MLP and a ResNet-8]"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="How often both are measured.")] = 6,
    tolerance: Annotated[float, typer.Option(help="How much slower still passes, as a fraction.")] = 0.10,
) -> None:
    """Say whether a commit is slower than another.

    Both are measured in turns. Ends with exit code 0 for same or faster, 1 for slower, 3 for undecided.
    """
    from rbobench.perf.check import check as compare
    from rbobench.perf.check import render

    comparison = compare(base, head, bench=bench, rounds=rounds, tolerance=tolerance, say=_say)
    print(render(comparison))
    raise typer.Exit(comparison.exit_code)


@perf.command()
def history(
    out: Annotated[Path, typer.Option(help="Folder for history.csv and the figure.")] = Path(
        "results/runs/perf"
    ),
    bench: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Only benchmarks whose name matches.")
    ] = None,
) -> None:
    """Show where the speed has changed and by which commit, and draw it."""
    from rbobench.analysis.style import save
    from rbobench.perf.checkout import RESULTS, Checkout
    from rbobench.perf.history import changes, plot, shown
    from rbobench.perf.history import history as read

    frame = read(Checkout.find().root / RESULTS)
    if bench is not None:
        frame = _matching(frame, bench)
    stepped = changes(frame)
    print(f"{frame['commit'].nunique()} commits, {frame['benchmark'].nunique()} benchmarks")
    if len(stepped):
        print(
            stepped.assign(commit=stepped["commit"].str[:8], previous=stepped["previous"].str[:8]).to_string(
                index=False
            )
        )
    else:
        print("no step")
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = save(plot(frame), shown(frame), out / "history", ("pdf", "png"))
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror or error}") from None
    for path in files:
        print(path)


@perf.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="Where the page goes.", show_default=False)],
) -> None:
    """Make asv's web page of what is recorded."""
    from rbobench.perf.asv_runs import publish as make_page
    from rbobench.perf.checkout import Checkout

    print(make_page(Checkout.find(), folder, _say))


def _matching(frame: Any, bench: str) -> Any:
    import re

    try:
        matching = frame[frame["benchmark"].str.contains(bench, regex=True)]
    except re.error as error:
        raise UsageError(f"bench {bench!r} is no regular expression: {error}") from None
    if matching.empty:
        raise UsageError(f"no recorded benchmark matches {bench!r}")
    return matching
