"""Image problems: pairing, splits, measurements, numerics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from rbobench.errors import UsageError
from rbobench.measures.sharpness import sam_gap
from rbobench.randomness import Streams
from rbobench.registry import get_task
from rbobench.tasks.corruption.symmetric import SymmetricNoise
from rbobench.tasks.datasets import ImageData, load
from rbobench.tasks.images import ImageProblem, ImageTask, batch_indices, channel_statistics, split
from rbobench.tasks.task import DataLocation, Settings

LOCATION = DataLocation()
NOISE = {"kind": "symmetric", "rate": 0.4}
BACKDOOR = {"kind": "badnets", "rate": 0.02, "size": 2}


def task(**options) -> ImageTask:
    info = get_task("digits")
    return info.create(info.resolve({"batch_size": 64, **options}))


def problem(seed: int = 0, settings: Settings | None = None, **options) -> ImageProblem:
    return task(**options).problem(seed, settings or Settings())


def test_the_split_is_stratified_disjoint_and_of_the_seed() -> None:
    labels = np.repeat(np.arange(5), 40)
    train, validation = split(labels, 0.1, Streams(0))
    assert np.bincount(labels[validation]).tolist() == [4] * 5
    assert sorted([*train, *validation]) == list(range(200))
    assert not np.array_equal(validation, split(labels, 0.1, Streams(1))[1])


def test_the_split_does_not_depend_on_the_corruption_and_both_parts_are_corrupted() -> None:
    clean, noisy = problem(), problem(label_noise=NOISE)
    assert torch.equal(clean._train, noisy._train)
    (manifest,) = noisy.manifests()
    flipped = set(manifest.indices)
    train = set(noisy._train.tolist())
    pool = len(load("digits", LOCATION).train_labels)
    assert manifest.realized_rate == pytest.approx(0.4, abs=1e-3)
    assert 0.3 < len(flipped & train) / len(train) < 0.5
    assert 0.2 < len(flipped - train) / (pool - len(train)) < 0.6


def test_the_corruption_is_the_seeds() -> None:
    one, two = (problem(label_noise=NOISE, backdoor=BACKDOOR).manifests() for _ in range(2))
    assert one == two
    assert one != problem(1, label_noise=NOISE, backdoor=BACKDOOR).manifests()
    assert [manifest.kind for manifest in one] == ["symmetric label noise", "badnets backdoor"]


def test_the_corruption_has_a_stream_of_its_own() -> None:
    data = load("digits", LOCATION)
    _, drawn = SymmetricNoise(0.4).apply(data, LOCATION, Streams(0).numpy("corruption", "labels"))
    expected = dataclasses.replace(drawn, data=data.digest)
    assert problem(label_noise=NOISE, augmentation="crop").manifests() == [expected]
    both = problem(label_noise=NOISE, backdoor=BACKDOOR).manifests()
    assert both[0] == expected


def weights(built: ImageProblem) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in built.module.state_dict().values()]


def test_the_initial_weights_are_the_seeds() -> None:
    one, two = weights(problem()), weights(problem(label_noise=NOISE, augmentation="crop"))
    assert all(map(torch.equal, one, two))
    assert not torch.equal(one[0], weights(problem(1))[0])


def test_an_epoch_sees_every_image_once_in_an_order_of_the_seed() -> None:
    train = np.arange(100, 175)
    batches = batch_indices(train, 25, Streams(0))
    epochs = [torch.cat([next(batches) for _ in range(3)]) for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == train.tolist()
    assert not torch.equal(*epochs)
    again = batch_indices(train, 25, Streams(0))
    assert torch.equal(next(again), epochs[0][:25])


def test_the_batches_are_those_that_batch_order_says() -> None:
    built = problem()
    order = built.batch_order()
    assert order is not None
    assert order.shape == (built.samples_per_epoch // 64, 64)
    images, labels = built.draw()
    assert torch.equal(labels, built._labels[order[0]])
    assert torch.equal(images, built.prepared(built._images[order[0]]))


def test_what_fills_no_batch_is_dropped() -> None:
    batches = batch_indices(np.arange(10), 4, Streams(0))
    assert [len(next(batches)) for _ in range(5)] == [4] * 5


def test_images_are_normalized_by_the_training_images() -> None:
    data = load("digits", LOCATION)
    mean, deviation = channel_statistics(data.train_images)
    pixels = data.train_images.double()
    assert mean.item() == pytest.approx(pixels.mean().item(), rel=1e-6)
    assert deviation.item() == pytest.approx(pixels.std(correction=0).item(), rel=1e-6)
    built = problem()
    prepared = built.prepared(built._images)
    assert prepared.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert prepared.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_augmentation_changes_the_images_and_not_their_order() -> None:
    (plain, labels), (one, order), (two, _) = (
        problem(augmentation=augmentation).draw() for augmentation in ("none", "crop-flip", "crop-flip")
    )
    assert torch.equal(labels, order)
    assert torch.equal(one, two)
    assert not torch.equal(one, plain)
    assert not torch.equal(one, problem(augmentation="crop").draw()[0])


class Answers(nn.Module):
    """Answers with the given class for each image, in turn."""

    def __init__(self, classes: torch.Tensor) -> None:
        super().__init__()
        self.classes = classes
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        taken, self.classes = self.classes[: len(images)], self.classes[len(images) :]
        return nn.functional.one_hot(taken, 10).float()


def test_the_metrics_are_what_they_say() -> None:
    built = problem(label_noise=NOISE, backdoor=BACKDOOR)
    data, measured = load("digits", LOCATION), built.measured
    flipped_true = measured.labels["flipped, true"]
    assert (measured.labels["flipped"] != flipped_true).all()
    attacked = data.test_labels[data.test_labels != 0]
    assert torch.equal(measured.labels["triggered"], attacked)
    answers = torch.cat(
        [
            data.test_labels,
            1 - measured.labels["validation"].clamp(max=1),
            1 - measured.labels["train"].clamp(max=1),
            flipped_true,
            torch.zeros_like(attacked),
        ]
    )
    built._forward = Answers(answers)
    metrics = built.evaluate()
    assert metrics["test_accuracy"] == 1.0
    assert metrics["validation_accuracy"] == 0.0
    assert metrics["train_accuracy"] == 0.0
    assert metrics["memorization"] == 0.0
    assert metrics["recovery"] == 1.0
    assert metrics["attack_success"] == 1.0
    assert metrics["robust_accuracy"] == 0.0


def test_memorization_looks_at_training_images_alone_and_not_at_poisoned_ones() -> None:
    built = problem(label_noise=NOISE, backdoor={**BACKDOOR, "rate": 0.3})
    noise, backdoor = built.manifests()
    seen = set(noise.indices) & set(built._train.tolist()) - set(backdoor.indices)
    assert len(built.measured.labels["flipped"]) == len(seen)


def test_the_backdoor_is_in_the_triggered_test_images() -> None:
    built = problem(backdoor=BACKDOOR)
    parts = built.measured.split(built.measured.images)
    assert (parts["triggered"][:, :, -2:, -2:] == 255).all()
    data = load("digits", LOCATION)
    untouched = parts["triggered"].clone()
    untouched[:, :, -2:, -2:] = data.test_images[data.test_labels != 0][:, :, -2:, -2:]
    assert torch.equal(untouched, data.test_images[data.test_labels != 0])
    assert torch.equal(parts["test"], data.test_images)


def test_training_learns_and_collapse_is_flagged() -> None:
    built = problem()
    assert built.final()["collapsed"] in (False, True)
    optimizer = torch.optim.SGD(built.parameters(), lr=0.1, momentum=0.9)
    for _ in range(100):
        built.objective.next_step()
        optimizer.step(built.objective)
    metrics = built.evaluate()
    assert metrics["test_accuracy"] > 0.9
    assert built.test_correct().float().mean().item() == pytest.approx(metrics["test_accuracy"])
    final = built.final()
    assert final["collapsed"] is False
    with torch.no_grad():
        list(built.parameters())[-1][3] += 1e4
    assert built.final()["collapsed"] is True


def test_measuring_leaves_the_model_as_it_was() -> None:
    built = problem(model="resnet6", label_noise=NOISE)
    built.objective.next_step()
    built.objective()
    before, random_state = weights(built), torch.get_rng_state()
    first = built.evaluate()
    built.final()
    built.test_correct()
    assert built.evaluate() == first
    assert all(map(torch.equal, before, weights(built)))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert built.module.training


def test_batch_norm_statistics_move_once_a_step() -> None:
    built = problem(model="resnet6")
    counter = next(layer for layer in built.module.modules() if isinstance(layer, nn.BatchNorm2d))
    for step in (1, 2):
        built.objective.next_step()
        built.objective()
        built.objective()
        assert counter.num_batches_tracked.item() == step
    assert built.objective.samples_drawn == 2 * 64


def test_the_sam_gap_is_of_the_mean_loss_on_given_labels_in_evaluation_mode() -> None:
    built = problem(model="resnet6", label_noise=NOISE)
    chosen = Streams(0).numpy("split", "sharpness").permutation(built._train.numpy())[:1024]
    images, labels = built.prepared(built._images[chosen]), built._labels[chosen]
    gap = sam_gap(built.surface()).value
    built.module.eval()
    here = nn.functional.cross_entropy(built.module(images), labels)
    gradients = torch.autograd.grad(here, built.parameters())
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(built.parameters(), gradients, strict=True):
            parameter += 0.05 * gradient / norm
        there = nn.functional.cross_entropy(built.module(images), labels)
    assert gap == pytest.approx((there - here).item(), rel=1e-2)


def test_reestimating_does_not_draw_from_the_default_generator() -> None:
    built = problem(model="resnet10t", cifar_stem=True, model_options={"drop_rate": 0.5}, train_images=200)
    before = torch.get_rng_state()
    built.reestimate_batch_norm()
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_norm_statistics_are_reestimated_from_the_same_images() -> None:
    built = problem(model="resnet6")
    norms = [layer for layer in built.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    built.reestimate_batch_norm()
    first = [norm.running_mean.clone() for norm in norms]
    for norm in norms:
        norm.running_mean.fill_(7.0)
    built.reestimate_batch_norm()
    assert all(torch.equal(a, norm.running_mean) for a, norm in zip(first, norms, strict=True))
    assert norms[0].momentum == 0.1
    assert built.module.training


@pytest.mark.parametrize(
    "settings",
    [Settings(precision="bf16"), Settings(channels_last=True), Settings(resamples=True)],
    ids=["bf16", "channels_last", "resamples"],
)
def test_numerics_train_too(settings: Settings) -> None:
    built = problem(settings=settings, model="resnet6")
    built.objective.next_step()
    loss = built.objective()
    assert torch.isfinite(loss)
    assert loss.dtype == torch.float32
    assert all(parameter.grad is not None for parameter in built.parameters())
    assert set(built.evaluate()) == {
        "validation_accuracy",
        "test_accuracy",
        "test_loss",
        "test_calibration_error",
        "train_accuracy",
        "train_loss",
    }


def output_dtypes(built: ImageProblem) -> list[torch.dtype]:
    """Of the model's first convolution: in training, in evaluation, and where sharpness is measured."""
    seen: list[torch.dtype] = []
    layer = next(layer for layer in built.module.modules() if isinstance(layer, nn.Conv2d))
    layer.register_forward_hook(lambda *arguments: seen.append(arguments[2].dtype))
    built.objective.next_step()
    built.objective()
    training = seen.pop()
    built.evaluate()
    evaluation = seen.pop()
    seen.clear()
    built.surface().value()
    return [training, evaluation, seen[0]]


def test_mixed_precision_is_for_all_but_sharpness() -> None:
    half, single = torch.bfloat16, torch.float32
    assert output_dtypes(problem(settings=Settings(precision="bf16"), model="resnet6")) == [
        half,
        half,
        single,
    ]
    assert output_dtypes(problem(model="resnet6")) == [single] * 3


def test_channels_last_is_for_images_and_convolutions() -> None:
    pixels = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 2
    data = ImageData("colors", pixels, labels, pixels, labels, ("a", "b"))
    formats = {False: torch.contiguous_format, True: torch.channels_last}
    for chosen, memory_format in formats.items():
        wanted = ImageTask("colors", model="resnet6", batch_size=16)
        built = ImageProblem(wanted, data, 0, Settings(channels_last=chosen))
        images, _ = built.draw()
        assert images.is_contiguous(memory_format=memory_format)
        assert built.module.conv1.weight.is_contiguous(memory_format=memory_format)
        assert not images.is_contiguous(memory_format=formats[not chosen])


def test_compilation_is_asked_for(monkeypatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    problem()
    assert compiled == []
    built = problem(settings=Settings(compile=True))
    assert compiled == [built.module]


def test_a_resampling_optimizer_gets_a_fresh_batch_at_every_call() -> None:
    built = problem(settings=Settings(resamples=True))
    built.objective.next_step()
    assert built.objective() != built.objective()
    assert built.objective.samples_drawn == 2 * 64


def test_a_vision_transformer_trains() -> None:
    vit = {"patch_size": 4, "depth": 1, "embed_dim": 32, "num_heads": 2}
    built = problem(model="vit_tiny_patch16_224", model_options=vit)
    built.objective.next_step()
    assert torch.isfinite(built.objective())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet81"}, "unknown model 'resnet81'; did you mean 'resnet8'"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"validation_fraction": 1}, "validation_fraction must be between 0 and 1, not 1.0"),
        ({"train_images": 0}, "train_images must be at least 1, not 0"),
        ({"image_size": 16}, "unknown option 'image_size'"),
        ({"augmentation": "flip"}, "option 'augmentation' must be one of 'none', 'crop', 'crop-flip'"),
        (
            {"label_noise": {"kind": "symmetric"}},
            "option 'label_noise' 'symmetric': option 'rate' is required",
        ),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        task(**options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 5000}, "batch_size 5000 is more than the 1211 training images"),
        ({"train_images": 10, "batch_size": 2}, "of 10 training images leaves none to validate on"),
        ({"label_noise": {"kind": "symmetric", "rate": 1e-4}}, "would change nothing"),
        ({"model_options": {"depth": 3}}, "model 'mlp' cannot be built"),
        ({"cifar_stem": True}, "model 'mlp' has no ResNet stem"),
        ({"model": "vit_tiny_patch16_224"}, "model 'vit_tiny_patch16_224' cannot"),
    ],
)
def test_what_does_not_fit_the_data_is_named(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        problem(**options)


def test_the_spelling_of_a_model_option_changes_nothing() -> None:
    one, two = (
        get_task("digits").resolve({"model_options": options})["model_options"]
        for options in (
            {"hidden": [64.0], "drop": 0.0, "rate": 0.5},
            {"rate": 0.5, "drop": 0, "hidden": (64,)},
        )
    )
    assert repr(one) == repr(two)


def test_the_digest_is_of_the_images_that_are_used() -> None:
    whole, part = task().data_digest(LOCATION), task(train_images=500).data_digest(LOCATION)
    assert whole == dataclasses.replace(task()).data_digest(LOCATION)
    assert whole != part


def test_clean_training_images_are_those_that_nothing_touched() -> None:
    built = problem(label_noise=NOISE, backdoor=BACKDOOR)
    changed = {index for manifest in built.manifests() for index in manifest.indices}
    train = set(built._train.tolist())
    assert built.measured.parts["train"] == len(train - changed)
    data = load("digits", LOCATION)
    clean = torch.tensor(sorted(train - changed))
    assert built.measured.labels["train"].bincount().tolist() == data.train_labels[clean].bincount().tolist()


def test_images_that_a_backdoor_changed_without_their_label_are_not_clean() -> None:
    built = problem(backdoor={"kind": "wanet", "rate": 0.05})
    (manifest,) = built.manifests()
    assert len(manifest.touched) == 3 * len(manifest.indices)
    changed = set(manifest.touched) & set(built._train.tolist())
    assert built.measured.parts["train"] == len(built._train) - len(changed)


def test_members_and_others_come_from_one_corrupted_pool() -> None:
    built = problem(label_noise=NOISE)
    built.module.eval()
    for losses, positions in zip(built.membership_losses(), (built._train, built._validation), strict=True):
        logits = built.module(built.prepared(built._images[positions]))
        expected = nn.functional.cross_entropy(logits, built._labels[positions], reduction="none")
        assert torch.allclose(losses.float(), expected, atol=1e-6)


def test_a_label_counts_as_memorized_from_its_first_time_on() -> None:
    built = problem(label_noise=NOISE)
    count = built.measured.parts["flipped"]
    assert built.memorized_at()["gradient_evaluations"] == [None] * count
    labels = built.measured.labels
    others = {name: labels[name] for name in built.measured.parts if name != "flipped"}

    def answer(flipped: torch.Tensor) -> None:
        built._forward = Answers(torch.cat([*others.values(), flipped]))
        built.evaluate()

    first = torch.arange(count) < 5
    built.objective.gradient_evaluations = 7.0
    answer(torch.where(first, labels["flipped"], labels["flipped, true"]))
    built.objective.gradient_evaluations = 9.0
    answer(torch.where(torch.arange(count) < 8, labels["flipped"], labels["flipped, true"]))
    built.objective.gradient_evaluations = 11.0
    answer(labels["flipped, true"])
    assert built.memorized_at()["gradient_evaluations"] == [7.0] * 5 + [9.0] * 3 + [None] * (count - 8)
    assert built.memorized_at()["positions"] == built.measured.flipped.tolist()
