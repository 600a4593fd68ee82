"""The measures of sharpness."""

from __future__ import annotations

from typing import Any

from .commit import offered
from .paired import Ratios, one_thread, ratio
from .training import Training

MEASURES = (
    "sam_gap",
    "worst_case_l2",
    "worst_case_l2_adaptive",
    "lambda_max",
    "worst_case_linf",
    "worst_case_linf_adaptive",
    "average_case",
    "average_case_adaptive",
    "top_eigenvalues",
    "trace",
    "spectral_density",
    "slice_1d",
    "slice_2d",
    "reachable_radius",
)
"""Written out, since an older commit has others; a test compares them with the catalog."""


class Sharpness:
    """A measure's time as a multiple of one bare gradient evaluation of the same data, on the MLP."""

    params = (MEASURES,)
    param_names = ("measure",)
    unit = "gradient evaluations"
    version = "2"
    timeout = 300

    def setup(self, measure: str) -> None:
        """Skip on commits without it."""
        one_thread()
        catalog = offered("rbobench.measures.catalog", "MEASURES")
        if measure not in catalog:
            raise NotImplementedError(f"this commit has no measure {measure}")
        self._take = catalog[measure].take
        self._training = Training("mlp")
        self._surface = offered("rbobench.measures.surface", "LossSurface")

    def surface(self, *, normalize_logits: bool = False) -> Any:
        """The training's loss, as a problem offers it to a measure; what normalizing costs is left out."""
        return self._surface(self._training.parameters, [self._training.loss])

    def track_time(self, measure: str) -> Ratios:
        """The multiple."""
        import torch

        def take() -> object:
            return self._take(self, torch.Generator().manual_seed(0))

        return ratio(take, self._training, rounds=5)
