"""What a step, Figure 4's batch and the trial loop cost, each in units of what it is to be compared with.

- *Step*: an optimizer's step against as many bare gradient evaluations as it makes.
- *Plain loop*: the same algorithm written in one's own loop, `rbobench.studies.plain_loops`.
- *Figure 4*: the batch of all trajectories against NumPy, one trajectory after the other.
- *Trial loop*: `rbobench.runner.training.train` against a training loop written by hand.

Programs are timed in turns in one process on one thread, so only ratios are told. On an accelerator the
clock waits for it, and Figure 4, whose loops are NumPy's, is left out.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from rbobench.analysis.tables import markdown_row
from rbobench.optim.tensors import Closure
from rbobench.paper import figure4, figure4_speed
from rbobench.processes import threads
from rbobench.randomness import Streams
from rbobench.registry import create_optimizer, get_optimizer
from rbobench.runner.budget import Budget
from rbobench.runner.clock import Clock
from rbobench.runner.environment import device_name
from rbobench.runner.training import train
from rbobench.studies.plain_loops import (
    PlainRBO,
    PlainRemembered,
    PlainSearch,
    PlainTraining,
    eq14,
)
from rbobench.tasks.datasets import ImageData
from rbobench.tasks.images import ImageProblem, ImageTask, split
from rbobench.tasks.landscapes import Eq14
from rbobench.tasks.models import create_model
from rbobench.tasks.task import DataLocation, Settings
from rbobench.timing import interleaved

LR, MOMENTUM, RADIUS, RHO = 0.01, 0.9, 0.1, 0.05
PROJECTION_STEPS, PROJECTION_LR = 20, 1e-3

BALL_BAR, CENTER_BAR, SMALL_BAR = 1.03, 1.06, 1.30
"""Of a step of `rbo`, of `sam` and the center forms, and of all on the digits MLP."""
PLAIN_BALL_BAR, PLAIN_BAR = 1.00, 1.01
"""Of `rbo` and of the others against the plain loop."""
EAGER_BAR, COMPILED_BAR = 1 / 25, 1 / 60
"""Of Figure 4's batch against the plain NumPy loop."""
LOOP_BAR, SMALL_LOOP_BAR = 1.03, 1.3
"""Of the trial loop on ResNet-8, and on the digits MLP."""

STEPPING = ("sam", "rbo-center", "rbo-previous", "rbo-mirrored", "rbo-lagged", "sgd", "rbo")
"""Optimizers whose steps are timed against evaluations."""
COLUMNS = ("part", "what", "against", "bar", "ratio", "low", "high", "rounds", "met")


@dataclass(frozen=True)
class Comparison:
    """One ratio of times, taken over rounds.

    Attributes:
        part: Of the study.
        what: Was timed.
        against: The unit.
        bar: The most that the median may be; `None` where nothing is asked.
        ratios: One for each round.
    """

    part: str
    what: str
    against: str
    bar: float | None
    ratios: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        """By `COLUMNS`: `ratio` is the median, `low` and `high` are the quartiles."""
        low, median, high = np.quantile(self.ratios, (0.25, 0.5, 0.75))
        return {
            "part": self.part,
            "what": self.what,
            "against": self.against,
            "bar": self.bar,
            "ratio": median,
            "low": low,
            "high": high,
            "rounds": len(self.ratios),
            "met": None if self.bar is None else bool(median <= self.bar),
        }


@dataclass(frozen=True)
class Network:
    """A network and a batch of random images for it.

    Attributes:
        label: How the table calls it.
        model: By its registered name.
        batch: Images.
        channels: Of an image.
        side: Of an image.
        cifar_stem: Whether the ResNet's stem is replaced.
        options: What else the model is built with.
    """

    label: str
    model: str
    batch: int
    channels: int = 3
    side: int = 32
    cifar_stem: bool = False
    options: Mapping[str, Any] | None = None

    def build(self, device: str = "cpu") -> tuple[nn.Module, Tensor, Tensor]:
        """The model in training mode, images and labels, of fixed seeds, on a device."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the stock stem on small images is meant
            torch.manual_seed(0)
            model = create_model(
                self.model,
                in_chans=self.channels,
                num_classes=10,
                image_size=self.side,
                cifar_stem=self.cifar_stem,
                model_options=self.options,
            )
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, self.channels, self.side, self.side, generator=generator)
        labels = torch.randint(10, (self.batch,), generator=generator)
        return model.train().to(device), images.to(device), labels.to(device)


@dataclass(frozen=True)
class Sizes:
    """How much is timed.

    Attributes:
        device: Where the networks are.
        batch: Of the ResNets.
        model: The ResNet with two stems, by its registered name.
        projection_steps: P of `rbo`.
        ball_rounds: Of `rbo` on ResNets.
        rounds: Of the other optimizers on ResNets.
        cifar_rounds: Of them on the ResNet with a CIFAR stem, on a CPU; `rbo` has one there.
        small_rounds: On the digits MLP.
        small_evaluations: Of a program on the digits MLP, about.
        plain_rounds: Of the other optimizers against plain loops.
        figure_rounds: Of Figure 4.
        figure_steps: Of each of its trajectories.
        figure_projection_steps: P of its balls.
        compiles: Whether it is compiled too.
        loop_rounds: Of the trial loop.
        loop_steps: Of a round on ResNet-8; on the digits MLP ten times as many.
    """

    device: str = "cpu"
    batch: int = 128
    model: str = "resnet18"
    projection_steps: int = PROJECTION_STEPS
    ball_rounds: int = 9
    rounds: int = 31
    cifar_rounds: int = 1
    small_rounds: int = 25
    small_evaluations: int = 60
    plain_rounds: int = 81
    figure_rounds: int = 7
    figure_steps: int = 3
    figure_projection_steps: int = figure4.PROJECTION_STEPS
    compiles: bool = True
    loop_rounds: int = 9
    loop_steps: int = 10


FULL = Sizes()
SMALL = Sizes(
    batch=2,
    model="test_resnet",
    projection_steps=3,
    ball_rounds=1,
    rounds=1,
    cifar_rounds=1,
    small_rounds=1,
    small_evaluations=2,
    plain_rounds=1,
    figure_rounds=1,
    figure_steps=1,
    figure_projection_steps=3,
    compiles=False,
    loop_rounds=1,
    loop_steps=2,
)


def hyperparameters(
    name: str, projection_steps: int = PROJECTION_STEPS, momentum: float = 0.0
) -> dict[str, Any]:
    """What an optimizer is timed at, by its registered name."""
    if name == "rbo":
        return {
            "lr": LR,
            "radius": RADIUS,
            "projection_steps": projection_steps,
            "projection_lr": PROJECTION_LR,
        }
    own: dict[str, Any] = {"sgd": {}, "sam": {"rho": RHO}}.get(name, {"radius": RADIUS})
    return {"lr": LR, "momentum": momentum, **own}


def gradient_evaluations(name: str, given: dict[str, Any]) -> int:
    """Of one step, as the registry declares them."""
    info = get_optimizer(name)
    return round(info.cost(info.resolve(given)))


def bare_evaluation(model: nn.Module, images: Tensor, labels: Tensor) -> Closure:
    """The plain closure: clear the gradients, evaluate, go backward."""

    def closure() -> Tensor:
        model.zero_grad()
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    return closure


def steps_against_evaluations(
    network: Network,
    names: Sequence[str],
    bars: Callable[[str], float | None],
    *,
    rounds: Callable[[int], int],
    projection_steps: int = PROJECTION_STEPS,
    evaluations: int = 1,
    device: str = "cpu",
) -> list[Comparison]:
    """Time each optimizer's step against as many bare evaluations as it makes, in turns.

    Args:
        network: What is trained; every program has a copy of its own.
        names: Of registered optimizers, with the hyperparameters of `hyperparameters`.
        bars: From a name to its bar.
        rounds: From the evaluations of a step to the number of rounds.
        projection_steps: P of `rbo`.
        evaluations: Of one program, at least; of a single step, if that takes more.
        device: Where the network is.
    """
    model, images, labels = network.build(device)
    by_cost: dict[int, list[str]] = {}
    for name in names:
        cost = gradient_evaluations(name, hyperparameters(name, projection_steps))
        by_cost.setdefault(cost, []).append(name)
    found = []
    for cost, group in by_cost.items():
        steps = max(1, evaluations // cost)
        bare = bare_evaluation(copy.deepcopy(model), images, labels)
        programs = {"bare": functools.partial(_repeat, bare, cost * steps)}
        for name in group:
            own = copy.deepcopy(model)
            optimizer = create_optimizer(name, own.parameters(), **hyperparameters(name, projection_steps))
            step = functools.partial(optimizer.step, bare_evaluation(own, images, labels))
            programs[name] = functools.partial(_repeat, step, steps)
        # Buffers are there from the second step on, gradients before the last from the third.
        seconds = interleaved(
            programs, rounds=rounds(cost), warm_up=2 if cost < projection_steps else 1, device=device
        )
        unit = "1 bare evaluation" if cost == 1 else f"{cost} bare evaluations"
        found += [
            Comparison("step", f"{name}, {network.label}", unit, bars(name), _ratios(seconds, name, "bare"))
            for name in group
        ]
    return found


def steps_against_own_calls(
    network: Network,
    names: Sequence[str],
    bars: Callable[[str], float | None],
    *,
    rounds: Callable[[int], int],
    projection_steps: int = PROJECTION_STEPS,
) -> list[Comparison]:
    """Time each optimizer's step against the calls of the closure within it.

    For evaluations of seconds, where a step and its evaluations apart would be minutes from each other. It
    sees what the update takes, but not whether the evaluations within a step are slower than bare ones.

    Args:
        network: What is trained.
        names: Of registered optimizers, with the hyperparameters of `hyperparameters`.
        bars: From a name to its bar.
        rounds: From the evaluations of a step to the number of rounds.
        projection_steps: P of `rbo`.
    """
    model, images, labels = network.build()
    bare_evaluation(model, images, labels)()  # the first allocations
    found = []
    for name in names:
        own = copy.deepcopy(model)
        given = hyperparameters(name, projection_steps)
        optimizer = create_optimizer(name, own.parameters(), **given)
        evaluate, within = bare_evaluation(own, images, labels), [0.0]

        def closure(evaluate: Closure = evaluate, within: list[float] = within) -> Tensor:
            began = time.perf_counter()
            loss: Tensor = evaluate()
            within[0] += time.perf_counter() - began
            return loss

        cost, ratios = gradient_evaluations(name, given), []
        # One step before, but not of the ball, whose first buffers are nothing beside its evaluations.
        for index in range(-1 if cost < projection_steps else 0, rounds(cost)):
            within[0] = 0.0
            began = time.perf_counter()
            optimizer.step(closure)  # type: ignore[arg-type]
            whole = time.perf_counter() - began
            if index >= 0:
                ratios.append(whole / within[0])
        unit = "its call of the closure" if cost == 1 else f"its {cost} calls of the closure"
        found.append(Comparison("step", f"{name}, {network.label}", unit, bars(name), tuple(ratios)))
    return found


def against_plain_loops(sizes: Sizes) -> list[Comparison]:
    """Time the optimizers on ResNet-8 against the same algorithms in plain loops, pair by pair."""
    network = Network(f"ResNet-8, batch {sizes.batch}", "resnet8", sizes.batch)
    model, images, labels = network.build(sizes.device)
    plain: dict[str, Callable[[list[Tensor]], Any]] = {
        "rbo": lambda ps: PlainRBO(ps, LR, RADIUS, sizes.projection_steps, PROJECTION_LR),
        "rbo-center": lambda ps: PlainSearch(ps, LR, RADIUS, momentum=MOMENTUM),
        "rbo-previous": lambda ps: PlainRemembered(ps, LR, RADIUS, "previous", MOMENTUM),
        "rbo-mirrored": lambda ps: PlainRemembered(ps, LR, RADIUS, "mirrored", MOMENTUM),
        "rbo-lagged": lambda ps: PlainRemembered(ps, LR, RADIUS, "lagged", MOMENTUM),
        "sgd": lambda ps: torch.optim.SGD(ps, LR, MOMENTUM),
    }
    found = []
    for name, build in plain.items():
        ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
        given = hyperparameters(name, sizes.projection_steps, MOMENTUM)
        optimizers = {
            "ours": (create_optimizer(name, ours.parameters(), **given), ours),
            "theirs": (build(list(theirs.parameters())), theirs),
        }
        programs: dict[str, Callable[[], object]] = {
            which: functools.partial(optimizer.step, bare_evaluation(own, images, labels))
            for which, (optimizer, own) in optimizers.items()
        }
        rounds = sizes.ball_rounds if name == "rbo" else sizes.plain_rounds
        seconds = interleaved(programs, rounds=rounds, warm_up=1 if name == "rbo" else 3, device=sizes.device)
        found.append(
            Comparison(
                "plain loop",
                f"{name}, {network.label}",
                "torch.optim.SGD" if name == "sgd" else "plain loop",
                PLAIN_BALL_BAR if name == "rbo" else PLAIN_BAR,
                _ratios(seconds, "ours", "theirs"),
            )
        )
    return found


def figure4_batch(sizes: Sizes) -> list[Comparison]:
    """Time the first steps of Figure 4 against two NumPy loops, one plain and one careful.

    Compilation happens before the first round. On an accelerator there is nothing to compare NumPy's loops
    with.
    """
    if sizes.device != "cpu":
        return []
    landscape, steps, projections = Eq14(), sizes.figure_steps, sizes.figure_projection_steps
    roll: Callable[..., Tensor] = figure4.roll
    programs: dict[str, Callable[[], object]] = {
        "eager": lambda: roll(landscape, steps, projections, figure4.RADII),
        "plain NumPy loop": lambda: roll_by_plain_numpy(steps, projections, figure4.RADII),
        "careful NumPy loop": lambda: figure4_speed.roll_by_numpy(steps, projections),
    }
    bars = {"eager": EAGER_BAR}
    if sizes.compiles:
        programs["compiled"] = lambda: roll(landscape, steps, projections, figure4.RADII, compiled=True)
        bars["compiled"] = COMPILED_BAR
    seconds = interleaved(programs, rounds=sizes.figure_rounds)
    return [
        Comparison(
            "Figure 4",
            f"all trajectories, {which}",
            loop,
            bar if loop.startswith("plain") else None,
            _ratios(seconds, which, loop),
        )
        for which, bar in bars.items()
        for loop in ("plain NumPy loop", "careful NumPy loop")
    ]


def roll_by_plain_numpy(steps: int, projection_steps: int, radii: Sequence[float]) -> np.ndarray:
    """The trajectories of `rbobench.paper.figure4.roll` one after the other, by Algorithm 1 as it stands.

    Returns:
        Points of shape `(steps + 1, 10 + 10 · len(radii), 2)`.
    """
    centers = np.random.RandomState(0).uniform(-3.0, 3.0, (1000, 2))
    paths = []
    for theta in figure4.starts():
        path = [theta]
        for _ in range(steps):
            _, gradient = eq14(theta, centers, Eq14.sigma)
            theta = theta - figure4.LR * gradient
            path.append(theta)
        paths.append(path)
    for radius in radii:
        for theta in figure4.starts():
            path = [theta]
            for _ in range(steps):
                value, gradient = eq14(theta, centers, Eq14.sigma)
                length = np.sqrt(1.0 + gradient @ gradient)
                a = theta - radius * gradient / length - figure4.LR * gradient
                b = value + radius / length - figure4.LR * (gradient @ gradient)
                for projection in range(projection_steps):
                    if projection > 0:
                        value, gradient = eq14(theta, centers, Eq14.sigma)
                    theta = theta - figure4.PROJECTION_LR * ((theta - a) + (value - b) * gradient)
                path.append(theta)
            paths.append(path)
    return np.array(paths).swapaxes(0, 1)


@dataclass
class LoopPair:
    """One problem of the runner's, and the same training written by hand.

    Attributes:
        problem: The runner's.
        optimizer: On its parameters.
        by_hand: The other.
        training_seconds: Of each run of the trial loop; warm-up and evaluation are not in it.
        device: Where both are.
    """

    problem: ImageProblem
    optimizer: torch.optim.Optimizer
    by_hand: PlainTraining
    training_seconds: list[float]
    device: torch.device

    @classmethod
    def build(cls, task: ImageTask, data: ImageData, seed: int = 0, device: str = "cpu") -> LoopPair:
        """Both with the same weights, and the same batches in the same order."""
        settings = Settings(device=torch.device(device))
        problem, streams = ImageProblem(task, data, seed, settings), Streams(seed)
        positions = torch.from_numpy(split(data.train_labels.numpy(), task.validation_fraction, streams)[0])
        by_hand = PlainTraining(
            copy.deepcopy(problem.module),
            problem.prepared(data.train_images[positions].to(device)),
            data.train_labels[positions].to(device),
            task.batch_size,
            lr=LR,
            momentum=MOMENTUM,
            augmentation=task.augmentation,
            order=streams.torch("order"),
            augment_generator=streams.torch("augment"),
        )
        optimizer = create_optimizer("sgd", problem.parameters(), lr=LR, momentum=MOMENTUM)
        return cls(problem, optimizer, by_hand, [], settings.device)

    def run_trial(self, steps: int) -> None:
        """Take `steps` steps by the trial loop, and one point of its curves."""
        clock, before = Clock(self.device), self.problem.objective.gradient_evaluations
        budget = Budget("gradient_evaluations", before + steps, spent=before)
        train(self.problem, self.optimizer, budget, clock, step_cost=1.0, evaluations=1)
        self.training_seconds.append(clock.elapsed("training"))


def trial_loop(
    label: str,
    task: ImageTask,
    data: ImageData,
    bar: float,
    *,
    rounds: int,
    steps: int,
    device: str = "cpu",
) -> Comparison:
    """Time the training of a trial against the same training written by hand.

    Warm-up and evaluation are not compared: a loop by hand has its own, or none.

    Args:
        label: How the table calls it.
        task: What is trained.
        data: On which images.
        bar: Of the ratio.
        rounds: How often each loop runs.
        steps: Of each run.
        device: Where it is trained.
    """
    pair = LoopPair.build(task, data, device=device)
    programs: dict[str, Callable[[], object]] = {
        "trial": functools.partial(pair.run_trial, steps),
        "by hand": functools.partial(pair.by_hand.train, steps),
    }
    seconds = interleaved(programs, rounds=rounds, device=device)
    seconds["trial"] = pair.training_seconds[-rounds:]
    return Comparison(
        "trial loop", f"sgd, {label}", "loop by hand", bar, _ratios(seconds, "trial", "by hand")
    )


def random_images(count: int) -> ImageData:
    """`count` training images of 32×32 noise in ten classes, and a few for testing."""
    generator = torch.Generator().manual_seed(0)

    def images(number: int) -> Tensor:
        return torch.randint(256, (number, 3, 32, 32), generator=generator, dtype=torch.uint8)

    labels = torch.arange(count) % 10
    classes = tuple(map(str, range(10)))
    return ImageData("noise", images(count), labels, images(10), torch.arange(10), classes)


def _repeat(program: Callable[[], object], times: int) -> None:
    for _ in range(times):
        program()


def _ratios(seconds: dict[str, list[float]], numerator: str, denominator: str) -> tuple[float, ...]:
    return tuple(a / b for a, b in zip(seconds[numerator], seconds[denominator], strict=True))


_NOTE = """# What a step, Figure 4's batch and the trial loop cost

`rbobench study speed` made this, on {device}, by torch {version}. A ratio is of times, smaller is faster, and
it is the median over the rounds, with the quartiles; in a round the programs run one after the other. `rbo`
has P = {projection_steps}. Steps against evaluations are without momentum, plain loops and trial loops with
momentum {momentum:g}.{stem}

{table}

{verdict}
"""


_STEM_NOTE = """ Steps on the ResNet with a CIFAR stem, whose evaluations take seconds, are compared with the
calls of the closure within the same step."""


def report(table: pd.DataFrame, projection_steps: int = PROJECTION_STEPS, device: str = "cpu") -> str:
    """The table as Markdown, with a sentence on each bar that is missed.

    Args:
        table: By `COLUMNS`.
        projection_steps: P of `rbo`.
        device: Where the networks were.
    """
    names = ["part", "what", "in units of", "bar", "ratio", "quartiles", "rounds", "met"]
    rows = [names, ["---"] * 3 + ["---:"] * 4 + ["---"]]
    asked = table[table["bar"].notna()]
    for each in table.to_dict("records"):
        without = pd.isna(each["bar"])
        rows.append(
            [
                each["part"],
                each["what"],
                each["against"],
                "" if without else _digits(each["bar"]),
                _digits(each["ratio"]),
                f"{_digits(each['low'])} to {_digits(each['high'])}",
                str(each["rounds"]),
                "" if without else ("yes" if each["met"] else "no"),
            ]
        )
    missed = asked[~asked["met"].astype(bool)]
    lines = [f"Of {len(asked)} bars, {len(asked) - len(missed)} are met."] + [
        f"- {row['what']}: {_digits(row['ratio'])} of {row['against']}, above {_digits(row['bar'])}."
        for row in missed.to_dict("records")
    ]
    return _NOTE.format(
        version=torch.__version__.split("+")[0],
        projection_steps=projection_steps,
        momentum=MOMENTUM,
        device="one thread of the CPU" if device == "cpu" else device_name(torch.device(device)),
        stem=_STEM_NOTE if device == "cpu" else "",
        table="\n".join(markdown_row(row) for row in rows),
        verdict="\n".join(lines),
    )


def _digits(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio > 0.5 else f"{ratio:.4f}"


def _steps_on_digits(sizes: Sizes) -> Iterator[Comparison]:
    yield from steps_against_evaluations(
        Network("digits MLP, batch 64", "mlp", 64, channels=1, side=8),
        STEPPING,
        lambda name: SMALL_BAR,
        rounds=lambda cost: sizes.small_rounds,
        projection_steps=sizes.projection_steps,
        evaluations=sizes.small_evaluations,
        device=sizes.device,
    )


def _steps_on_resnets(sizes: Sizes) -> Iterator[Comparison]:
    """On one ResNet with either stem."""
    label = {"resnet18": "ResNet-18"}.get(sizes.model, sizes.model)
    projections = sizes.projection_steps

    def bars(name: str) -> float | None:
        return {"rbo": BALL_BAR, "sgd": None}.get(name, CENTER_BAR)

    def rounds(cost: int) -> int:
        return sizes.ball_rounds if cost == projections else sizes.rounds

    batch = f"batch {sizes.batch}"
    stock = Network(f"{label}, {batch}", sizes.model, sizes.batch)
    cifar = Network(f"{label} with CIFAR stem, {batch}", sizes.model, sizes.batch, cifar_stem=True)
    for network in (stock, cifar):
        if network is stock or sizes.device != "cpu":
            yield from steps_against_evaluations(
                network,
                STEPPING,
                bars,
                rounds=rounds,
                projection_steps=projections,
                device=sizes.device,
            )
        else:
            yield from steps_against_own_calls(
                network,
                STEPPING,
                bars,
                rounds=lambda cost: 1 if cost == projections else sizes.cifar_rounds,
                projection_steps=projections,
            )


def _trial_loops(sizes: Sizes) -> Iterator[Comparison]:
    task = ImageTask("noise", "resnet8", sizes.batch, augmentation="crop-flip")
    yield trial_loop(
        f"ResNet-8, batch {sizes.batch}",
        task,
        random_images(max(4 * sizes.batch, 40)),
        LOOP_BAR,
        rounds=sizes.loop_rounds,
        steps=sizes.loop_steps,
        device=sizes.device,
    )
    task = ImageTask("digits", "mlp", 64)
    yield trial_loop(
        "digits MLP, batch 64",
        task,
        task.data(DataLocation()),
        SMALL_LOOP_BAR,
        rounds=2 * sizes.loop_rounds,
        steps=10 * sizes.loop_steps,
        device=sizes.device,
    )


PARTS: dict[str, Callable[[Sizes], Iterable[Comparison]]] = {
    "steps on digits": _steps_on_digits,
    "plain loops": against_plain_loops,
    "Figure 4": figure4_batch,
    "trial loops": _trial_loops,
    "steps on ResNets": _steps_on_resnets,
}
"""What is timed, in order."""


def run(
    out: Path,
    *,
    small: bool = False,
    jobs: int | None = None,
    say: Callable[[str], None] = print,
    device: str = "cpu",
) -> list[Path]:
    """Time everything, and write one table.

    Args:
        out: Folder for `speed.csv` and `speed.md`.
        small: One or two rounds of tiny batches; nothing is compiled. To see that it works.
        jobs: Taken for the other studies' sake and not used: times are taken in one process, on one thread.
        say: Is told of each ratio when it is there.
        device: Where the networks are.

    Returns:
        The files.

    Raises:
        OSError: If they cannot be written.
    """
    del jobs
    out.mkdir(parents=True, exist_ok=True)
    sizes = dataclasses.replace(SMALL if small else FULL, device=device)
    began, rows = time.perf_counter(), []
    with threads(1):
        for part in PARTS.values():
            for comparison in part(sizes):
                row = comparison.row()
                rows.append(row)
                bar = "" if row["bar"] is None else f", bar {_digits(row['bar'])}"
                seconds = time.perf_counter() - began
                say(f"{row['what']}: {_digits(row['ratio'])} of {row['against']}{bar} ({seconds:.0f} s)")
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    files = [out / "speed.csv", out / "speed.md"]
    table.to_csv(files[0], index=False)
    files[1].write_text(report(table, sizes.projection_steps, device), encoding="utf-8")
    return files
