"""The shared figures: absent rows are left out, labels do not overlap."""

import itertools

import numpy as np

from experiments import plots
from experiments.plots import PALETTE, curves_over_tasks, method_bars, new_figure, style

NAMES = ["sequential_fine_tuning", *(f"a_method_with_a_name_{i}" for i in range(11))]


def _overlap(figure, texts):
    """Whether any two texts overlap, each as the polygon it covers (slanted labels cross only as rectangles)."""
    from matplotlib.path import Path

    renderer = figure.canvas.get_renderer()
    boxes = []
    for text in texts:
        angle = text.get_rotation()
        text.set_rotation(0)
        width, height = text.get_window_extent(renderer).size
        text.set_rotation(angle)
        corner = text.get_transform().transform(text.get_unitless_position())
        turn = np.deg2rad(angle)
        right, up = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        start = corner - right * width * {"right": 1, "center": 0.5, "left": 0}[text.get_ha()] - up * height
        ring = [start, start + right * width, start + right * width + up * height, start + up * height, start]
        boxes.append(Path(ring))
    return any(a.intersects_path(b) for a, b in itertools.combinations(boxes, 2))


def test_bars_show_means_and_seeds_and_skip_what_is_absent():
    figure, (ax,) = new_figure()
    rows = {"a": [0.2, 0.4], "b": [None, 0.5], "d": [np.nan, None]}
    method_bars(ax, rows, ["a", "b", "c", "d"], "accuracy")
    assert [bar.get_height() for bar in ax.patches] == [np.mean([0.2, 0.4]), 0.5]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    dots = np.concatenate([dots.get_offsets()[:, 1] for dots in ax.collections])
    np.testing.assert_allclose(sorted(dots), [0.2, 0.4, 0.5])
    assert figure.get_size_inches().tolist() == [10, 20 / 3]


def test_twelve_long_names_do_not_overlap_in_half_a_figure():
    figure, (ax, _) = new_figure(2)
    method_bars(ax, {name: [0.5, 0.6] for name in NAMES}, NAMES, "accuracy")
    figure.canvas.draw()
    assert not _overlap(figure, ax.get_xticklabels())
    assert not _overlap(figure, ax.texts)


def test_curves_show_mean_and_band_and_skip_what_is_absent():
    _, (ax,) = new_figure()
    curves = {"a": [[1.0, 0.8], [1.0, 0.6]], "c": [[1.0, 0.5], [np.nan, 0.5]]}
    curves_over_tasks(ax, curves, ["a", "b", "c"], ylabel="accuracy")
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    assert lines == {"a": [1.0, 0.7], "c": [1.0, 0.5]}
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [0.7 - np.std([0.8, 0.6], ddof=1), 1.0])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "c"]


def test_nothing_to_show_is_an_empty_picture():
    figure, (left, right) = new_figure(2)
    method_bars(left, {}, NAMES, "accuracy")
    curves_over_tasks(right, {}, NAMES, ylabel="accuracy")
    figure.canvas.draw()
    assert right.get_legend() is None


def test_no_two_methods_look_alike():
    looks = [tuple(style(i).values()) for i in range(4 * len(PALETTE))]
    assert len(set(looks)) == len(looks)


def test_image_strips():
    _, (ax,) = plots.new_figure()
    small, large = np.linspace(-1, 1, 8).reshape(2, 4), np.ones((3, 4, 4))
    plots.image_strips(ax, {"small": small, "large": large, "oblong": np.ones((2, 3))}, xlabel="images")
    (picture,) = ax.images
    shown = np.asarray(picture.get_array().filled(np.nan))
    assert shown.shape == (2 * 5, 3 * 5)
    np.testing.assert_allclose(shown[1:5, 1:5], small[0].reshape(2, 2).repeat(2, 0).repeat(2, 1))
    assert np.isnan(shown[:5, 10:]).all()  # the first line has two images only
    np.testing.assert_allclose(shown[6:, 11:], 1.0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["small", "large"]
    assert ax.get_xlabel() == "images"


def test_no_images_leave_an_empty_place():
    _, (ax,) = plots.new_figure()
    plots.image_strips(ax, {"oblong": np.ones((2, 3))})
    assert not ax.images
    assert not ax.axison
