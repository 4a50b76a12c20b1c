"""Momentum contrast with one head a question: the network, the logits and the queues that SeCo and MoCo share.

Sources: He et al. 2020 (MoCo), Chen et al. 2020 (MoCo v2), Manas et al. 2021 (SeCo), and the code released with them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from seco.errors import ConfigError
from seco.nets.batchnorm import SharedStatistics
from seco.nets.compiled import Compile, Compiled
from seco.nets.depthwise import train_depthwise_in_fp32
from seco.nets.grouped import GroupedNorms
from seco.nets.heads import projection_head
from seco.nets.phases import KEYS, LOSS, QUERY, Phases
from seco.nets.processes import ALONE, Processes
from seco.nets.queue import KeyQueue
from seco.nets.small_maps import multiply_small_maps
from seco.views.draws import GROUPS, uniforms
from seco.views.plan import Head, Negatives, Siblings, ViewPlan

KeyGroups = Literal["kind", "mixed"]
KeyNorm = Literal["batch", "ema"]
"""Whose statistics normalise keys: their group's, or the key network's own, which follow the query's."""
Keys = Mapping[str, Mapping[str, Tensor]]
"""Per head the projections of the keys it needs, by view name, (batch of all processes, dim)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastLoss:
    """The outcome of one pass.

    Attributes:
        total: sum of the heads' cross-entropies.
        loss, accuracy: per head; accuracy is the share of queries whose positive has the highest logit.
        match: per head the share of queries whose positive is nearer than the positives of the batch's other places.
            These are as fresh as the positive, so it tells what was learned, whatever the age of the queue's keys.
        keys: per head the positive keys, to be pushed onto its queue after the step.
    """

    total: Tensor
    loss: dict[str, Tensor]
    accuracy: dict[str, Tensor]
    match: dict[str, Tensor]
    keys: dict[str, Tensor]


class MomentumContrast(nn.Module):
    """Query encoder and heads, their momentum copies, and a queue a head where negatives come from queues."""

    def __init__(
        self,
        *,
        backbone: nn.Module,
        feature_dim: int,
        plan: ViewPlan,
        queue_size: int | None,
        momentum: float,
        temperature: float,
        siblings: Siblings,
        negatives: Negatives,
        key_groups: KeyGroups,
        group_size: int,
        key_norm: KeyNorm = "batch",
        freeze_norm: bool = False,
        query_groups: int = 1,
        accumulate: int = 1,
        projection_dim: int = 128,
        seed: int = 0,
        phases: Phases | None = None,
        processes: Processes = ALONE,
        compiled: Compile = "none",
        say: Callable[[str], None] = print,
    ) -> None:
        """Build the heads, momentum copies and queues around a backbone.

        Args:
            queue_size: keys a queue; None where `negatives` is `batch`, which needs none.
            siblings: negatives among the batch's other keys: `all` (of every place, as the original), `own` (of the same
                place only) or `none`.
            key_groups: whether a batch-norm group holds one `kind` of key, as the original's separate passes do, or is
                `mixed` from all kinds.
            group_size: keys a batch-norm group.
            key_norm: `batch` statistics of the group, as the original; or `ema`, the running statistics, which follow the
                query's by momentum as the weights do (EMAN, Cai et al. 2021): no key depends on its companions, so
                there are no groups and nothing to shuffle.
            freeze_norm: query and keys are normalised by the statistics that the backbone comes with, which stay.
            query_groups: batch-norm groups of the query, of equal size.
            accumulate: passes of the query a step, over an equal part of the batch each.
            processes: who shares the batch; each gives its own part of it to `keys` and `loss`.
            compiled: `keys` compiles the key pass, where that proves faster.
            say: takes a line on what became of compiling.
        """
        super().__init__()
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum {momentum}; it must be at least 0 and below 1")
        if temperature <= 0:
            raise ConfigError(f"temperature {temperature}; it must be above 0")
        if group_size < 2:
            raise ConfigError(
                f"batch-norm group of {group_size} keys; statistics need at least 2 (--group-size)"
            )
        self.plan = plan
        self.momentum = momentum
        self.temperature = temperature
        self.siblings = siblings
        self.negatives = negatives
        self.key_groups = key_groups
        self.group_size = group_size
        self.key_norm = key_norm
        self.frozen = [m for m in backbone.modules() if isinstance(m, _BatchNorm)] if freeze_norm else []
        if freeze_norm and not self.frozen:
            raise ConfigError(
                "this encoder has no batch norm whose statistics could be kept; leave out --freeze-norm"
            )
        self.phases = phases or Phases()
        self.accumulate = accumulate
        self.processes = processes
        # Without statistics of their own, samples have no groups.
        self.num_groups, self.statistics = (
            (1, None) if self.frozen else _query_groups(query_groups, accumulate, processes)
        )
        heads = {
            h.name: projection_head(feature_dim, projection_dim, seed=seed + i)
            for i, h in enumerate(plan.heads)
        }
        multiply_small_maps(backbone)
        train_depthwise_in_fp32(backbone)
        self.query = nn.ModuleDict({"backbone": backbone, "heads": nn.ModuleDict(heads)})
        # Nothing asks its gradient: it runs without, and no optimiser has it. It could do without the flag but for autocast,
        # which remembers the bf16 copy of a weight from pass to pass of a step only where the flag is set.
        self.key = copy.deepcopy(self.query)
        self.key_norms = GroupedNorms(self.key["backbone"])
        self.compiled = (
            None if compiled == "none" else Compiled(self.key["backbone"], what="key pass", say=say)
        )
        self.queues = nn.ModuleDict()
        if negatives != "batch":
            assert queue_size is not None
            for i, head in enumerate(plan.heads):
                self.queues[head.name] = KeyQueue(queue_size, projection_dim, seed=seed + i)

    def train(self, mode: bool = True) -> MomentumContrast:  # noqa: FBT001, FBT002
        """Set training mode, in which frozen batch norms stay as they are."""
        super().train(mode)
        for norm in self.frozen:
            norm.eval()
        return self

    @property
    def alone(self) -> bool:
        """Whether no key depends on its companions."""
        return self.key_norm == "ema" or bool(self.frozen)

    @torch.no_grad()
    def update_key(self) -> None:
        """Move the momentum copies' parameters towards the query's.

        Buffers stay their own, as in the original, unless keys are normalised by them.
        """
        theirs: list[Tensor] = list(self.key.parameters())
        ours = [p.detach() for p in self.query.parameters()]
        if self.key_norm == "ema":
            pairs = zip(self.key.buffers(), self.query.buffers(), strict=True)
            floating = [(a, b) for a, b in pairs if a.is_floating_point()]
            theirs += [a for a, _ in floating]
            ours += [b for _, b in floating]
        torch._foreach_lerp_(theirs, ours, 1 - self.momentum)

    @torch.no_grad()
    def key_features(self, views: Mapping[str, Tensor], *, seed: int, step: int) -> dict[str, Tensor]:
        """Encode the key views in shuffled batch-norm groups, all in one pass.

        Shuffling parts a place's keys from its group companions in the query batch, so that batch statistics do not tell
        which key belongs to which query (He et al. 2020, section 3.3, done there across devices).
        """
        names, processes = [v.name for v in self.plan.keys], self.processes
        x = torch.cat([views[n] for n in names]) if len(names) > 1 else views[names[0]]
        num = len(views[names[0]]) * processes.size
        owners = np.tile(processes.owners(num, parts=self.accumulate), len(names))
        if self.alone:
            self.key["backbone"].eval()
            if processes.size == 1:
                return dict(zip(names, self._encode_keys(x).chunk(len(names)), strict=True))
            wanted = [np.flatnonzero(owners == rank) for rank in range(processes.size)]
            own = x
        else:
            shares = processes.shares(self._groups(num, len(names), seed=seed, step=step))
            wanted = [np.concatenate(groups) for groups in shares]
            own = processes.exchange(x, owners, wanted).contiguous(memory_format=torch.channels_last)
            self.key_norms.sizes = [len(g) for g in shares[processes.rank]]
        features = processes.gather(self._encode_keys(own), [len(w) for w in wanted])
        back = torch.empty_like(features)
        back[torch.from_numpy(np.concatenate(wanted)).to(x.device)] = features
        return dict(zip(names, back.chunk(len(names)), strict=True))

    def _encode_keys(self, x: Tensor) -> Tensor:
        return (self.compiled or self.key["backbone"])(x)

    def _groups(self, num: int, num_views: int, *, seed: int, step: int) -> list[np.ndarray]:
        """Return the keys of each batch-norm group, as places in the row of all views' keys one after the other.

        Args:
            num: keys a view, of all processes.
        """
        kinds, length = (1, num * num_views) if self.key_groups == "mixed" else (num_views, num)
        groups: list[np.ndarray] = []
        for number in range(kinds):
            drawn = uniforms(seed=seed, epoch=step, samples=np.arange(length), view=GROUPS + number, num=1)
            order = np.argsort(drawn[:, 0], kind="stable") + number * length
            # A group of one key has no statistics.
            groups += np.array_split(order, max(1, min(round(length / self.group_size), length // 2)))
        return groups

    @torch.no_grad()
    def keys(self, views: Mapping[str, Tensor], *, seed: int, step: int) -> Keys:
        """Return what each head makes of the keys of the whole batch: no gradient goes to keys, so none is gathered.

        Args:
            views: key view -> (this process's part of the batch, bands, h, w).
            seed, step: coordinates of the key shuffle.
        """
        with self.phases(KEYS):
            features = self.key_features(views, seed=seed, step=step)
        heads = self.key["heads"]
        assert isinstance(heads, nn.ModuleDict)
        out = {}
        with self.phases(LOSS), torch.autocast(next(iter(features.values())).device.type, enabled=False):
            dtype = next(heads.parameters()).dtype
            features = {k: v.to(dtype) for k, v in features.items()}
            for head in self.plan.heads:
                wanted = (head.positive, *(head.siblings if self.siblings != "none" else ()))
                out[head.name] = {
                    n: functional.normalize(heads[head.name](features[n]), dim=1) for n in wanted
                }
        return out

    def forward(self, views: Mapping[str, Tensor], *, seed: int, step: int) -> ContrastLoss:
        """Compute loss and accuracy of a batch in one pass; see `keys` and `loss`.

        Args:
            views: view name -> (this process's part of the batch, bands, h, w); `q` is the query.
            seed, step: coordinates of the key shuffle.
        """
        return self.loss(views["q"], self.keys(views, seed=seed, step=step))

    def loss(self, views: Tensor, keys: Keys, *, part: int = 0) -> ContrastLoss:
        """Compute loss and accuracy of this process's queries in one of the `accumulate` parts of a batch.

        Args:
            views: query views of this process's part of the batch.
            keys: of the whole batch, from `keys`.
            part: which of the parts.
        """
        num = len(views) * self.processes.size
        if num < 2:
            raise ConfigError(f"batch of {num}; batch statistics need at least 2 (--batch-size)")
        own = torch.arange(len(views)).chunk(self.accumulate)[part]
        rows = torch.from_numpy(self.processes.rows(num, parts=self.accumulate))[own].to(views.device)
        with self.phases(QUERY):
            query = self._query_features(views if self.accumulate == 1 else views[own.to(views.device)])
        with self.phases(LOSS), torch.autocast(query.device.type, enabled=False):
            # Heads, logits and loss are computed in the parameters' own precision, whatever the backbone ran in.
            dtype = next(self.query["heads"].parameters()).dtype
            return self._losses(query.to(dtype), keys, rows)

    def _query_features(self, x: Tensor) -> Tensor:
        with self.statistics or nullcontext():
            if self.num_groups == 1:
                return self.query["backbone"](x)
            return torch.cat([self.query["backbone"](group) for group in x.chunk(self.num_groups)])

    def _losses(self, query: Tensor, keys: Keys, rows: Tensor) -> ContrastLoss:
        """Compare queries with keys; `rows` says which of the batch's keys are the queries' own."""
        losses, accuracies, matches, enqueue = {}, {}, {}, {}
        heads = self.query["heads"]
        assert isinstance(heads, nn.ModuleDict)
        for head in self.plan.heads:
            q = functional.normalize(heads[head.name](query), dim=1)
            projected = keys[head.name]
            logits = self.logits(head, q, projected, rows)
            target = torch.zeros(len(q), dtype=torch.int64, device=q.device)
            losses[head.name] = functional.cross_entropy(logits, target)
            accuracies[head.name] = (logits.detach().argmax(1) == 0).float().mean()
            nearest = (q.detach() @ projected[head.positive].T).argmax(1)
            matches[head.name] = (nearest == rows).float().mean()
            enqueue[head.name] = projected[head.positive]
        total = torch.stack(list(losses.values())).sum()
        detached = {k: v.detach() for k, v in losses.items()}
        return ContrastLoss(total=total, loss=detached, accuracy=accuracies, match=matches, keys=enqueue)

    def logits(
        self, head: Head, q: Tensor, keys: Mapping[str, Tensor], rows: Tensor
    ) -> Float[Tensor, "batch logits"]:
        """Return the positive's logit, then those of the negatives: the queue's, the batch's, the siblings'."""
        columns = [(q * keys[head.positive][rows]).sum(1, keepdim=True)]
        if self.negatives != "batch":
            queue = self.queues[head.name]
            assert isinstance(queue, KeyQueue)
            columns.append(q @ queue.keys.to(q.dtype).T)
        if self.negatives != "queue":
            batch = keys[head.positive]
            own = rows[:, None] == torch.arange(len(batch), device=q.device)
            columns.append((q @ batch.T).masked_fill(own, -torch.inf))
        for name in head.siblings:
            if self.siblings == "all":
                columns.append(q @ keys[name].T)
            elif self.siblings == "own":
                columns.append((q * keys[name][rows]).sum(1, keepdim=True))
        return torch.cat(columns, dim=1) / self.temperature

    def push(self, keys: Mapping[str, Tensor]) -> None:
        """Push each head's positive keys onto its queue, where there are queues."""
        for name, queue in self.queues.items():
            assert isinstance(queue, KeyQueue)
            queue.push(keys[name])


def _query_groups(
    query_groups: int, accumulate: int, processes: Processes
) -> tuple[int, SharedStatistics | None]:
    """Return the batch-norm groups of a query pass in this process, and how one that spans processes is shared."""
    whole = max(1, query_groups // accumulate)
    if whole % processes.size == 0:
        return whole // processes.size, None
    return 1, SharedStatistics(processes.subgroup(processes.size // whole))
