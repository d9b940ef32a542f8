"""How fast are losses and their gradients, against pytorch-metric-learning, torch and torchvision?

``pairs``: NT-Xent and multi-similarity. ``margin``: an ArcFace head over many classes. ``z_loss``: the Z-loss from
statistics against cross entropy over all logits. ``detection``: sigmoid focal loss and box IoU. All get the same
float32 arrays. A jaxlab entry is one compiled program; the peers run as their users run them.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.harness import (
    Entry,
    Found,
    Race,
    Report,
    Result,
    Say,
    Target,
    Timing,
    as_set,
    check_contests,
    compare,
    contests,
    growths,
    race,
)
from jaxlab import losses, vision

__all__ = ["CONTESTS", "QUICK", "Config", "run"]

CONTESTS = ("pairs", "margin", "z_loss", "detection")
PEER = "pytorch-metric-learning"


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    contests: tuple[str, ...] = CONTESTS
    """Which contests; pairs and margin need pytorch-metric-learning, z_loss torch, detection torchvision."""
    batches: tuple[int, ...] = (512, 1024, 4096)
    """Embeddings in a batch of pairs, two views of each example."""
    dim: int = 128
    """Width of an embedding, and of what the Z-loss reads."""
    most_bytes: int = 12 << 30
    """A peer whose arrays would be larger together is left out."""
    head: tuple[int, int, int] = (512, 256, 50_000)
    """Examples, width and classes of the margin head."""
    examples: int = 256
    """Examples of the Z-loss."""
    classes: tuple[int, ...] = (50_000, 150_000, 500_000)
    """Numbers of its classes."""
    anchors: tuple[int, int] = (200_000, 80)
    """Rows and classes of the focal loss."""
    boxes: tuple[int, int] = (20_000, 100)
    """Anchors and boxes of all pairs."""
    repeats: int = 7
    """Runs of every entry."""
    patience: float = 40.0
    """An entry that has run for so many seconds is not run again."""

    def __post_init__(self) -> None:
        check_contests(self.contests, CONTESTS)
        sizes = (*self.batches, *self.classes, *self.head, *self.anchors, *self.boxes)
        if not self.batches or not self.classes or min(*sizes, self.dim, self.examples, self.repeats) < 2:
            raise ValueError("All sizes and repeats must be at least 2.")
        if any(size % 2 for size in self.batches):
            raise ValueError(f"--batches must be even: two views of each example, got {self.batches}.")


QUICK = {
    "batches": (8,),
    "dim": 4,
    "head": (4, 3, 5),
    "examples": 4,
    "classes": (6, 9),
    "anchors": (10, 2),
    "boxes": (6, 3),
    "repeats": 2,
}


def run(config: Config, say: Say) -> Report:
    """Runs the contests, each with its own peer."""
    held: Mapping[str, Callable[[Config, Say], Found]] = {
        "pairs": _pairs,
        "margin": _margin,
        "z_loss": _z_loss,
        "detection": _detection,
    }
    results, targets = contests(held, config, say)
    notes = (
        "Values and gradients; of IoU the values. error: of the value, relative to the peer's.",
        "matrices: scratch space of the compiled gradient, in B x B float32 matrices.",
        "The statistics of the Z-loss (the sum of the rows of W and W'W) are kept beside W and not counted here.",
    )
    return Report("size", results, targets, notes)


# --- contests


def _pairs(config: Config, say: Say) -> Found:
    results, targets = [], []
    kinds = {"NT-Xent": _nt_xent, "multi-similarity": _multi_similarity}
    for (name, loss), size in itertools.product(kinds.items(), sorted(set(config.batches))):
        rng = np.random.default_rng(0)
        centers = rng.standard_normal((size // 2, config.dim))
        noisy = [centers + 0.5 * rng.standard_normal(centers.shape) for _ in range(2)]
        x, labels = np.concatenate(noisy).astype(np.float32), np.tile(np.arange(size // 2), 2)
        program = _program(loss, x, labels)
        matrices = program.memory_analysis().temp_size_in_bytes / (4 * size**2)
        entries = [Entry(f"jaxlab, {name}", functools.partial(_placed, program, x, labels))]
        # Its NT-Xent compares every positive pair with all negatives, in several arrays.
        if name == "NT-Xent" and 8 * 4 * size**3 > config.most_bytes:
            say(f"{name} of {size}: the arrays of {PEER} would not fit, jaxlab runs alone")
        else:
            entries.insert(0, Entry(f"{PEER}, {name}", functools.partial(_peer_pairs, name, x, labels)))
        work = f"{name} of embeddings of width {config.dim}"
        timings = _timed(config, size, work, entries, say)
        timings[-1] = timings[-1]._replace(facts=dict(timings[-1].facts) | {"matrices": matrices})
        results.append(Result(size, work, timings))
        if len(timings) == 2 and size <= 1024:
            ratio = compare(*timings).median
            targets.append(_target(config, f"times faster, {name} of {size}", ratio, ">=", 20))
        if size == 1024:
            targets.append(_target(config, f"B x B matrices of scratch, {name} of {size}", matrices, "<=", 1.25))
    return results, targets


def _nt_xent(x: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(losses.nt_xent(*jnp.split(x, 2), temperature=0.1))


def _multi_similarity(x: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(losses.multi_similarity(x, labels))


def _margin(config: Config, say: Say) -> Found:
    examples, width, classes = config.head
    rng = np.random.default_rng(0)
    x, prototypes = (rng.standard_normal((n, width)).astype(np.float32) for n in (examples, classes))
    labels = rng.integers(classes, size=examples)

    entries = [
        Entry("torch, ArcFace", functools.partial(_torch_arcface, x, prototypes, labels)),
        Entry(f"{PEER}, ArcFace", functools.partial(_peer_arcface, x, prototypes, labels)),
        Entry("jaxlab, ArcFace", functools.partial(_compiled, _arcface, x, prototypes, labels)),
    ]
    work = f"ArcFace head, {examples} examples of width {width}"
    timings = _timed(config, classes, work, entries, say)
    ratio = compare(timings[0], timings[2]).median
    return [Result(classes, work, timings)], [_target(config, "times faster, ArcFace head", ratio, ">=", 1)]


def _arcface(x: jax.Array, prototypes: jax.Array, labels: jax.Array) -> jax.Array:
    logits = losses.arcface_logits(x, prototypes, labels, margin=0.5, scale=64.0)
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))


def _z_loss(config: Config, say: Say) -> Found:
    results, targets = [], []
    for classes in sorted(set(config.classes)):
        rng = np.random.default_rng(0)
        weight = (rng.standard_normal((classes, config.dim)) / np.sqrt(config.dim)).astype(np.float32)
        hidden = rng.standard_normal((config.examples, config.dim)).astype(np.float32)
        labels = rng.integers(classes, size=config.examples)
        given = hidden, weight.sum(axis=0), weight.T @ weight, weight, labels
        entries = [
            Entry("torch, cross entropy", functools.partial(_torch_cross_entropy, hidden, weight, labels)),
            Entry("jaxlab, Z-loss", functools.partial(_compiled, _from_statistics, *given)),
        ]
        work = f"Z-loss against cross entropy, {config.examples} examples of width {config.dim}, gradient by hidden"
        timings = _timed(config, classes, work, entries, say, same=False)
        results.append(Result(classes, work, timings))
        ratio = compare(timings[0], timings[1]).median
        targets.append(_target(config, f"times faster, Z-loss of {classes} classes", ratio, ">=", 1))
    targets.append(_target(config, "Z-loss: exponent of classes", growths(results)["jaxlab, Z-loss"], "<=", 0.2))
    return results, targets


def _from_statistics(
    hidden: jax.Array, total: jax.Array, gram: jax.Array, weight: jax.Array, labels: jax.Array
) -> jax.Array:
    statistics = losses.spherical_statistics(hidden, total, gram, weight[labels])
    return jnp.mean(losses.z_loss_from_statistics(*statistics, len(weight)))


def _detection(config: Config, say: Say) -> Found:
    rng = np.random.default_rng(0)
    rows, classes = config.anchors
    logits = rng.standard_normal((rows, classes)).astype(np.float32) - 4
    hits = (rng.random((rows, classes)) < 0.01).astype(np.float32)
    corners = rng.random((sum(config.boxes), 2), np.float32) * 100
    boxes = np.concatenate([corners, corners + 1 + 30 * rng.random(corners.shape, np.float32)], axis=1)
    pair = boxes[: config.boxes[0]], boxes[config.boxes[0] :]

    pairs = {
        f"sigmoid focal loss, {classes} classes": [
            Entry("torchvision, focal", functools.partial(_torch_focal, logits, hits)),
            Entry("jaxlab, focal (optax)", functools.partial(_compiled, _focal, logits, hits)),
        ],
        f"IoU with {config.boxes[1]} boxes": [
            Entry("torchvision, IoU", functools.partial(_torch_iou, *pair)),
            Entry("jaxlab, IoU", lambda: _placed(jax.jit(vision.box_iou).lower(*pair).compile(), *pair)),
        ],
    }
    results, targets = [], []
    for (work, entries), size in zip(pairs.items(), (rows, config.boxes[0]), strict=True):
        timings = _timed(config, size, work, entries, say)
        results.append(Result(size, work, timings))
        ratio = compare(timings[0], timings[1]).median
        targets.append(_target(config, f"times faster, {work}", ratio, ">=", 1))
    return results, targets


def _focal(logits: jax.Array, hits: jax.Array) -> jax.Array:
    return jnp.mean(optax.losses.sigmoid_focal_loss(logits, hits, alpha=0.25, gamma=2.0))


# --- jaxlab's programs


def _program(loss: Callable[..., jax.Array], *arrays: np.ndarray) -> Any:
    """Value and gradient as one compiled program; by the first array, an ArcFace head by its prototypes too."""
    argnums = (0, 1) if loss is _arcface else (0,)
    return jax.jit(jax.value_and_grad(loss, argnums=argnums)).lower(*arrays).compile()


def _compiled(loss: Callable[..., jax.Array], *arrays: np.ndarray) -> Callable[[], Any]:
    return _placed(_program(loss, *arrays), *arrays)


def _placed(program: Any, *arrays: np.ndarray) -> Callable[[], Any]:
    placed = jax.device_put(arrays)
    return lambda: program(*placed)


def _timed(config: Config, size: int, work: str, entries: list[Entry], say: Say, *, same: bool = True) -> list[Timing]:
    """The race, with how far the values lie from the peer's where the work is ``same``; the values themselves go."""
    timings = race(Race(size, work, entries), repeats=config.repeats, patience=config.patience, say=say)
    exact = np.asarray(_value(timings[0].output), np.float64)
    scale = np.max(np.abs(exact))
    timed = []
    for timing in timings:
        error = float(np.max(np.abs(np.asarray(_value(timing.output), np.float64) - exact)) / scale)
        timed.append(timing._replace(facts={"error": error} if same else {}, output=None))
    return timed


def _value(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _target(config: Config, sentence: str, value: float | None, op: str, bound: float) -> Target:
    """Set for the first configuration; every other run leaves it open."""
    return Target(sentence, value if as_set(config, "contests", "repeats", "patience") else None, op, bound)


# --- peers


def _descended(value: Callable[..., Any], *arrays: np.ndarray) -> Callable[[], Any]:
    """Runs a torch function and its gradient by the arrays; gives the value and the gradients."""
    import torch

    leaves = [torch.from_numpy(array).requires_grad_() for array in arrays]

    def run() -> tuple[np.ndarray, list[np.ndarray]]:
        for leaf in leaves:
            leaf.grad = None
        total = value(*leaves)
        total.backward()
        return total.detach().numpy(), [leaf.grad.numpy() for leaf in leaves]

    return run


def _peer_pairs(name: str, x: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
    import torch
    from pytorch_metric_learning import losses as peers

    loss = peers.NTXentLoss(temperature=0.1) if name == "NT-Xent" else peers.MultiSimilarityLoss()
    kinds = torch.from_numpy(labels)
    return _descended(lambda x: loss(x, kinds), x)


def _peer_arcface(x: np.ndarray, prototypes: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
    import torch
    from pytorch_metric_learning import losses as peers

    loss = peers.ArcFaceLoss(len(prototypes), prototypes.shape[1], margin=float(np.degrees(0.5)), scale=64)
    loss.W = torch.nn.Parameter(torch.from_numpy(prototypes.T.copy()))
    kinds = torch.from_numpy(labels)

    def value(x: Any) -> Any:
        loss.W.grad = None
        return loss(x, kinds)

    return _descended(value, x)


def _torch_arcface(x: np.ndarray, prototypes: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
    import torch
    from torch.nn import functional

    kinds, rows = torch.from_numpy(labels), torch.arange(len(labels))

    def value(x: Any, prototypes: Any) -> Any:
        logits = functional.normalize(x) @ functional.normalize(prototypes).T
        own = logits[rows, kinds].clamp(-1 + 1e-6, 1 - 1e-6)
        turned = own * np.cos(0.5) - torch.sqrt(1 - own**2) * np.sin(0.5)
        logits = logits.index_put((rows, kinds), turned)
        return functional.cross_entropy(64 * logits, kinds)

    return _descended(value, x, prototypes)


def _torch_cross_entropy(hidden: np.ndarray, weight: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
    import torch

    rows, kinds = torch.from_numpy(weight), torch.from_numpy(labels)
    return _descended(lambda hidden: torch.nn.functional.cross_entropy(hidden @ rows.T, kinds), hidden)


def _torch_focal(logits: np.ndarray, hits: np.ndarray) -> Callable[[], Any]:
    import torch
    from torchvision.ops import sigmoid_focal_loss

    wanted = torch.from_numpy(hits)
    return _descended(lambda x: sigmoid_focal_loss(x, wanted, alpha=0.25, gamma=2.0, reduction="mean"), logits)


def _torch_iou(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
    import torch
    from torchvision.ops import box_iou

    first, second = torch.from_numpy(a), torch.from_numpy(b)
    return lambda: box_iou(first, second).numpy()
