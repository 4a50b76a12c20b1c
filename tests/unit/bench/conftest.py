"""A checkout that looks like the original's: its files, class names and calls, nothing of its code."""

import pytest

MODULE = """
import torch
from pytorch_lightning import LightningModule
from pl_bolts.metrics import precision_at_k


class MocoV2(LightningModule):
    def __init__(self, base_encoder, emb_dim, num_negatives, emb_spaces=1, *args, **kwargs):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Conv2d(3, self.hparams.emb_dim, 3)

    def training_step(self, batch, batch_idx):
        query, keys = batch
        assert len(keys) == self.hparams.emb_spaces and not (self.use_ddp or self.use_ddp2)
        first = self.net(query).mean((2, 3))
        with torch.no_grad():
            second = self.net(keys[0]).mean((2, 3))
        logits = first @ second.T
        target = torch.arange(len(query)).to(logits)
        self.log_dict({"acc": precision_at_k(logits, target, top_k=(1,))[0]}, on_step=True, prog_bar=True)
        return torch.nn.functional.cross_entropy(logits.float(), target.long())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.learning_rate, momentum=self.hparams.momentum)
"""
DATA = """
from pathlib import Path
import numpy as np
import rasterio
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from pl_bolts.models.self_supervised.moco.transforms import (
    GaussianBlur, Moco2TrainImagenetTransforms, imagenet_normalization)
from torchvision import transforms
from utils.data import LOADER


class Images(torch.utils.data.Dataset):
    def __init__(self, root):
        self.places = sorted(Path(root).iterdir())
        self.see = transforms.Compose(
            [GaussianBlur([0.1, 2.0]), transforms.RandomResizedCrop(32), transforms.ToTensor(), imagenet_normalization()])

    def __len__(self):
        return len(self.places)

    def __getitem__(self, index):
        date = sorted(self.places[index].iterdir())[0]
        image = Image.fromarray(np.dstack([rasterio.open(date / f"{b}.tif").read(1) for b in ("B4", "B3", "B2")]))
        return self.see(image), [self.see(image) for _ in range(3)]


class SeasonalContrastMultiAugDataModule(LightningDataModule):
    def __init__(self, data_dir, bands=None, batch_size=32, num_workers=16, seed=42):
        super().__init__()
        assert self.train_transforms is None
        self.data_dir, self.batch_size = data_dir, batch_size

    def setup(self, stage=None):
        self.data = Images(self.data_dir)

    def train_dataloader(self):
        return LOADER(self.data, batch_size=self.batch_size, shuffle=True, drop_last=True)
"""


@pytest.fixture
def rival(tmp_path):
    root = tmp_path / "original"
    for package in ("models", "datasets", "utils"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("")
    (root / "models/moco2_module.py").write_text(MODULE)
    (root / "datasets/seco_datamodule.py").write_text(DATA)
    (root / "utils/data.py").write_text("import lmdb\nfrom torch.utils.data import DataLoader as LOADER\n")
    return root
