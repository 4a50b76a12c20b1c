"""The update that the momentum-contrast methods share: key update, loss, SGD step, queues."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seco.config import setting
from seco.errors import CheckpointError, ConfigError, TrainingError
from seco.methods._contract import Setup
from seco.nets.contrast import KeyGroups, KeyNorm, MomentumContrast
from seco.nets.devices import autocast
from seco.nets.phases import OPTIMISER, QUERY
from seco.nets.schedule import cosine
from seco.views.plan import Negatives, Siblings, ViewPlan

MAX_QUEUE = 16_384
"""Keys in the paper's queue (SeCo, section 4.1); more than the places trained on would repeat places."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of a momentum-contrast method. What is left open is derived from places and steps, and printed."""

    queue_size: int | None = setting(
        None,
        "keys kept a head, with --negatives queue or both; the paper: 16384; default: largest power of 2 up to the places",
    )
    momentum: float | None = setting(
        None, "of the key encoder; the paper: 0.999; default: 1 - 10/steps within 0.96 and 0.999"
    )
    temperature: float = setting(0.1, "softmax temperature; the paper: 0.07")
    siblings: Siblings = setting(
        "all",
        "other keys of the batch as negatives of heads that keep something: all places', own place's, none",
    )
    negatives: Negatives | None = setting(
        None,
        "keys of other places as negatives: the batch's, the queue's (the paper), or both; default: the batch's, which "
        "short runs learn more from, unless --queue-size is given",
    )
    key_groups: KeyGroups = setting(
        "kind", "batch-norm groups hold one kind of key (as the original) or are mixed"
    )
    group_size: int | None = setting(
        None,
        "keys a batch-norm group; default: half the batch, at most 64, so that shuffling parts companions",
    )
    key_norm: KeyNorm = setting(
        "batch",
        "what normalises keys: the statistics of their batch-norm group (as the original), or running ones that follow the "
        "query's as the weights do, without groups (ema: EMAN, Cai et al. 2021)",
    )
    optimiser: Literal["adamw", "sgd"] = setting("adamw", "AdamW, or SGD with momentum (the paper)")
    lr: float | None = setting(
        None,
        "learning rate; the paper: 0.03; default: AdamW 0.001 * (batch / 128)**0.5, SGD 0.12 * batch / 256",
    )
    sgd_momentum: float = setting(0.9, "momentum of SGD")
    weight_decay: float | None = setting(
        None, "weight decay, on every parameter as the original; default: AdamW 0.05, SGD 0.0001 (the paper)"
    )
    schedule: Literal["cosine", "drops"] = setting(
        "cosine", "cosine, or x0.1 at 60% and 80% of the steps (the paper)"
    )
    warmup_steps: int | None = setting(
        None, "steps of linear warm-up; the paper: 0; default: 5% of the steps"
    )

    def __post_init__(self) -> None:
        if self.lr is not None and not 0 < self.lr < 1e3:
            raise ConfigError(f"learning rate {self.lr}; it must be above 0")
        if not 0 <= self.sgd_momentum < 1:
            raise ConfigError(f"momentum of SGD {self.sgd_momentum}; at least 0 and below 1 (--sgd-momentum)")
        if self.weight_decay is not None and not 0 <= self.weight_decay < 1:
            raise ConfigError(f"weight decay {self.weight_decay}; at least 0 and below 1 (--weight-decay)")
        if self.queue_size is not None and self.negatives == "batch":
            raise ConfigError(
                f"queue of {self.queue_size} keys, but negatives are those of the batch; add --negatives queue or both, "
                "or leave the queue out (--queue-size none)"
            )
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ConfigError(f"warm-up of {self.warmup_steps} steps; at least 0")


def derive(options: Options, *, num_places: int, num_steps: int, batch_size: int) -> Options:
    """Choose what was left open from the size of the run."""
    chosen: dict[str, Any] = {}
    negatives = options.negatives
    if negatives is None:
        negatives = chosen["negatives"] = "batch" if options.queue_size is None else "queue"
    if options.queue_size is None and negatives != "batch":
        power = 2 ** int(math.log2(max(2, num_places)))
        chosen["queue_size"] = max(batch_size, min(MAX_QUEUE, power))
    if options.momentum is None:
        chosen["momentum"] = round(1 - min(0.04, max(0.001, 10 / num_steps)), 4)
    if options.group_size is None:
        chosen["group_size"] = max(2, min(64, batch_size // 2))
    adamw = options.optimiser == "adamw"
    if options.lr is None:
        chosen["lr"] = round(0.001 * (batch_size / 128) ** 0.5, 6) if adamw else 0.12 * batch_size / 256
    if options.weight_decay is None:
        chosen["weight_decay"] = 0.05 if adamw else 1e-4
    if options.warmup_steps is None:
        chosen["warmup_steps"] = num_steps // 20
    return dataclasses.replace(options, **chosen)


def learning_rate(options: Options, *, step: int, num_steps: int) -> float:
    """Return the learning rate of a step (counted from 0)."""
    assert options.lr is not None
    assert options.warmup_steps is not None
    if options.schedule == "drops" and step >= options.warmup_steps:
        return options.lr * 0.1 ** ((step >= 0.6 * num_steps) + (step >= 0.8 * num_steps))
    return cosine(options.lr, step=step, num_steps=num_steps, warmup_steps=options.warmup_steps)


def _optimiser(options: Options, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    assert options.lr is not None
    assert options.weight_decay is not None
    # Fused: one pass over weights and their state in place of a dozen, each of which is bound by memory.
    if options.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=options.lr,
        momentum=options.sgd_momentum,
        weight_decay=options.weight_decay,
        fused=True,
    )


def _check_sizes(options: Options, batch_size: int) -> None:
    """Refuse a batch that cannot fill what is asked of it."""
    assert options.group_size is not None
    if options.key_norm == "batch" and options.group_size > batch_size:
        raise ConfigError(
            f"batch of {batch_size} places is smaller than a batch-norm group of {options.group_size} keys; lower "
            f"--group-size to at most {max(2, batch_size // 2)}, or raise --batch-size"
        )
    if options.queue_size is not None and 0 < options.queue_size < batch_size:
        raise ConfigError(
            f"queue of {options.queue_size} keys is smaller than the batch of {batch_size} places, so it could not even "
            "hold one step's keys; raise --queue-size, or lower --batch-size"
        )


class ContrastMethod:
    """One of the momentum-contrast methods, as its plan says."""

    def __init__(self, plan: ViewPlan, setup: Setup, options: Options) -> None:
        """Build networks and optimiser from derived options."""
        assert options.negatives is not None
        assert options.momentum is not None
        assert options.group_size is not None
        _check_sizes(options, setup.batch_size)
        self.options = options
        self.seed = setup.seed
        self.num_steps = setup.num_steps
        self.precision = setup.precision
        self.phases = setup.phases
        self.device = torch.device("cpu")
        self.net = MomentumContrast(
            backbone=setup.backbone, feature_dim=setup.feature_dim, plan=plan, queue_size=options.queue_size,
            momentum=options.momentum, temperature=options.temperature, siblings=options.siblings,
            negatives=options.negatives, key_groups=options.key_groups, group_size=options.group_size,
            key_norm=options.key_norm, seed=setup.seed, phases=setup.phases,
        )  # fmt: skip
        self.optimiser = _optimiser(options, list(self.net.query.parameters()))

    def update(self, views: Mapping[str, Tensor], *, step: int) -> dict[str, float]:
        """Do one step; see `Method.update`."""
        self.net.train()
        rate = learning_rate(self.options, step=step, num_steps=self.num_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with self.phases(OPTIMISER):
            self.net.update_key()
        # Encoders with dropout or stochastic depth draw from torch's generator: give each step its own.
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), autocast(self.precision, self.device):
            torch.manual_seed((self.seed * 1_000_003 + step) % 2**63)
            out = self.net(views, seed=self.seed, step=step)
        self.optimiser.zero_grad(set_to_none=True)
        with self.phases(QUERY):
            out.total.backward()
        # All numbers in one transfer: each would make the host wait for an accelerator once more.
        names = ["loss", *(f"{k}_{h}" for h in out.loss for k in ("loss", "accuracy", "match"))]
        told = [out.total.detach(), *(d[h] for h in out.loss for d in (out.loss, out.accuracy, out.match))]
        numbers = dict(zip(names, torch.stack(told).tolist(), strict=True))
        if not math.isfinite(numbers["loss"]):
            raise TrainingError(f"the loss is {numbers['loss']} at step {step}")
        with self.phases(OPTIMISER):
            self.optimiser.step()
            self.net.push(out.keys)
        return {**numbers, "lr": rate}

    def encoder(self) -> tuple[nn.Module, nn.ModuleDict]:
        """Return the query's backbone and heads."""
        heads = self.net.query["heads"]
        assert isinstance(heads, nn.ModuleDict)
        return self.net.query["backbone"], heads

    def to(self, device: torch.device) -> None:
        """Move everything to a device, convolutions in channels-last layout."""
        self.device = device
        self.net.to(device)
        self.net.to(memory_format=torch.channels_last)

    def state_dict(self) -> dict[str, Tensor]:
        """Return networks, queues and what the optimiser remembers of each parameter."""
        state = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        for i, parameter in enumerate(self.net.query.parameters()):
            remembered = self.optimiser.state.get(parameter, {})
            state.update({f"optimiser.{i}.{k}": v for k, v in remembered.items() if v is not None})
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a state again.

        Raises:
            CheckpointError: it belongs to another model or other settings.
        """
        net = {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
        try:
            self.net.load_state_dict(net)
        except RuntimeError as err:
            raise CheckpointError(
                f"the checkpoint does not fit this model: {' '.join(str(err).split())[:300]}; "
                "resume with the settings and bands it was made with"
            ) from err
        parameters = list(self.net.query.parameters())
        for key, value in state.items():
            if key.startswith("optimiser."):
                _, number, name = key.split(".")
                parameter = parameters[int(number)]
                kept = value.to(self.device, copy=True)
                if value.shape == parameter.shape:
                    # A fused update walks weights and their moments side by side in memory: they must lie alike there.
                    kept = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
                self.optimiser.state[parameter][name] = kept
