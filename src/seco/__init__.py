"""seco: seasonal contrast, end to end. Unlabelled satellite imagery in, an encoder that transfers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seco.data.dataset import open_dataset
    from seco.use.load import load_encoder

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder", "open_dataset"]

_LAZY = {"load_encoder": "seco.use.load", "open_dataset": "seco.data.dataset"}


def __getattr__(name: str) -> Any:
    """Import the Python API on first use, so that `import seco` costs no torch."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'seco' has no attribute {name!r}")
