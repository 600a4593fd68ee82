"""Small tasks and optimizers to run, in the registry for these tests alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rbobench import registry
from rbobench.errors import UsageError
from rbobench.objective import Objective
from rbobench.randomness import Streams, seeded_default_generators
from rbobench.registry import OptimizerInfo, StoppingRule, TaskInfo
from rbobench.tasks.task import DataLocation, Manifest, Settings


class BowlTask:
    """½ curvature ‖point − 1‖²: no data, no validation."""

    def __init__(self, dims: int = 2, curvature: float = 1.0) -> None:
        if dims < 1:
            raise ValueError(f"dims must be at least 1, not {dims}")
        self.dims, self.curvature = dims, curvature

    def data_digest(self, location: DataLocation) -> None:
        return None

    def problem(self, seed: int, settings: Settings) -> BowlProblem:
        return BowlProblem(self, seed, settings)


class BowlProblem:
    samples_per_batch = 1
    samples_per_epoch = None
    has_validation = False

    def __init__(self, task: BowlTask, seed: int, settings: Settings) -> None:
        self.module = nn.Module()
        start = torch.randn(task.dims, generator=Streams(seed).torch("init"))
        self.module.point = nn.Parameter(start)
        self._curvature = task.curvature
        self.objective = Objective(self.parameters(), lambda: None, lambda batch: self._loss())

    def _loss(self) -> Tensor:
        return 0.5 * self._curvature * (self.module.point - 1.0).square().sum()

    def parameters(self) -> list[nn.Parameter]:
        return [self.module.point]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        return {"loss": self._loss().item()}

    def final(self) -> dict[str, object]:
        return {}

    def test_correct(self) -> None:
        return None

    def reestimate_batch_norm(self) -> None:
        return None

    def manifests(self) -> list[Manifest]:
        return []

    def batch_order(self) -> None:
        return None


class BlobsTask:
    """Two classes of noisy points with flipped labels; its data are a file that holds a number."""

    def __init__(self, noise: float = 0.25, batch_size: int = 8, batch_norm: bool = False) -> None:
        self.noise, self.batch_size, self.batch_norm = noise, batch_size, batch_norm

    def data_digest(self, location: DataLocation) -> str:
        path = location.root / "blobs.txt"
        if not path.exists():
            raise UsageError(f"no blobs: put them at {path}")
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

    def problem(self, seed: int, settings: Settings) -> BlobsProblem:
        return BlobsProblem(self, seed, settings)


class BlobsProblem:
    has_validation = True
    samples_per_epoch = 48

    def __init__(self, task: BlobsTask, seed: int, settings: Settings) -> None:
        streams = Streams(seed)
        self.samples_per_batch = task.batch_size
        points = torch.Generator().manual_seed(int((settings.location.root / "blobs.txt").read_text()))
        true = torch.randint(2, (160,), generator=points)
        inputs = torch.randn(160, 2, generator=points) + 1.5 * (2 * true[:, None] - 1)
        flips = torch.rand(96, generator=streams.torch("corruption")) < task.noise
        if task.noise and not flips.any():
            raise UsageError("the noise would change nothing")
        self._flipped = tuple(flips.nonzero().flatten().tolist())
        given = true[:96] ^ flips.long()
        self._train, self._valid = (inputs[:48], given[:48]), (inputs[48:96], given[48:])
        self._test, self._noise = (inputs[96:], true[96:]), task.noise
        with seeded_default_generators(streams.seed("init"), settings.device):
            middle = nn.BatchNorm1d(8) if task.batch_norm else nn.Identity()
            self.module = nn.Sequential(nn.Linear(2, 8), middle, nn.ReLU(), nn.Linear(8, 2))
        self._order = streams.torch("order")
        self._first = torch.randint(48, (6, task.batch_size), generator=streams.torch("order"))
        self.objective = Objective(
            self.parameters(), self._draw, self._loss, module=self.module, resamples=settings.resamples
        )

    def _draw(self) -> tuple[Tensor, Tensor]:
        index = torch.randint(48, (self.samples_per_batch,), generator=self._order)
        return self._train[0][index], self._train[1][index]

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.module.train()
        return nn.functional.cross_entropy(self.module(batch[0]), batch[1])

    def parameters(self) -> list[nn.Parameter]:
        return list(self.module.parameters())

    @torch.no_grad()
    def _right(self, part: tuple[Tensor, Tensor]) -> Tensor:
        self.module.eval()
        return self.module(part[0]).argmax(1) == part[1]

    def evaluate(self) -> dict[str, float]:
        return {
            "validation_accuracy": self._right(self._valid).double().mean().item(),
            "test_accuracy": self._right(self._test).double().mean().item(),
        }

    def final(self) -> dict[str, object]:
        return {"collapsed": False}

    def test_correct(self) -> Tensor:
        return self._right(self._test)

    @torch.no_grad()
    def reestimate_batch_norm(self) -> None:
        self.module.train()
        for layer in self.module.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.reset_running_stats()
                layer.momentum = None
        self.module(self._train[0])
        for layer in self.module.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.momentum = 0.1

    def manifests(self) -> list[Manifest]:
        rate = len(self._flipped) / 96
        return [Manifest("label noise", "train", self._noise, rate, self._flipped, {})] if self._noise else []

    def batch_order(self) -> Tensor:
        return self._first


class Costly(torch.optim.SGD):
    """SGD that asks for the gradient `evaluations` times and uses the last."""

    def __init__(self, params, lr: float = 0.1, evaluations: int = 4, progress: float = 0.0) -> None:
        super().__init__(params, lr)
        self.evaluations = evaluations
        for group in self.param_groups:
            group["progress"] = progress

    def step(self, closure):
        for _ in range(self.evaluations):
            loss = closure()
        super().step()
        return loss


class Averaged(torch.optim.SGD):
    """SGD whose weights to evaluate are the mean of all its iterates."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.count = 0

    def step(self, closure):
        loss = super().step(closure)
        self.count += 1
        for parameter in self.param_groups[0]["params"]:
            mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
            mean.add_((parameter.detach() - mean) / self.count)
        return loss

    @contextmanager
    def evaluation_parameters(self) -> Iterator[None]:
        parameters = self.param_groups[0]["params"]
        before = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter in parameters:
                parameter.copy_(self.state[parameter]["mean"])
            yield
            for parameter, old in zip(parameters, before, strict=True):
                parameter.copy_(old)


class Moody(torch.optim.SGD):
    """SGD that fails while `mood` holds an exception."""

    mood: BaseException | None = None

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr)

    def step(self, closure):
        if Moody.mood is not None:
            raise Moody.mood
        return super().step(closure)


def sgd(params, lr: float = 0.1, momentum: float = 0.0) -> torch.optim.SGD:
    return torch.optim.SGD(params, lr, momentum)


def sgd_early(params, lr: float = 0.1, patience: int = 2) -> torch.optim.SGD:
    return torch.optim.SGD(params, lr)


def sgd_short(params, lr: float = 0.1, matched: int = 4) -> torch.optim.SGD:
    return torch.optim.SGD(params, lr)


OPTIMIZERS = (
    OptimizerInfo("fake-sgd", sgd, "", controls=("fake-short",)),
    OptimizerInfo("fake-costly", Costly, "", gradient_evaluations=lambda given: given["evaluations"]),
    OptimizerInfo(
        "fake-fresh", Costly, "", gradient_evaluations=lambda given: given["evaluations"], resamples=True
    ),
    OptimizerInfo("fake-averaged", Averaged, "", batch_norm="re-estimated"),
    OptimizerInfo("fake-moody", Moody, ""),
    OptimizerInfo("fake-quantum", sgd, "", requires=("qubits",)),
    OptimizerInfo(
        "fake-early", sgd_early, "", stopping=lambda given: StoppingRule(patience=given["patience"])
    ),
    OptimizerInfo(
        "fake-short",
        sgd_short,
        "",
        stopping=lambda given: StoppingRule(budget_share=1 / given["matched"]),
    ),
)
TASKS = (TaskInfo("fake-bowl", BowlTask, "", kind="landscape"), TaskInfo("fake-blobs", BlobsTask, ""))


@pytest.fixture(autouse=True, scope="module")
def fakes() -> Iterator[None]:
    """Register the fakes, and take them out again so that no test over the whole registry sees them."""
    registry.list_optimizers()
    for info in OPTIMIZERS:
        registry.register_optimizer(info)
    for task in TASKS:
        registry.register_task(task)
    yield
    for info in OPTIMIZERS:
        del registry._OPTIMIZERS._infos[info.name]
    for task in TASKS:
        del registry._TASKS._infos[task.name]


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    (root / "blobs.txt").write_text("7")
    return root


@pytest.fixture
def blobs(data_root: Path) -> Callable[..., BlobsProblem]:
    def build(seed: int = 0, *, resamples: bool = False, **options: object) -> BlobsProblem:
        settings = Settings(location=DataLocation(data_root), resamples=resamples)
        return BlobsTask(**options).problem(seed, settings)

    return build


@pytest.fixture
def bowl() -> BowlProblem:
    return BowlTask().problem(0, Settings())


@pytest.fixture
def suite_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        return path

    return write
