"""Two commits of a toy repository compared. Its benchmarks read their values from the toy's own package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rbobench.errors import UsageError
from rbobench.perf.check import Comparison, check, render
from rbobench.perf.checkout import Checkout
from rbobench.perf.decision import Verdict

BENCHMARKS = """
import os
import subprocess
import sys

import rbobench

from ._shared import Shared


class Step(Shared):
    params = (["mlp", "resnet8"], ["rbo", "sgd", "sam"])
    param_names = ("model", "optimizer")
    unit = "gradients"

    def setup(self, model, optimizer):
        if optimizer not in rbobench.COSTS:
            raise NotImplementedError(f"no optimizer {optimizer!r}")
        self.cost = self.doubled(rbobench.COSTS[optimizer]) / 2.0

    def track_step(self, model, optimizer):
        # Whatever a benchmark says or reads must not be taken for the conversation.
        print("17")
        subprocess.run([sys.executable, "-c", "input()"], stderr=subprocess.DEVNULL)
        if self.cost < 0.0:
            raise RuntimeError("no step\\ntoday")
        return self.cost


class Waver:
    params = ["odd"]

    def setup(self, _):
        log = os.path.join(os.environ["TOY"], f"rounds of {rbobench.COSTS['rbo']}")
        with open(log, "a") as file:
            file.write("x")
        self.odd = os.path.getsize(log) % 2 == 1

    def track_rounds(self, _):
        return rbobench.COSTS["rbo"] * (1.1 if self.odd else 1.0)


class Cached:
    params = [["rbo", "sgd", "sam"]]

    def setup_cache(self):
        return {name: 1000.0 for name in rbobench.COSTS}

    def setup(self, found, name):
        if name not in found:
            raise NotImplementedError(f"no optimizer {name!r}")

    def track_cached(self, found, name):
        return found[name]


class Fresh(Cached):
    def measure(self, name):
        if name not in rbobench.COSTS:
            raise NotImplementedError(f"no optimizer {name!r}")
        return rbobench.COSTS[name]


class Time:
    number = 3

    def setup(self):
        self.calls = 0

    def time_nothing(self):
        self.calls += 1

    def teardown(self):
        with open(os.path.join(os.environ["TOY"], "calls"), "a") as file:
            file.write(f"{self.calls} ")
"""
SHARED = """
class Shared:
    def doubled(self, value):
        return 2.0 * value

    def track_shared(self):
        return 1.0
"""


class Repository:
    """A git repository with the benchmarks above and a package that says what a step costs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("suites/speed/__init__.py", "")
        self.write("suites/speed/toy.py", BENCHMARKS)
        self.write("suites/speed/_shared.py", SHARED)

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=toy", "-c", "user.email=toy@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, message: str, **costs: float) -> str:
        self.write("rbobench/__init__.py", f"COSTS = {costs!r}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def check(self, base: str, head: str, bench: str = "track_step", rounds: int = 2) -> Comparison:
        return check(base, head, bench=bench, rounds=rounds, checkout=Checkout(self.root))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("TOY", str(tmp_path))
    root = tmp_path / "toy"
    root.mkdir()
    return Repository(root)


def test_slower_names_what_is_slower_and_is_not_hidden_by_what_is_faster(repository: Repository) -> None:
    base = repository.commit("As it was", rbo=20.0, sgd=1.0)
    head = repository.commit("Think twice", rbo=26.0, sgd=0.5)
    comparison = repository.check(base, "HEAD", bench="Step.track_step.*mlp")
    assert comparison.verdict is Verdict.SLOWER
    assert comparison.exit_code == 1
    assert [row.benchmark.name for row in comparison.slower] == ["toy.Step.track_step('mlp', 'rbo')"]
    assert (comparison.base, comparison.head) == (base, head)
    row = comparison.slower[0]
    assert (row.base, row.head, row.judgment.ratio) == (20.0, 26.0, pytest.approx(1.3))
    text = render(comparison)
    assert "slower: " in text.splitlines()[-1]
    assert "by 30%" in text
    assert "Think twice" in text
    assert "not in either commit" not in text
    assert "toy.Step.track_step('mlp', 'sam'): in neither commit: no optimizer 'sam'" in text


def test_each_commit_measures_its_own_package(repository: Repository) -> None:
    base = repository.commit("Slow", rbo=26.0)
    repository.commit("Fast", rbo=20.0)
    rounds: list[str] = []
    comparison = check(
        base, "main", bench="mlp.*rbo", rounds=2, checkout=Checkout(repository.root), say=rounds.append
    )
    assert comparison.exit_code == 0
    assert comparison.verdict is Verdict.SAME_OR_FASTER
    assert comparison.rows[0].judgment.ratio == pytest.approx(20.0 / 26.0)
    assert [line.split(":")[0] for line in rounds] == ["round 1 of 2", "round 2 of 2"]


def test_undecided_says_how_many_rounds_would_do(repository: Repository) -> None:
    commit = repository.commit("As it was", rbo=1.0)
    repository.commit("Somewhat slower", rbo=1.05)
    # Each commit's values waver by a tenth from round to round: this puts the two out of step.
    (repository.root.parent / "rounds of 1.05").write_text("x")
    comparison = repository.check(commit, "HEAD", bench=r"Waver\.track_rounds\('odd'\)", rounds=4)
    assert comparison.verdict is Verdict.UNDECIDED
    assert comparison.exit_code == 3
    assert comparison.more_rounds is not None
    assert comparison.more_rounds > 0
    assert f"--rounds {4 + comparison.more_rounds}" in comparison.conclusion()
    assert f"undecided ({comparison.more_rounds} more round" in render(comparison)


def test_what_the_head_lost_is_named_and_is_not_passed(repository: Repository) -> None:
    base = repository.commit("Both", rbo=20.0, sgd=1.0)
    head = repository.commit("One", rbo=20.0)
    comparison = repository.check(base, head, bench="Step.track_step.*mlp")
    assert comparison.exit_code == 3
    assert comparison.more_rounds is None
    lost = [absence for absence in comparison.absences if absence.lost]
    assert list(map(str, lost)) == ["toy.Step.track_step('mlp', 'sgd'): not in the head: no optimizer 'sgd'"]
    assert str(lost[0]) in render(comparison)
    # What is new in the head has nothing to be compared with, and passes.
    comparison = repository.check(head, base, bench="Step.track_step.*mlp")
    assert comparison.exit_code == 0
    assert any("not in the base" in str(absence) for absence in comparison.absences)


def test_what_fails_in_the_head_is_named_and_is_not_passed(repository: Repository) -> None:
    base = repository.commit("As it was", rbo=20.0, sgd=1.0)
    head = repository.commit("Broken", rbo=20.0, sgd=-1.0)
    comparison = repository.check(base, head, bench="Step.track_step.*mlp")
    assert comparison.exit_code == 3
    failed = [str(absence) for absence in comparison.absences if absence.lost]
    assert failed == [
        "toy.Step.track_step('mlp', 'sgd'): not in the head: failed with RuntimeError: no step today"
    ]


def test_values_without_a_ratio_are_named(repository: Repository) -> None:
    base = repository.commit("As it was", rbo=20.0, sgd=1.0)
    head = repository.commit("Nothing held", rbo=20.0, sgd=0.0)
    comparison = repository.check(base, head, bench="Step.track_step.*mlp")
    assert comparison.exit_code == 3
    assert "toy.Step.track_step('mlp', 'sgd'): 0 has no ratio to 1" in map(str, comparison.absences)


def test_timed_benchmarks_are_called_as_often_as_they_say_and_torn_down(repository: Repository) -> None:
    commit = repository.commit("As it was", rbo=1.0)
    comparison = repository.check(commit, commit, bench="time_nothing")
    assert comparison.rows[0].benchmark.name == "toy.Time.time_nothing"
    assert "e-0" in render(comparison)
    # A call to warm up, then samples of three, in either commit's process in both rounds.
    calls = [int(word) for word in (repository.root.parent / "calls").read_text().split()]
    assert len(calls) == 4
    assert set(calls) == {1 + 3 * 2}


def test_what_is_cached_is_taken_from_the_cache_or_measured_afresh(repository: Repository) -> None:
    base = repository.commit("As it was", rbo=20.0, sgd=1.0)
    head = repository.commit("Next", rbo=22.0)
    comparison = repository.check(base, head, bench="track_cached")
    rows = {row.benchmark.name: (row.base, row.head) for row in comparison.rows}
    assert rows == {
        "toy.Cached.track_cached('rbo')": (1000.0, 1000.0),
        "toy.Fresh.track_cached('rbo')": (20.0, 22.0),
    }
    assert sorted(map(str, comparison.absences)) == [
        "toy.Cached.track_cached('sam'): in neither commit: no optimizer 'sam'",
        "toy.Cached.track_cached('sgd'): not in the head: no optimizer 'sgd'",
        "toy.Fresh.track_cached('sam'): in neither commit: no optimizer 'sam'",
        "toy.Fresh.track_cached('sgd'): not in the head: no optimizer 'sgd'",
    ]


def test_a_commit_without_the_package_does_not_measure_another(repository: Repository) -> None:
    base = repository.commit("As it was", rbo=1.0)
    repository.write("suites/speed/toy.py", BENCHMARKS.replace("import rbobench\n", "rbobench = None\n"))
    repository.git("rm", "--quiet", "-r", "rbobench")
    repository.git("commit", "--quiet", "--all", "--message", "Gone")
    with pytest.raises(UsageError, match="cannot be measured: rbobench would come from"):
        repository.check(base, "HEAD", bench="time_nothing")


def test_a_commit_whose_package_does_not_import_is_named(repository: Repository) -> None:
    base = repository.commit("As it was", rbo=1.0)
    repository.write("rbobench/__init__.py", "raise SyntaxError('oh')")
    repository.git("commit", "--quiet", "--all", "--message", "Broken")
    with pytest.raises(UsageError, match=r"the benchmarks of \w{8} do not run: SyntaxError: oh"):
        repository.check(base, "HEAD")


def test_uncommitted_changes_are_refused_where_the_head_is_checked_out(repository: Repository) -> None:
    base = repository.commit("As it was", rbo=20.0)
    head = repository.commit("Next", rbo=20.0)
    repository.write("rbobench/__init__.py", "COSTS = {'rbo': 2.0}")
    for name in ("HEAD", "main", head):
        with pytest.raises(UsageError, match="uncommitted"):
            repository.check(base, name)
    assert repository.check(head, base, bench="mlp.*rbo").exit_code == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rounds": 1}, "rounds must be at least 2, not 1"),
        ({"tolerance": 0.0}, r"tolerance must be a positive fraction, not 0\.0"),
        ({"tolerance": float("nan")}, "tolerance must be a positive fraction, not nan"),
        ({"bench": "("}, r"bench '\(' is no regular expression"),
        ({"bench": "bogus"}, "no benchmark matches 'bogus'"),
        ({"bench": "mlp.*sam"}, "nothing can be compared: .* in neither commit: no optimizer 'sam'"),
        ({"base": "nowhere"}, "unknown revision 'nowhere'"),
        ({"head": "nowhere"}, "unknown revision 'nowhere'"),
    ],
)
def test_bad_input(repository: Repository, options: dict[str, object], match: str) -> None:
    repository.commit("As it was", rbo=20.0)
    arguments: dict[str, object] = {
        "base": "HEAD",
        "head": "HEAD",
        "bench": "track_step.*mlp",
        "rounds": 2,
        **options,
    }
    with pytest.raises(UsageError, match=match):
        check(checkout=Checkout(repository.root), **arguments)  # type: ignore[arg-type]


def test_a_checkout_without_benchmarks(repository: Repository) -> None:
    repository.commit("As it was", rbo=20.0)
    repository.git("rm", "--quiet", "-r", "suites")
    repository.git("commit", "--quiet", "--message", "Gone")
    with pytest.raises(UsageError, match="holds no benchmarks"):
        repository.check("HEAD", "HEAD")
