"""The original's own code, run from the user's checkout of its repository; nothing of it is here.

Its dependencies are of 2020: what it uses of pytorch-lightning 1.1, lightning-bolts 0.3 and lmdb is supplied by the small
stand-ins below while its modules are imported, written from what the calls ask for.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import random
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from seco.bench.rivals import REPOSITORY
from seco.errors import ConfigError
from seco.nets.backbones import IMAGENET_MEAN, IMAGENET_STD

FILES = ("models/moco2_module.py", "datasets/seco_datamodule.py", "utils/data.py")
PACKAGES = ("models", "datasets", "utils")
"""Its top-level packages, whose names others use too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Original:
    """Its classes: the module that trains, and the data module of its method `seco`."""

    module: type
    data_module: type


def check(path: Path) -> Path:
    """Return the checkout's full path.

    Raises:
        ConfigError: it is not a checkout of the original.
    """
    for name in FILES:
        if not (path / name).is_file():
            raise ConfigError(
                f"{path} is no checkout of the original (it has no {name}); git clone {REPOSITORY}, then --rival PATH"
            )
    return path.resolve()


def load(path: Path) -> Original:
    """Import the original's modules; `sys.path` and `sys.modules` are afterwards as before.

    Raises:
        ConfigError: it is not a checkout of the original, or its code does not run here.
    """
    path = check(path)
    with _stand_ins(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module("models.moco2_module").MocoV2
            data = importlib.import_module("datasets.seco_datamodule").SeasonalContrastMultiAugDataModule
        except (ImportError, AttributeError, SyntaxError) as err:
            raise ConfigError(
                f"the original in {path} cannot be imported ({type(err).__name__}: {err}); is it the released code?"
            ) from err
    return Original(module=module, data_module=data)


class Trainee:
    """The original's module with its own optimiser, as `main_pretrain.py` sets it up, stepped without a Trainer."""

    def __init__(
        self, original: Original, *, encoder: str, queue_size: int, batch_size: int, device: torch.device, seed: int,
        precision: str | None = None,
    ) -> None:  # fmt: skip
        """Build it.

        Args:
            precision: None is as shipped (fp32, channels-first); else channels-last, and autocast where it is `bf16`.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = original.module(
                base_encoder=encoder, emb_dim=128, num_negatives=queue_size, emb_spaces=3, encoder_momentum=0.999,
                softmax_temperature=0.07, learning_rate=0.03, momentum=0.9, weight_decay=1e-4, batch_size=batch_size,
            )  # fmt: skip
        self.net: Any = net.to(device).train()
        self.device = device
        self.bf16 = precision == "bf16"
        self.layout = torch.contiguous_format if precision is None else torch.channels_last
        self.net.to(memory_format=self.layout)
        self.optimiser = self.net.configure_optimizers()

    def step(self, query: Tensor, keys: list[Tensor]) -> float:
        """Do one training step; return its loss."""
        batch = tuple(v.to(self.device).contiguous(memory_format=self.layout) for v in (query, *keys))
        context: AbstractContextManager[object] = (
            torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        )
        with context:
            loss = self.net.training_step((batch[0], list(batch[1:])), 0)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def endless(
    original: Original, folder: Path, *, batch_size: int, num_workers: int, seed: int
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield batches of the original's data module over its own folder layout, for ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pinned memory without a device that needs it
        data = original.data_module(
            data_dir=folder, batch_size=batch_size, num_workers=num_workers, seed=seed
        )
        data.setup()
        loader = data.train_dataloader()
        if not len(loader):
            raise ConfigError(f"batch of {batch_size} is above the places in {folder}; lower --batch-size")
        while True:
            yield from loader


@contextmanager
def _stand_ins(path: Path) -> Iterator[None]:
    """Put the stand-ins and the checkout where its imports look, and everything back as it was."""
    names = set(_STAND_INS)
    before = {
        n: m for n, m in sys.modules.items() if n in names or n.partition(".")[0] in {*PACKAGES, *_ROOTS}
    }
    for name in before:
        del sys.modules[name]
    for name, contents in _STAND_INS.items():
        module = types.ModuleType(name)
        vars(module).update(contents)
        module.__path__ = []
        sys.modules[name] = module
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))
        for name in [n for n in sys.modules if n.partition(".")[0] in {*PACKAGES, *_ROOTS}]:
            del sys.modules[name]
        sys.modules.update(before)


class _Module(nn.Module):
    """What the original's module asks of a LightningModule, on one device."""

    use_ddp = use_ddp2 = False

    def save_hyperparameters(self) -> None:
        frame: types.FrameType | None = sys._getframe()  # noqa: SLF001 - how it is specified: the arguments of __init__
        while frame is not None and not (
            frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is self
        ):
            frame = frame.f_back
        given = dict(frame.f_locals) if frame else {}
        given.update(given.pop("kwargs", {}))
        self.hparams = types.SimpleNamespace(
            **{k: v for k, v in given.items() if k not in ("self", "args", "__class__")}
        )

    def log_dict(self, values: dict[str, Any], **_: Any) -> None:
        self.logged = values


class _DataModule:
    """What the original's data module asks of a LightningDataModule."""

    train_transforms: Any = None


class _GaussianBlur:
    """Blur of a radius drawn anew for each PIL image, as in MoCo v2."""

    def __init__(self, sigma: Sequence[float]) -> None:
        self.sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(*self.sigma)))  # noqa: S311 - no secret


def _normalisation() -> Any:
    from torchvision import transforms

    return transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)


def _precision_at_k(output: Tensor, target: Tensor, top_k: tuple[int, ...] = (1,)) -> list[Tensor]:
    """Return for each k the share, in percent, of rows whose target is among the k highest."""
    best = output.topk(max(top_k), dim=1).indices
    hits = best == target.long()[:, None]
    return [100 * hits[:, :k].any(1).float().mean() for k in top_k]


_ROOTS = ("pytorch_lightning", "pl_bolts", "lmdb")
_STAND_INS: dict[str, dict[str, Any]] = {
    "pytorch_lightning": {"LightningModule": _Module, "LightningDataModule": _DataModule},
    "pl_bolts": {},
    "pl_bolts.metrics": {"precision_at_k": _precision_at_k},
    "pl_bolts.models": {},
    "pl_bolts.models.self_supervised": {},
    "pl_bolts.models.self_supervised.moco": {},
    "pl_bolts.models.self_supervised.moco.transforms": {
        "GaussianBlur": _GaussianBlur,
        "imagenet_normalization": _normalisation,
        # Named by its imports, used by its other methods only.
        "Moco2TrainImagenetTransforms": object,
    },
    "lmdb": {},
}
