import numpy as np
import pytest

from seco.data.overlap import overlapping, touched
from seco.nets.spec import EncoderSpec
from seco.probes.overlap import is_transductive
from seco.sensors.rgb import display_bands


def _boxes(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, np.float64)


def test_overlap_is_of_areas_not_of_edges() -> None:
    ours = _boxes((0, 0, 1, 1), (5, 5, 6, 6))
    others = _boxes((1, 0, 2, 1), (0.5, 0.5, 0.6, 0.6), (5.9, 5.9, 7, 7))
    assert overlapping(ours, others).tolist() == [[0, 1], [1, 2]]
    assert touched(ours, others).tolist() == [True, True]
    assert touched(others, ours).tolist() == [False, True, True]


def test_overlap_goes_on_across_the_antimeridian() -> None:
    assert touched(_boxes((179, 0, 181, 1)), _boxes((-180, 0, -179.5, 1))).tolist() == [True]
    assert touched(_boxes((-180, 0, -179.5, 1)), _boxes((179, 0, 181, 1))).tolist() == [True]
    assert touched(_boxes((179, 0, 180, 1)), _boxes((-180, 0, -179.5, 1))).tolist() == [False]


def test_pairs_match_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(-20, 20, (60, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 6, (60, 2))], axis=1)
    wanted = [
        [i, j]
        for i, a in enumerate(boxes)
        for j, b in enumerate(boxes)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    assert overlapping(boxes, boxes).tolist() == wanted


@pytest.mark.parametrize(
    ("method", "trained", "tested", "wanted"),
    [
        ("none", (), _boxes((0, 0, 1, 1)), False),
        ("seco", ((0.5, 0.5, 2.0, 2.0),), _boxes((0, 0, 1, 1), (9, 9, 10, 10)), True),
        ("seco", ((3.0, 3.0, 4.0, 4.0),), _boxes((0, 0, 1, 1)), False),
        ("seco", (), _boxes((0, 0, 1, 1)), None),
        ("seco", ((3.0, 3.0, 4.0, 4.0),), None, None),
    ],
)
def test_transductive_is_told_or_unknown(
    method: str, trained: tuple, tested: np.ndarray | None, wanted: bool | None
) -> None:
    spec = EncoderSpec(
        arch="resnet18", bands=display_bands(), mean=(0.0,) * 3, std=(1.0,) * 3, patch_px=16, feature_dim=8, method=method,
        trained_boxes=np.array(trained, np.float64).reshape(-1, 4),
    )  # fmt: skip
    assert is_transductive(spec, tested) is wanted
