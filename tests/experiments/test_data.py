"""Data sets: what packages bring, what a user's file may hold, and one sentence for everything else."""

import numpy as np
import pytest

from experiments.data import NAMES, load
from experiments.errors import UserError

X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_digits():
    digits = load("digits")
    assert (digits.x.shape, digits.x.dtype, digits.kind) == ((1797, 8, 8), np.float32, "images")
    assert (digits.x.min(), digits.x.max()) == (0, 1)
    assert (digits.y.dtype, digits.num_classes, digits.name) == (np.int32, 10, "digits")
    assert np.bincount(digits.y).min() > 100


def test_mnist5k():
    mnist = load("mnist5k")
    assert (mnist.x.shape, mnist.x.dtype, mnist.kind) == ((5000, 28, 28), np.float32, "images")
    assert (mnist.x.min(), mnist.x.max()) == (0, 1)
    np.testing.assert_array_equal(np.bincount(mnist.y), 500)


@pytest.mark.parametrize(
    ("name", "shape", "counts"), [("wine", (178, 13), [59, 71, 48]), ("breast_cancer", (569, 30), [212, 357])]
)
def test_tables_as_they_are_measured(name, shape, counts):
    table = load(name)
    assert (table.x.shape, table.x.dtype, table.kind, table.name) == (shape, np.float32, "features", name)
    np.testing.assert_array_equal(np.bincount(table.y), counts)
    assert np.ptp(table.x, axis=0).max() > 100  # not standardised: that is for those who know which rows are training


def test_file_of_features_renumbers_labels(tmp_path):
    data = load(write(tmp_path / "mine.npz", x=X.astype(np.float64), y=np.array([30, 7, 7, 30, 900, 7], np.uint16)))
    assert (data.kind, data.name, data.num_classes) == ("features", "mine", 3)
    np.testing.assert_array_equal(data.y, [1, 0, 0, 1, 2, 0])
    np.testing.assert_array_equal(data.classes[data.y], [30, 7, 7, 30, 900, 7])
    np.testing.assert_array_equal(data.x, X)


@pytest.mark.parametrize("shape", [(6, 2, 2), (6, 2, 2, 3)])
def test_file_of_images(tmp_path, shape):
    image = np.full(shape, 255, np.uint8)
    assert load(write(tmp_path / "a.npz", x=image, y=Y)).kind == "images"
    assert load(write(tmp_path / "a.npz", x=image, y=Y)).x.max() == 1  # bytes are scaled
    assert load(write(tmp_path / "b.npz", x=image.astype(np.float32), y=Y)).x.max() == 255  # floats are not
    assert load(write(tmp_path / "c.npz", x=image.reshape(6, -1), y=Y)).x.max() == 255  # nor are features


def test_compressed_file_and_text_path(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=X, y=Y)
    np.testing.assert_array_equal(load(str(tmp_path / "a.npz")).x, X)


def test_digest_follows_the_values(tmp_path):
    first = load(write(tmp_path / "a.npz", x=X, y=Y)).digest
    assert load(write(tmp_path / "other name.npz", x=X, y=Y + 5)).digest == first
    assert load(write(tmp_path / "a.npz", x=X + 1, y=Y)).digest != first
    assert load(write(tmp_path / "a.npz", x=X, y=Y[::-1])).digest != first
    assert load(write(tmp_path / "a.npz", x=X.reshape(6, 2, 2), y=Y)).digest != first


NAN = np.where(X == 5, np.nan, X)
BAD = {
    "no y": (dict(x=X), "lacks y: it holds x"),
    "no x": (dict(features=X, y=Y), "lacks x: it holds features, y"),
    "empty file": ({}, "lacks x and y: it holds nothing"),
    "one axis": (dict(x=X[:, 0], y=Y), "x in .* has shape [6]"),
    "five axes": (dict(x=X.reshape(6, 1, 1, 2, 2), y=Y), "has shape [6, 1, 1, 2, 2]"),
    "no rows": (dict(x=X[:0], y=Y[:0]), "has shape [0, 4]"),
    "no columns": (dict(x=X[:, :0], y=Y), "has shape [6, 0]"),
    "NaN": (dict(x=NAN, y=Y), "1 values that are NaN or infinite"),
    "infinite": (dict(x=np.where(X > 3, np.inf, X), y=Y), "20 values"),
    "too large for float32": (dict(x=X.astype(float) * 1e300, y=Y), "23 values"),
    "objects": (dict(x=X.astype(object), y=Y), "x in .* is an array of Python objects"),
    "object labels": (dict(x=X, y=np.array(list("abcabc"), dtype=object)), "y in .* is an array of Python objects"),
    "text": (dict(x=X.astype(str), y=Y), "expected real numbers"),
    "complex": (dict(x=X.astype(complex), y=Y), "expected real numbers"),
    "float labels": (dict(x=X, y=Y.astype(float)), "expected integer labels"),
    "boolean labels": (dict(x=X, y=Y > 0), "expected integer labels"),
    "text labels": (dict(x=X, y=np.array(list("abcabc"))), "expected integer labels"),
    "negative labels": (dict(x=X, y=Y - 1), "negative label -1"),
    "one class": (dict(x=X, y=np.zeros(6, int)), "one class only"),
    "too few labels": (dict(x=X, y=Y[:5]), "has shape [5]: expected one label per row of x, [6]"),
    "column of labels": (dict(x=X, y=Y[:, None]), "has shape [6, 1]"),
    "one-hot labels": (dict(x=X, y=np.eye(3, dtype=int)[Y]), "has shape [6, 3]"),
    "scalar label": (dict(x=X, y=np.array(3)), "has shape []"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file(case, tmp_path):
    arrays, sentence = BAD[case]
    with pytest.raises(UserError) as caught:
        load(write(tmp_path / "bad.npz", **arrays))
    for part in sentence.split(".*"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def _truncated(path):
    np.savez(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-10])


def _flipped(path):
    np.savez(path, x=X, y=Y)
    blob = bytearray(path.read_bytes())
    blob[blob.index(X.tobytes()) + 40] ^= 1
    path.write_bytes(blob)


def _single(path):
    with open(path, "wb") as file:
        np.save(file, X)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "There is no file"),
        (lambda path: path.mkdir(), "There is no file"),
        (lambda path: path.write_bytes(b""), "not a readable .npz"),
        (lambda path: path.write_text("x,y\n1,2\n"), "not a readable .npz"),
        (lambda path: path.write_bytes(b"PK\x03\x04 nonsense"), "not a readable .npz"),
        (_truncated, "not a readable .npz"),
        (_flipped, "x in .* is damaged"),
        (_single, "holds a single array"),
    ],
)
def test_no_such_file_or_damaged(make, sentence, tmp_path):
    path = tmp_path / "bad.npz"
    make(path)
    with pytest.raises(UserError) as caught:
        load(path)
    for part in sentence.split(".*"):
        assert part in str(caught.value)


def test_unknown_name():
    with pytest.raises(UserError, match=f"no data set 'minst': choose from {', '.join(NAMES)}"):
        load("minst")


def test_missing_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"sklearn.* is not installed. Run: pip install -e '.\[experiments\]'"):
        load("digits")
