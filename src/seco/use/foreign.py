"""Read checkpoints that other programs wrote, without running anything that they hold."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seco.errors import CheckpointError
from seco.nets.backbones import read_tensors

KNOWN = (
    "argparse.Namespace",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
"""What settings beside the weights are often made of. Files of torch before 1.6 cannot be asked what they name."""
HOSTILE = (
    "os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "runpy", "importlib", "ctypes", "pickle", "cloudpickle",
    "dill", "code", "codeop", "pty", "webbrowser", "multiprocessing", "threading", "urllib", "http", "ftplib", "tempfile",
    "signal", "timeit", "pdb", "platform",
)  # fmt: skip
"""Modules that no checkpoint of weights names, and that a file which wants to run something does."""
HARMLESS_BUILTINS = (
    "object", "list", "dict", "tuple", "frozenset", "slice", "range", "int", "float", "str", "bytes", "bool", "type",
)  # fmt: skip


class Inert:
    """Stands in for whatever class or function a file names: called with anything, it gives an empty dictionary."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Return what the reader lets a file fill with items and attributes."""
        return OrderedDict()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreign:
    """A file of weights as read.

    Attributes:
        path: the file.
        content: its top level: a state dictionary, or one beside other things.
        stand_ins: classes and functions that the file names and that were not loaded.
    """

    path: Path
    content: Mapping[str, Any]
    stand_ins: tuple[str, ...] = ()

    def sha256(self) -> str:
        """Return the checksum of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_foreign(path: Path) -> Foreign:
    """Read a `.safetensors` file or what `torch.save` wrote, with tensors on the CPU.

    Only tensors and plain containers are made. Any other class or function that the file names becomes an empty
    dictionary; files that name what could run programs are refused whole.

    Raises:
        CheckpointError: it is missing, truncated, hostile, or holds no dictionary.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}; give a checkpoint file (.ckpt, .pth, .pt, .bin, .safetensors)")
    if path.suffix == ".safetensors":
        return Foreign(path=path, content=read_tensors(path))
    named = _named(path)
    for name in named:
        module, _, rest = name.partition(".")
        if module in HOSTILE or (module == "builtins" and rest not in HARMLESS_BUILTINS):
            raise CheckpointError(
                f"{path} names {name}, which runs code and belongs in no file of weights; it is not loaded: get the "
                "weights from somebody you trust, best as .safetensors"
            )
    # A class may be listed here by the name under which a file has it.
    allowed: list[Any] = [(Inert, name) for name in dict.fromkeys((*named, *KNOWN))]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as err:  # a damaged pickle fails in whatever way its bytes happen to lead to
        raise CheckpointError(f"cannot read {path}: {_why(err)}") from err
    if not isinstance(content, Mapping) or not content:
        what = "an empty dictionary" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise CheckpointError(f"{path} holds {what}; a state dictionary of weights was expected")
    odd = [k for k in content if not isinstance(k, str)]
    if odd:
        raise CheckpointError(f"{path}: {str(odd[0])[:40]!r} is no name of a weight")
    return Foreign(path=path, content=content, stand_ins=tuple(named))


def _named(path: Path) -> list[str]:
    """List the classes and functions, besides torch's own safe ones, that a file names. Nothing of it is run."""
    if not zipfile.is_zipfile(path):
        return []
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception as err:  # as above
        raise CheckpointError(f"cannot read {path}: {_why(err)}") from err


def _why(err: Exception) -> str:
    if isinstance(err, PermissionError):
        return "you may not read it; check its permissions"
    text = " ".join(str(err).split())
    # PyTorch begins with its own line of code, and goes on to say how to run what is in the file, or whom to ask.
    first = re.sub(r"^(Weights only load failed|\[enforce fail [^]]*\] )\. ", "", text).split(". ")[0]
    first = "" if first.startswith("In PyTorch") else first
    if "torchscript" in text.lower():
        return "it is a TorchScript program, not a file of weights; save the model's state_dict() instead"
    if isinstance(err, pickle.UnpicklingError) and "GLOBAL " in text:
        name = text.split("GLOBAL ", 1)[1].split()[0]
        if not all(part.isidentifier() for part in name.split(".")):
            return f"it was not written by torch.save, or is damaged ({name[:40]!r} is no name)"
        return f"it names {name}, which is not loaded because it might run code; save the state_dict() alone"
    if isinstance(err, (EOFError, pickle.UnpicklingError, RuntimeError, OSError)):
        return f"it is cut short or was not written by torch.save ({first[:120] or type(err).__name__})"
    return f"its content is damaged ({type(err).__name__}: {first[:120]})"


def tensors(values: Mapping[str, Any], *, what: str) -> dict[str, Tensor]:
    """Return a state dictionary of tensors.

    Raises:
        CheckpointError: something in it is none.
    """
    odd = [k for k, v in values.items() if not isinstance(v, Tensor)]
    if odd:
        raise CheckpointError(
            f"{what}: {len(odd)} entries are no tensors ({', '.join(str(o) for o in odd[:3])}{', ...' if odd[3:] else ''}); "
            "a state dictionary was expected"
        )
    return dict(values)
