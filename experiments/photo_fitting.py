"""Does a loss on the structure of random pixels help a neural field to fit a photograph?

A network takes the place of a pixel and gives its colour; it sees batches of random pixels of a photograph. The mean
square compares pixels one by one. S3IM lays each batch out as virtual images in random orders and compares their
structure. Both photographs are fitted: the one as it is, and the one in which a tenth of the pixels hold random colours
(what is measured is the distance to the photograph without them).
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.errors import UserError, missing_package
from experiments.networks import mlp
from experiments.programs import Programs
from experiments.runner import Claim, Measured, Method, Result, Run
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics, nn
from jaxlab.typing import Array, PyTree

DATASETS = ()
SEED_SCOPE = "frequencies, network, batches, which pixels are corrupted"
CONDITIONS = ("clean", "corrupt")


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    photo: str = "china.jpg"
    """One of the photographs that scikit-learn carries: china.jpg or flower.jpg."""
    side: int = 128
    """Pixels on each side of what is fitted: the middle square of the photograph, made smaller."""
    patch: int = 64
    """A batch is a square of so many pixels on each side."""
    repeats: int = 10
    """Orders in which S3IM lays a batch out."""
    frequencies: int = 64
    """Of the Fourier features."""
    bandwidth: float = 8.0
    """Standard deviation of the frequencies, in waves per image."""
    hidden: int = 64
    """Width of the two hidden layers."""
    learning_rate: float = 5e-3
    """Of Adam, at the start; it falls to 0."""
    steps: int = 400
    """Batches."""
    corrupt: float = 0.1
    """Share of the pixels that hold random colours."""

    def __post_init__(self) -> None:
        if self.patch < 4 or self.side < self.patch:
            raise ValueError(f"patch must lie between 4 and side, got {self.patch} and {self.side}")
        if not 0 <= self.corrupt < 1:
            raise ValueError(f"corrupt must lie in [0, 1), got {self.corrupt}")


QUICK = {"side": 16, "patch": 8, "repeats": 2, "frequencies": 8, "hidden": 16, "steps": 20}


class Weights(NamedTuple):
    """How much each loss counts."""

    square: Array
    absolute: Array
    structure: Array


def photograph(name: str, side: int) -> np.ndarray:
    """The middle square of a photograph, float32 [side, side, 3] in [0, 1]."""
    try:
        from sklearn.datasets import load_sample_images
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    loaded = load_sample_images()
    names = [str(path).replace("\\", "/").rsplit("/", 1)[-1] for path in loaded.filenames]
    if name not in names:
        raise UserError(f"There is no photograph {name!r}: choose from {', '.join(sorted(names))}.")
    image = loaded.images[names.index(name)].astype(np.float32) / 255
    size = min(image.shape[:2])
    if side > size:
        raise UserError(f"--side {side} is more than the {size} pixels of {name}.")
    top, left = ((length - size) // 2 for length in image.shape[:2])
    square = jnp.asarray(image[top : top + size, left : left + size])
    return np.clip(np.asarray(jax.image.resize(square, (side, side, 3), "linear")), 0, 1)


def corrupted(key: Array, image: Array, share: float) -> Array:
    """The photograph with some pixels of random colours."""
    where_key, colour_key = jax.random.split(key)
    hit = jax.random.uniform(where_key, image.shape[:2]) < share
    return jnp.where(hit[..., None], jax.random.uniform(colour_key, image.shape), image)


def fit_photo(config: Config, key: Array, image: Array, weights: Weights) -> tuple[dict[str, Array], dict[str, Array]]:
    """Quality of the fit to the photograph, from its own pixels and from those of which some are corrupt."""
    frequency_key, init_key, fit_key, corrupt_key = jax.random.split(key, 4)
    frequencies = config.bandwidth * jax.random.normal(frequency_key, (2, config.frequencies))
    network = mlp((2 * config.frequencies, config.hidden, config.hidden, 3))
    ticks = (jnp.arange(config.side) + 0.5) / config.side
    places = jnp.stack(jnp.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    features = nn.fourier_features(places, frequencies)

    def colours(params: PyTree, features: Array) -> Array:
        return jax.nn.sigmoid(network.logits(params, features))

    def loss_fn(params: PyTree, state: Weights, batch: dict[str, Array], key: Array) -> tuple[Array, Weights]:
        rendered, wanted = colours(params, batch["features"]), batch["colour"]

        def structure() -> Array:
            return losses.s3im(key, rendered, wanted, patch=(config.patch, config.patch), repeats=config.repeats)

        # Where the structure has no weight it costs no time.
        unlike = jax.lax.cond(state.structure > 0, structure, lambda: jnp.zeros(()))
        error = rendered - wanted
        plain = state.square * jnp.mean(error**2) + state.absolute * jnp.mean(jnp.abs(error))
        return plain + state.structure * unlike, state

    optimizer = cosine_adam(config.learning_rate, config.steps)
    start = network.init(init_key)

    def one(target: Array) -> tuple[Array, Array, Array]:
        data = {"features": features, "colour": target.reshape(-1, 3)}
        sizes = {"num_steps": config.steps, "batch_size": config.patch**2}
        params = fit(loss_fn, start, weights, optimizer, data, fit_key, **sizes).params
        found = colours(params, features).reshape(image.shape)
        return metrics.psnr(found[None], image[None])[0], metrics.ssim(found, image), found

    targets = jnp.stack([image, corrupted(corrupt_key, image, config.corrupt)])
    psnr, ssim, found = jax.vmap(one)(targets)
    measured = {f"psnr_{name}": psnr[i] for i, name in enumerate(CONDITIONS)}
    measured |= {f"ssim_{name}": ssim[i] for i, name in enumerate(CONDITIONS)}
    return measured, {"image": jnp.concatenate([image[None], found])}


METHODS = (
    Method("square", None, lambda: Weights(*map(jnp.asarray, (1.0, 0.0, 0.0))), note="mean square of the colours"),
    Method("absolute", None, lambda: Weights(*map(jnp.asarray, (0.0, 1.0, 0.0))), note="mean absolute error"),
    Method("square_s3im", 84, lambda: Weights(*map(jnp.asarray, (1.0, 0.0, 1.0))), note="mean square and S3IM"),
    Method("s3im", 84, lambda: Weights(*map(jnp.asarray, (0.0, 0.0, 1.0))), note="S3IM alone"),
)


def _gain(rows: Any, metric: str) -> Any:
    return rows[metric]["square_s3im"] - rows[metric]["square"]


CLAIMS = (
    Claim(84, "S3IM beside the mean square raises SSIM", lambda rows: _gain(rows, "ssim_clean"), ">", 0.0),
    Claim(84, "PSNR stays within 1 dB", lambda rows: _gain(rows, "psnr_clean"), "within", 1.0),
    Claim(
        84,
        "With corrupt pixels the gain of SSIM is larger",
        lambda rows: _gain(rows, "ssim_corrupt") - _gain(rows, "ssim_clean"),
        ">",
        0.0,
    ),
)


def middle(images: Any) -> np.ndarray:
    """48 pixels in the middle of images [..., H, H, 3], in whole steps from 0 to 255."""
    start = max(0, (images.shape[-2] - 48) // 2)
    cut = slice(start, start + 48)
    return np.round(255 * np.clip(np.asarray(images)[..., cut, cut, :], 0, 1))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows; all share one compiled program, one seed after the other."""
    image = jnp.asarray(photograph(config.photo, config.side))
    programs = Programs()

    def measure(method: Method) -> Measured:
        fn = functools.partial(fit_photo, config)
        found = programs.measured("fit", fn, run.seed_keys(), image, method.fn(), mode="map")
        return found._replace(curves={"image": middle(found.curves["image"])})

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """The middle of the fits of the first seed, from clean and from corrupt pixels, and their similarity."""
    figure, axes = plots.new_figure(columns=2, title="A photograph fitted by a neural field")
    found = {name: np.asarray(images[0], float) / 255 for name, images in result.curves.get("image", {}).items()}
    if found:
        photo = next(iter(found.values()))[0]
        shown = {"photograph": np.stack([photo] * len(CONDITIONS))} | {name: x[1:] for name, x in found.items()}
        side = next(iter(shown.values())).shape[1]
        canvas = np.ones((len(shown) * (side + 2), len(CONDITIONS) * (side + 2), 3))
        for row, images in enumerate(shown.values()):
            for column, image in enumerate(images):
                top, left = row * (side + 2), column * (side + 2)
                canvas[top : top + side, left : left + side] = image
        axes[0].imshow(canvas, interpolation="nearest")
        axes[0].set_yticks([(side + 2) * row + side / 2 for row in range(len(shown))], list(shown))
        named = [f"{name} pixels" for name in CONDITIONS]
        axes[0].set_xticks([(side + 2) * column + side / 2 for column in range(len(named))], named)
    axes[0].tick_params(length=0, labelsize=9)
    axes[0].spines[:].set_visible(False)
    bars = {
        f"{method}, {name}": result.rows[f"ssim_{name}"][method]
        for method in result.rows.get("ssim_clean", {})
        for name in CONDITIONS
    }
    plots.method_bars(axes[1], bars, list(bars), "SSIM with the photograph")
    return figure
