"""What the contract leaves out, optimizer by optimizer; for the tests on the CPU and on an accelerator."""

from __future__ import annotations

from rbobench.registry import list_optimizers

OPTIMIZERS = list_optimizers()
OWN = [name for name in OPTIMIZERS if not name.startswith("timm:")]

NO_BATCH = {"batch_of_problems": "takes no batch of problems"}
ONE_EVALUATION = {
    "step_without_a_closure_is_an_error": "takes one evaluation, which may have been made already"
}
NO_REDUCTION = {"is_its_control_when_its_idea_is_taken_out": "declares no reduction"}
NO_MEMORY = {"parameter_copies": "declares no memory"}
NO_CUDA = {
    "never_waits_for_the_device": "torch tells on CUDA alone who waits; elsewhere runs_on_meta is the check"
}
"""What is skipped of every optimizer wherever it is not checked on CUDA."""

SKIPPED: dict[str, dict[str, str]] = {
    "adamw": {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION},
    "asam": {**NO_BATCH},
    "asam-w2": {**NO_BATCH},
    "entropy-sgd": {**NO_BATCH},
    "entropy-sgd-pytorch": {**NO_BATCH},
    "friendly-sam": {},
    "gaussian-smoothing": {},
    "gsam": {},
    "lookahead": {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION},
    "momentum-sam": {**ONE_EVALUATION},
    "rbo": {},
    "rbo-center": {},
    "rbo-center-null": {},
    "rbo-distance": {**NO_REDUCTION},
    "rbo-lagged": {**ONE_EVALUATION},
    "rbo-mirrored": {**ONE_EVALUATION},
    "rbo-null": {**NO_REDUCTION},
    "rbo-previous": {**ONE_EVALUATION},
    "rwp": {**ONE_EVALUATION},
    "s2-sam": {**ONE_EVALUATION},
    "sam": {},
    "sam-null": {},
    "sam-random": {**NO_BATCH},
    "sgd": {**ONE_EVALUATION, **NO_REDUCTION},
    "sgd-early": {**ONE_EVALUATION, **NO_REDUCTION},
    "sgd-repeat": {**NO_BATCH},
    "sgd-short": {**ONE_EVALUATION, **NO_REDUCTION},
    "swa": {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION},
    "unified-sam": {},
    "wsam": {},
}
"""Our own optimizers to the checks that do not apply to them on any device, with the reason."""

SKIPPED_OF_TIMM = {**NO_BATCH, **ONE_EVALUATION, **NO_REDUCTION, **NO_MEMORY}
"""What applies to none of timm's optimizers, on any device."""

META = {"runs_on_meta": "the step looks at a tensor's value from the host"}
KRON = {
    **META,
    "leaves_the_global_random_stream_alone": "draws its probes from torch's default generator",
    "resume_is_bit_equal": "what it draws from torch's default generator is not in its state",
    "a_copy_goes_on_as_the_original": "what it draws from torch's default generator is not in its state",
}
MADGRAD = {"lr_zero_moves_nothing": "adds eps to lr"}
AT_THE_CONTACT = {"returns_the_loss_at_the_start": "evaluates at the contact alone, and returns that loss"}
ELSEWHERE = {"returns_the_loss_at_the_start": "evaluates away from the weights alone, and returns that loss"}
EXPECTED_TO_FAIL: dict[str, dict[str, str]] = {
    **{f"rbo-{contact}": AT_THE_CONTACT for contact in ("previous", "mirrored", "lagged")},
    **dict.fromkeys(("gaussian-smoothing", "momentum-sam", "rwp", "s2-sam"), ELSEWHERE),
    "lookahead": {
        "a_copy_goes_on_as_the_original": "torch copies an optimizer's own fields, and drops its base"
    },
    "rbo-distance": {
        "lr_zero_moves_nothing": "the center stands still while the surface moves with the batch"
    },
    **{f"timm:{name}": META for name in ("adamp", "cadamp", "csgdp", "sgdp")},
    **{f"timm:{name}": META for name in ("novograd", "novogradc", "novogradw")},
    **{f"timm:{name}": KRON for name in ("kron", "kronc", "kronw")},
    **{f"timm:{name}": MADGRAD for name in ("madgrad", "madgradw")},
}
"""Checks that are declared to fail, with the reason; a declaration is a fault where the check passes."""
