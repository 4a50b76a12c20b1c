"""The update that the momentum-contrast methods share: key update, loss, SGD step, queues."""

import dataclasses
import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seco.config import setting
from seco.errors import CheckpointError, ConfigError, TrainingError
from seco.methods._contract import Setup
from seco.nets.compiled import Compile
from seco.nets.contrast import ContrastLoss, KeyGroups, KeyNorm, Keys, MomentumContrast
from seco.nets.devices import autocast
from seco.nets.phases import OPTIMISER, QUERY
from seco.nets.processes import GradientSum
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
    freeze_norm: bool = setting(
        False,
        "normalise by the batch-norm statistics of the starting weights (--init), and keep them: other imagery has others",
    )
    accumulate: int = setting(
        1,
        "passes of the query a step, over an equal part of the batch each, to save memory; negatives stay those of the "
        "whole batch, so it equals as many --query-groups",
    )
    query_groups: int | None = setting(
        None,
        "equal batch-norm groups of the query; default: as many as passes, so that many processes share their statistics "
        "as one would; one or more a process needs no messages between them",
    )
    compile: Compile = setting(
        "none",
        "compile the key pass (minutes), and keep it so where it proves faster; rounding changes, nothing else",
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
        if self.freeze_norm and self.key_norm == "ema":
            raise ConfigError("--key-norm ema follows statistics that --freeze-norm keeps; give one of them")
        for name in ("accumulate", "query_groups"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value}; at least 1 (--{name.replace('_', '-')})")
        if self.query_groups is not None and self.query_groups % self.accumulate:
            raise ConfigError(
                f"{self.query_groups} query groups in {self.accumulate} passes; make --query-groups a multiple of "
                "--accumulate"
            )
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ConfigError(f"warm-up of {self.warmup_steps} steps; at least 0")

    @property
    def grouped(self) -> bool:
        """Whether keys are normalised by the statistics of their batch-norm group."""
        return self.key_norm == "batch" and not self.freeze_norm


def derive(
    options: Options, *, num_places: int, num_steps: int, batch_size: int, num_processes: int = 1
) -> Options:
    """Choose what was left open from the size of the run.

    Raises:
        ConfigError: the batch cannot be shared out evenly, or a share of it has no batch statistics.
    """
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
        chosen["group_size"] = max(2, min(64, batch_size // 2, batch_size // num_processes))
    if options.query_groups is None:
        chosen["query_groups"] = options.accumulate
    adamw = options.optimiser == "adamw"
    if options.lr is None:
        chosen["lr"] = round(0.001 * (batch_size / 128) ** 0.5, 6) if adamw else 0.12 * batch_size / 256
    if options.weight_decay is None:
        chosen["weight_decay"] = 0.05 if adamw else 1e-4
    if options.warmup_steps is None:
        chosen["warmup_steps"] = num_steps // 20
    options = dataclasses.replace(options, **chosen)
    _check_shares(options, batch_size=batch_size, num_processes=num_processes)
    return options


def _check_shares(options: Options, *, batch_size: int, num_processes: int) -> None:
    groups, passes, num = options.query_groups, options.accumulate, num_processes
    assert groups is not None
    assert options.group_size is not None
    if batch_size % (passes * num):
        raise ConfigError(
            f"batch size {batch_size} cannot be shared evenly by {num} process{'es' * (num > 1)} in {passes} "
            f"pass{'es' * (passes > 1)}; make --batch-size a multiple of {passes * num}"
        )
    if batch_size % groups or batch_size // groups < 2:
        raise ConfigError(
            f"{groups} query groups of a batch of {batch_size}; each must hold equally many places, at least 2 "
            "(--query-groups, --accumulate)"
        )
    whole = groups // passes
    if whole % num and num % whole:
        raise ConfigError(
            f"{whole} query groups a pass on {num} processes: neither divides the other; choose another --query-groups"
        )
    if options.grouped and num > 1 and batch_size // num < options.group_size:
        raise ConfigError(
            f"batch size {batch_size} on {num} processes is {batch_size // num} places each, fewer than a batch-norm group "
            f"of {options.group_size} keys: raise --batch-size, lower --group-size, or use at most "
            f"{max(1, batch_size // options.group_size)} processes"
        )


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
    if options.grouped and options.group_size > batch_size:
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
            key_norm=options.key_norm, freeze_norm=options.freeze_norm, query_groups=options.query_groups or 1,
            accumulate=options.accumulate, seed=setup.seed, processes=setup.processes, phases=setup.phases,
            compiled=options.compile, say=setup.say,
        )  # fmt: skip
        self.processes = setup.processes
        self.gradients = GradientSum(self.net.query.parameters()) if setup.processes.size > 1 else None
        self.optimiser = _optimiser(options, list(self.net.query.parameters()))

    def update(self, views: Mapping[str, Tensor], *, step: int) -> dict[str, float]:
        """Do one step; see `Method.update`."""
        self.net.train()
        rate = learning_rate(self.options, step=step, num_steps=self.num_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if self.options.key_norm == "ema":
            self._average_statistics()  # keys are normalised by them, in every process alike
        with self.phases(OPTIMISER):
            self.net.update_key()
        self.optimiser.zero_grad(set_to_none=True)
        passes = self._passes(views, step=step)
        numbers = self._numbers(passes, rate=rate)
        if not math.isfinite(numbers["loss"]):
            raise TrainingError(f"the loss is {numbers['loss']} at step {step}")
        with self.phases(OPTIMISER):
            self.optimiser.step()
            self.net.push(passes[0].keys)
        return numbers

    def _passes(self, views: Mapping[str, Tensor], *, step: int) -> list[ContrastLoss]:
        """Go over the batch, forward and backward; afterwards gradients are those of its mean loss over all processes."""
        num, processes = self.options.accumulate, self.processes
        devices = [self.device] if self.device.type == "cuda" else []
        passes: list[ContrastLoss] = []
        keys: Keys = {}
        for part in range(num):
            # Encoders with dropout or stochastic depth draw from torch's generator: give each pass its own.
            with torch.random.fork_rng(devices=devices), autocast(self.precision, self.device):
                torch.manual_seed(
                    (self.seed * 1_000_003 + step + (part * processes.size + processes.rank) * 2**40) % 2**63
                )
                if part == 0:
                    keys = self.net.keys(views, seed=self.seed, step=step)
                out = self.net.loss(views["q"], keys, part=part)
            last = self.gradients is not None and part == num - 1
            with self.phases(QUERY), self.gradients.summing() if last and self.gradients else nullcontext():
                (out.total / (num * processes.size)).backward()
            passes.append(out)
        return passes

    def _numbers(self, passes: list[ContrastLoss], *, rate: float) -> dict[str, float]:
        """Return what a step came to, over the whole batch of all processes."""
        # All numbers in one transfer: each would make the host wait for an accelerator once more.
        heads = list(passes[0].loss)
        names = ["loss", *(f"{k}_{h}" for h in heads for k in ("loss", "accuracy", "match"))]
        told = [
            torch.stack(
                [out.total.detach(), *(d[h] for h in heads for d in (out.loss, out.accuracy, out.match))]
            )
            for out in passes
        ]
        mean = told[0] if len(told) == 1 else torch.stack(told).mean(0)
        numbers = dict(zip(names, mean.tolist(), strict=True))
        return {**self.processes.mean(numbers), "lr": rate}

    def encoder(self) -> tuple[nn.Module, nn.ModuleDict]:
        """Return the query's backbone and heads."""
        self._average_statistics()
        heads = self.net.query["heads"]
        assert isinstance(heads, nn.ModuleDict)
        return self.net.query["backbone"], heads

    def _average_statistics(self) -> None:
        """Average batch norm's running statistics over processes: each has seen its own groups.

        They are linear in what was seen, so it does not matter when or how often this is done.
        """
        self.processes.average(b for part in (self.net.query, self.net.key) for b in part.buffers())

    def to(self, device: torch.device) -> None:
        """Move everything to a device, convolutions in channels-last layout."""
        self.device = device
        self.net.to(device)
        self.net.to(memory_format=torch.channels_last)

    def state_dict(self) -> dict[str, Tensor]:
        """Return networks, queues and what the optimiser remembers of each parameter."""
        self._average_statistics()
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
