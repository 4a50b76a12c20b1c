"""Training a head with labels, and the encoder below it where it is tuned: schedule, early stop, checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional

from seco import config as configs
from seco.config import setting
from seco.errors import CheckpointError, ConfigError, TrainingError
from seco.nets.decoders import Tuning
from seco.nets.depthwise import train_depthwise_in_fp32
from seco.nets.devices import Precision, autocast, broken_in_bf16, pick_precision
from seco.nets.predictor import Norm, Predictor
from seco.nets.schedule import cosine
from seco.train import checkpoints
from seco.train.stopping import InterruptedRunError, stop_flag

MAX_GRADIENT = 1.0
"""Norm that gradients are cut to."""
Loss = Literal["softmax", "multilabel"]
IGNORED = -1
"""Class of what enters no loss."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of training with labels."""

    tuning: Tuning = setting("frozen", "train the head alone (frozen), or the encoder's weights too (tuned)")
    norm: Norm = setting(
        "kept",
        "batch norm of a tuned encoder: keep its statistics, or take those of each batch and follow them",
    )
    steps: int = setting(400, "most steps; training ends sooner where validation no longer gains")
    batch_size: int = setting(8, "images or tiles a step")
    lr: float = setting(1e-3, "highest learning rate of the head (AdamW)")
    encoder_lr: float = setting(1e-4, "highest learning rate of the encoder's last layers, where it is tuned")
    layer_decay: float = setting(0.75, "factor from a layer's learning rate to that of the layer below it")
    weight_decay: float = setting(0.01, "weight decay, but not of biases and norms")
    warmup_steps: int | None = setting(
        None, "steps of linear warm-up before the cosine; default: 5% of the steps"
    )
    val_every: int = setting(50, "steps from one look at the validation part to the next")
    patience: int = setting(4, "looks without a gain after which training ends")
    class_weights: Literal["none", "sqrt", "balanced"] = setting(
        "none", "weight of a class in the loss: one, or by the inverse of its share (its root: sqrt)"
    )
    augment: Literal["turns", "none"] = setting(
        "turns", "flips and quarter turns of training images, or none"
    )
    precision: Precision = setting("fp32", "of training: fp32, bf16, or auto: bf16 where the machine has it")

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("steps", "batch_size", "val_every", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name.replace('_', ' ')} {getattr(self, name)}; give at least 1")
        for name in ("lr", "encoder_lr"):
            if not 0 < getattr(self, name) < 10:
                raise ConfigError(
                    f"{name.replace('_', ' ')} {getattr(self, name)}; it must be above 0 and below 10"
                )
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer decay {self.layer_decay}; above 0, at most 1")
        if not 0 <= self.weight_decay < 1:
            raise ConfigError(f"weight decay {self.weight_decay}; at least 0 and below 1")
        if self.norm == "batch" and self.tuning == "frozen":
            raise ConfigError(
                "norm batch with tuning frozen; a frozen encoder keeps its statistics, say --tuning tuned"
            )
        if self.norm == "batch" and self.batch_size == 1:
            raise ConfigError("norm batch with batch size 1; statistics need at least 2 images, better 16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Normalised images of one date or two, and the class of each image or pixel (IGNORED: none)."""

    inputs: tuple[Tensor, ...]
    target: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training came to: the net holds the weights of its best look at the validation part."""

    num_steps: int
    best_step: int
    best_score: float
    history: tuple[dict[str, float], ...]


def layer_groups(net: Predictor, settings: Training) -> list[dict[str, Any]]:
    """Return the optimiser's groups: the head, and each layer of a tuned encoder at a rate of its own.

    Rates fall from the encoder's last layer to its first by `layer_decay` a layer (Clark et al. 2020, ELECTRA; Bao et
    al. 2022, BEiT). Biases and norms are not decayed.
    """
    backbone, head = net.parts
    wanted: dict[tuple[float, float], list[nn.Parameter]] = {}

    def add(parameter: nn.Parameter, rate: float) -> None:
        decay = 0.0 if parameter.ndim <= 1 else settings.weight_decay
        wanted.setdefault((rate, decay), []).append(parameter)

    for parameter in head.parameters():
        add(parameter, settings.lr)
    if settings.tuning == "tuned":
        named = dict(backbone.named_parameters())
        matcher = getattr(backbone, "group_matcher", None)
        layers = group_parameters(backbone, matcher(coarse=False), reverse=True) if matcher else {}
        top = max(layers.values(), default=0)
        for name, parameter in named.items():
            add(parameter, settings.encoder_lr * settings.layer_decay ** (top - layers.get(name, top)))
    return [
        {"params": p, "peak": rate, "lr": rate, "weight_decay": decay} for (rate, decay), p in wanted.items()
    ]


class _Fit:
    """Everything one call of `fit` holds."""

    def __init__(self, net: Predictor, settings: Training, seed: int, loss: Loss) -> None:
        self.net, self.settings, self.seed, self.loss = net, settings, seed, loss
        backbone = net.parts[0]
        if settings.norm == "batch" and not net.norms and any(True for _ in backbone.parameters()):
            raise ConfigError(
                f"norm batch: {type(backbone).__name__} has no batch norm whose statistics could follow; leave it out"
            )
        self.warmup = settings.steps // 20 if settings.warmup_steps is None else settings.warmup_steps
        self.optimiser = torch.optim.AdamW(layer_groups(net, settings))
        self.moving = [p for p in net.parameters() if p.requires_grad]
        self.device = self.moving[0].device
        self.precision = pick_precision(settings.precision, self.device)
        self.is_checked = False
        if self.precision == "bf16":
            train_depthwise_in_fp32(backbone)
        self.best: dict[str, Tensor] = {}
        self.best_step, self.best_score, self.without_gain, self.step = 0, -1.0, 0, 0
        self.history: list[dict[str, float]] = []

    def trained(self) -> dict[str, Tensor]:
        """What training changes: a frozen encoder is not kept twice."""
        names = {n for n, p in self.net.named_parameters() if p.requires_grad}
        moved = {id(b) for norm in self.net.norms for b in norm.buffers()}
        names |= {n for n, b in self.net.named_buffers() if id(b) in moved}
        return {k: v for k, v in self.net.state_dict().items() if k in names}

    def update(self, batch: Batch, weights: Tensor | None) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = cosine(
                group["peak"], step=self.step, num_steps=self.settings.steps, warmup_steps=self.warmup
            )
        if not self.is_checked:
            self._check_bf16(batch.inputs[0])
            self.is_checked = True
        self.net.train()
        with torch.random.fork_rng(devices=[]), autocast(self.precision, self.device):
            torch.manual_seed((self.seed * 1_000_003 + self.step) % 2**63)
            logits = self.net(*batch.inputs).float()
        if self.loss == "multilabel":
            loss = functional.multilabel_soft_margin_loss(logits, batch.target, weight=weights)
        elif (batch.target == IGNORED).all():
            self.step += 1
            return float("nan")
        else:
            loss = functional.cross_entropy(logits, batch.target, weight=weights, ignore_index=IGNORED)
        if not torch.isfinite(loss):
            # Nothing has been learned yet at step 0.
            broken = "the encoder's weights or the images hold numbers that are not finite"
            advice = "lower the learning rate (--lr)" if self.step else broken
            raise TrainingError(f"the loss is {loss.item()} at step {self.step}; {advice}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        # Features come in any scale; one steep step can silence a decoder's ReLUs for good.
        nn.utils.clip_grad_norm_(self.moving, MAX_GRADIENT)
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def _check_bf16(self, images: Tensor) -> None:
        """Fall back to fp32, or say so, where a CPU would get a gradient wrong in bf16."""
        if self.precision == "fp32" or self.device.type != "cpu":
            return
        px = self.net.size or min(images.shape[-2:])
        conv = broken_in_bf16(self.net.dense or self.net.parts[0], images.shape[1], px=px)
        if conv is None:
            return
        if self.settings.precision == "bf16":
            raise ConfigError(
                f"precision bf16 with images of {px} px: the gradient of {conv} would be wrong on this CPU; use fp32, or "
                "larger images (--size)"
            )
        self.precision = "fp32"

    def look(self, validate: Callable[[Predictor], float], loss: float) -> str:
        self.net.eval()
        with torch.inference_mode():
            score = validate(self.net)
        gained = score > self.best_score
        if gained:
            self.best = {k: v.detach().clone() for k, v in self.trained().items()}
            self.best_step, self.best_score, self.without_gain = self.step, score, 0
        else:
            self.without_gain += 1
        self.history.append({"step": self.step, "loss": loss, "validation": score})
        return f"step {self.step}/{self.settings.steps}: loss {loss:.4f}, validation {score:.4f}{' *' if gained else ''}"

    def state(self) -> dict[str, Tensor]:
        state = {f"net.{k}": v for k, v in self.trained().items()}
        state |= {f"best.{k}": v for k, v in self.best.items()}
        for i, parameter in enumerate(self.moving):
            state |= {f"optimiser.{i}.{k}": v for k, v in self.optimiser.state.get(parameter, {}).items()}
        return state

    def about(self) -> dict[str, Any]:
        return {
            "settings": configs.to_plain(self.settings), "history": self.history, "best_step": self.best_step,
            "best_score": self.best_score, "without_gain": self.without_gain,
        }  # fmt: skip

    def restore(self, step: int, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        own = configs.to_plain(self.settings)
        # A setting that came later stood at its default.
        before = {f.name: f.default for f in dataclasses.fields(self.settings)} | about.get("settings", {})
        other = [k for k, v in own.items() if before.get(k) != v]
        if other:
            raise ConfigError(
                f"the run was started with {other[0]} {before.get(other[0])}, not {own[other[0]]}; resume with its "
                "settings, or choose another folder"
            )
        trained = self.trained()
        net = {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
        if set(net) != set(trained) or any(net[k].shape != trained[k].shape for k in net):
            raise CheckpointError(
                "the checkpoint does not fit this model; resume with the encoder and classes it had"
            )
        with torch.no_grad():
            for name, value in net.items():
                trained[name].copy_(value)
        device = self.moving[0].device
        self.best = {k.removeprefix("best."): v.to(device) for k, v in state.items() if k.startswith("best.")}
        for key, value in state.items():
            if key.startswith("optimiser."):
                _, number, name = key.split(".")
                kept = value.clone() if name == "step" else value.to(device, copy=True)
                self.optimiser.state[self.moving[int(number)]][name] = kept
        self.step = step
        self.history = list(about["history"])
        self.best_step, self.best_score = int(about["best_step"]), float(about["best_score"])
        self.without_gain = int(about["without_gain"])


def fit(
    net: Predictor, settings: Training, *, draw: Callable[[int], Batch], validate: Callable[[Predictor], float],
    seed: int, weights: Tensor | None = None, loss: Loss = "softmax",
    run: Path | None = None, start: Literal["new", "resume"] = "new",
    say: Callable[[str], None] | None = None,
) -> Fitted:  # fmt: skip
    """Train until the steps are done or validation no longer gains; the net ends with its best weights.

    Args:
        net: what is trained; where it is frozen, its head alone.
        settings: how.
        draw: the batch of a step, counted from 0; a function of the step alone, so that a resumed run is the same.
        validate: a score of the net on the validation part, higher is better.
        seed: of dropout, where the net has any.
        weights: of each class in the loss.
        loss: `softmax`, one class an image or pixel; `multilabel`, any number of them: targets are 0 or 1 a label.
        run: folder for checkpoints; none are written without one.
        start: anew, or from the newest of them.
        say: takes a line a look at the validation part.

    Raises:
        TrainingError: the loss is not finite.
        CheckpointError: a checkpoint does not fit, or cannot be written.
        InterruptedRunError: after Ctrl-C, with a checkpoint written.
    """
    session = _Fit(net, settings, seed, loss)
    found = checkpoints.load_newest(run) if run is not None and start == "resume" else None
    if found:
        session.restore(*found)
    last = session.history[-1]["loss"] if session.history else float("nan")
    with stop_flag() as stop:
        while session.step < settings.steps and session.without_gain < settings.patience:
            last = session.update(draw(session.step), weights)
            looked = session.step % settings.val_every == 0 or session.step == settings.steps
            if looked:
                line = session.look(validate, last)
                if say is not None:
                    say(line)
            if run is not None and (looked or stop.is_set()):
                checkpoints.save(run, step=session.step, state=session.state(), about=session.about())
            if stop.is_set() and session.step < settings.steps:
                raise InterruptedRunError(
                    f"stopped at step {session.step} of {settings.steps}"
                    + (", saved; go on with --resume" if run is not None else "")
                )
    with torch.no_grad():
        for name, value in session.trained().items():
            value.copy_(session.best[name])
    net.eval()
    return Fitted(
        num_steps=session.step, best_step=session.best_step, best_score=session.best_score,
        history=tuple(session.history),
    )  # fmt: skip
