"""Training-free scores of a whole pool of architectures in one program."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from experiments.assets import architectures
from experiments.assets.text_windows import KINDS
from experiments.networks import Network
from jaxlab import nas
from jaxlab.typing import Array, PyTree

__all__ = ["CELL_SCORES", "COMBINED", "SIZES", "cell_scores", "diswot", "network_scores", "signed_log"]

SIZES = ("params", "depth")
# The scores that are combined, as published.
COMBINED = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacobian_covariance")
SALIENCIES = ("grad_norm", "plain", "snip", "grasp", "fisher")
CELL_SCORES = (
    "params",
    "grad_norm",
    "snip",
    "jacobian_covariance",
    "cosine_jacobian",
    "naswot",
    "hidden_covariance",
    "hidden_covariance_examples",
)
FAR = -1e9  # the logit of a class that does not exist


def diswot(genes: Array, params: PyTree, task: Any, teacher: Network, teacher_params: PyTree) -> nas.DiswotScore:
    """Of an untrained student and an untrained teacher on the rows of ``task``.

    The student's channels come to the teacher's number by a random projection: at its own number of channels a student
    would be compared with as many numbers as it is wide, and the score would follow the width. How inputs relate needs
    no common number.
    """
    logits, features, _, _ = architectures.network_parts(genes, params, task.x)
    other = teacher.features(teacher_params, task.x)
    targets = jax.nn.one_hot(task.y, task.classes.shape[0])

    def head_grad(logits: Array, features: Array) -> Array:
        """[K, C], of the mean cross entropy."""
        shares = jax.nn.softmax(jnp.where(task.classes, logits, FAR))
        return (shares - targets).T @ features / len(targets)

    own, theirs = head_grad(logits, features), head_grad(teacher.logits(teacher_params, task.x), other)
    width = jnp.array(architectures.WIDTHS)[genes[0]]
    projection = jax.random.normal(jax.random.key(0), (features.shape[1], other.shape[1])) / jnp.sqrt(width)
    # Channels that a student lacks are zero: it uses the first rows of one projection for all.
    return nas.diswot_score(features, other, jnp.matmul(own, projection, precision="highest"), theirs)


def network_scores(genes: Array, key: Array, task: Any, teacher: Network, teacher_params: PyTree) -> dict[str, Array]:
    """Every score of one untrained network on the rows of ``task``; all larger is better but for the sizes."""
    init_key, _ = jax.random.split(key)  # as in training: it is the same network
    params = architectures.network_init(init_key, genes, jnp.sum(task.classes), task.classes.shape[0])
    logits_of = functools.partial(architectures.network_logits, genes)
    parts = functools.partial(architectures.network_parts, genes)

    def masked(params: PyTree, x: Array) -> Array:
        return jnp.where(task.classes, logits_of(params, x), FAR)

    def taps(params: PyTree, x: Array, offsets: Any) -> tuple[Array, PyTree]:
        logits, _, outputs, _ = parts(params, x, offsets)
        return jnp.where(task.classes, logits, FAR), outputs

    _, _, outputs, exists = parts(params, task.x)
    before, units = _units(outputs, exists)
    jacobian = nas.input_jacobian(logits_of, params, task.x)
    tangent = nas.tangent_scores(logits_of, params, task.x, task.y, select=_is_kernel)
    likeness = diswot(genes, params, task, teacher, teacher_params)
    found = {
        "params": architectures.count(params),
        "depth": jnp.array(architectures.DEPTHS)[genes[1]].astype(jnp.float32),
        **nas.saliency_scores(masked, params, task.x, task.y, kinds=SALIENCIES, tap_fn=taps, select=_is_kernel),
        "synflow": nas.log_synflow(logits_of, params, task.x.shape[1:], select=_is_kernel),
        "jacobian_covariance": nas.correlation_logdet(jacobian),
        "naswot": nas.activation_code_logdet(before, unit_where=units),
        "naswot_inputs": nas.relu_input_logdet(before * units),
        "tangent_trace": tangent.trace,
        "tangent_condition": -tangent.condition,
        "diswot": likeness.score,
        "diswot_relation": likeness.relation,
        "diswot_semantic": likeness.semantic,
    }
    return {name: _finite(value) for name, value in found.items()}


def cell_scores(genes: Array, key: Array, tokens: Array) -> dict[str, Array]:
    """``CELL_SCORES`` of one untrained recurrent cell on windows int [B, T + 1]."""
    init_key, _ = jax.random.split(key)
    params = architectures.cell_init(init_key, genes)
    x = jax.nn.one_hot(tokens[:, :-1], len(KINDS))
    states, before = architectures.cell_states(genes, params, x)

    def last(params: PyTree, x: Array) -> Array:
        return architectures.cell_logits(genes, params, x)[:, -1]

    salient = nas.saliency_scores(
        last, params, x, tokens[:, -1], kinds=("grad_norm", "snip"), select=lambda path, leaf: leaf.ndim == 2
    )
    jacobian = nas.input_jacobian(last, params, x)
    codes = before.reshape(len(before), -1)
    found = {
        "params": architectures.count(params),
        **salient,
        "jacobian_covariance": nas.correlation_logdet(jacobian),
        "cosine_jacobian": nas.cosine_jacobian_score(jacobian),
        "naswot": nas.activation_code_logdet(codes),
        "hidden_covariance": nas.hidden_covariance(states),
        "hidden_covariance_examples": nas.hidden_covariance(states, rows="examples"),
    }
    return {name: _finite(found[name]) for name in CELL_SCORES}


def signed_log(scores: Array) -> Array:
    """Scores [..., N] by their orders of magnitude: asinh of the score over the median size."""
    size = jnp.median(jnp.abs(scores), axis=-1, keepdims=True)
    return jnp.arcsinh(scores / jnp.where(size > 0, size, 1.0))


def _is_kernel(path: str, leaf: Any) -> bool:
    return path.endswith("kernel")


def _units(outputs: dict[str, Array], exists: dict[str, Array]) -> tuple[Array, Array]:
    """The outputs of all hidden layers, [N, U], and which of the units exist."""
    names = list(exists)
    rows = jnp.concatenate([outputs[name].reshape(len(outputs[name]), -1) for name in names], axis=1)
    return rows, jnp.concatenate([exists[name].reshape(-1) for name in names])


def _finite(score: Array) -> Array:
    """Minus infinity and NaN are the worst there is."""
    return jnp.nan_to_num(score, nan=-1e30, neginf=-1e30, posinf=1e30).astype(jnp.float32)
