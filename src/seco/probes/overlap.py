"""Whether an encoder was trained on ground that it is tested on."""

from __future__ import annotations

from seco.data.overlap import Boxes, touched
from seco.nets.spec import EncoderSpec


def is_transductive(spec: EncoderSpec, test_boxes: Boxes | None) -> bool | None:
    """Tell whether an encoder was trained, without labels, on ground that it is tested on.

    Returns:
        False for an encoder trained on no imagery of places; None where it was, or the test data, have no position.
    """
    if spec.method == "none":
        return False
    if test_boxes is None or not len(spec.trained_boxes):
        return None
    return bool(touched(test_boxes, spec.trained_boxes).any())
