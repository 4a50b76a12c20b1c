"""Momentum contrast with one head a question: the network, the logits and the queues that SeCo and MoCo share.

Sources: He et al. 2020 (MoCo), Chen et al. 2020 (MoCo v2), Manas et al. 2021 (SeCo), and the code released with them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seco.errors import ConfigError
from seco.nets.grouped import GroupedNorms
from seco.nets.heads import projection_head
from seco.nets.phases import KEYS, LOSS, QUERY, Phases
from seco.nets.queue import KeyQueue
from seco.views.draws import GROUPS, uniforms
from seco.views.plan import Head, Negatives, Siblings, ViewPlan

KeyGroups = Literal["kind", "mixed"]
KeyNorm = Literal["batch", "ema"]
"""Whose statistics normalise keys: their group's, or the key network's own, which follow the query's."""


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
        projection_dim: int = 128,
        seed: int = 0,
        phases: Phases | None = None,
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
        self.phases = phases or Phases()
        heads = {
            h.name: projection_head(feature_dim, projection_dim, seed=seed + i)
            for i, h in enumerate(plan.heads)
        }
        self.query = nn.ModuleDict({"backbone": backbone, "heads": nn.ModuleDict(heads)})
        # Nothing asks its gradient: it runs without, and no optimiser has it. It could do without the flag but for autocast,
        # which remembers the bf16 copy of a weight from pass to pass of a step only where the flag is set.
        self.key = copy.deepcopy(self.query)
        self.key_norms = GroupedNorms(self.key["backbone"])
        self.queues = nn.ModuleDict()
        if negatives != "batch":
            assert queue_size is not None
            for i, head in enumerate(plan.heads):
                self.queues[head.name] = KeyQueue(queue_size, projection_dim, seed=seed + i)

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
        names = [v.name for v in self.plan.keys]
        if self.key_norm == "ema":
            self.key["backbone"].eval()
            features = self.key["backbone"](torch.cat([views[n] for n in names]))
            return dict(zip(names, features.chunk(len(names)), strict=True))
        kinds = [names] if self.key_groups == "mixed" else [[n] for n in names]
        shuffled, orders, sizes = [], [], []
        for number, kind in enumerate(kinds):
            x = torch.cat([views[n] for n in kind]) if len(kind) > 1 else views[kind[0]]
            drawn = uniforms(seed=seed, epoch=step, samples=np.arange(len(x)), view=GROUPS + number, num=1)
            orders.append(torch.from_numpy(np.argsort(drawn[:, 0], kind="stable")).to(x.device))
            shuffled.append(x[orders[-1]])
            # A group of one key has no statistics.
            num_groups = max(1, min(round(len(x) / self.group_size), len(x) // 2))
            sizes += [len(p) for p in np.array_split(np.arange(len(x)), num_groups)]
        self.key_norms.sizes = sizes
        features = self.key["backbone"](torch.cat(shuffled) if len(shuffled) > 1 else shuffled[0])
        out: dict[str, Tensor] = {}
        for kind, order, part in zip(kinds, orders, features.chunk(len(kinds)), strict=True):
            back = torch.empty_like(part)
            back[order] = part
            out.update(zip(kind, back.chunk(len(kind)), strict=True))
        return out

    def forward(self, views: Mapping[str, Tensor], *, seed: int, step: int) -> ContrastLoss:
        """Compute loss and accuracy of a batch.

        Args:
            views: view name -> (batch, bands, h, w); `q` is the query.
            seed, step: coordinates of the key shuffle.
        """
        if len(views["q"]) < 2:
            raise ConfigError(f"batch of {len(views['q'])}; batch statistics need at least 2 (--batch-size)")
        with self.phases(KEYS):
            key_features = self.key_features(views, seed=seed, step=step)
        with self.phases(QUERY):
            query_features = self.query["backbone"](views["q"])
        with self.phases(LOSS), torch.autocast(query_features.device.type, enabled=False):
            # Heads, logits and loss are computed in the parameters' own precision, whatever the backbone ran in.
            dtype = next(self.query["heads"].parameters()).dtype
            return self._losses(query_features.to(dtype), {k: v.to(dtype) for k, v in key_features.items()})

    def _losses(self, query: Tensor, keys: Mapping[str, Tensor]) -> ContrastLoss:
        losses, accuracies, matches, enqueue = {}, {}, {}, {}
        query_heads, key_heads = self.query["heads"], self.key["heads"]
        assert isinstance(query_heads, nn.ModuleDict)
        assert isinstance(key_heads, nn.ModuleDict)
        for head in self.plan.heads:
            q = functional.normalize(query_heads[head.name](query), dim=1)
            with torch.no_grad():
                wanted = (head.positive, *(head.siblings if self.siblings != "none" else ()))
                projected = {n: functional.normalize(key_heads[head.name](keys[n]), dim=1) for n in wanted}
            logits = self.logits(head, q, projected)
            target = torch.zeros(len(q), dtype=torch.int64, device=q.device)
            losses[head.name] = functional.cross_entropy(logits, target)
            accuracies[head.name] = (logits.detach().argmax(1) == 0).float().mean()
            nearest = (q.detach() @ projected[head.positive].T).argmax(1)
            matches[head.name] = (nearest == torch.arange(len(q), device=q.device)).float().mean()
            enqueue[head.name] = projected[head.positive]
        total = torch.stack(list(losses.values())).sum()
        detached = {k: v.detach() for k, v in losses.items()}
        return ContrastLoss(total=total, loss=detached, accuracy=accuracies, match=matches, keys=enqueue)

    def logits(self, head: Head, q: Tensor, keys: Mapping[str, Tensor]) -> Float[Tensor, "batch logits"]:
        """Return the positive's logit, then those of the negatives: the queue's, the batch's, the siblings'."""
        columns = [(q * keys[head.positive]).sum(1, keepdim=True)]
        if self.negatives != "batch":
            queue = self.queues[head.name]
            assert isinstance(queue, KeyQueue)
            columns.append(q @ queue.keys.to(q.dtype).T)
        if self.negatives != "queue":
            own = torch.eye(len(q), dtype=torch.bool, device=q.device)
            columns.append((q @ keys[head.positive].T).masked_fill(own, -torch.inf))
        for name in head.siblings:
            if self.siblings == "all":
                columns.append(q @ keys[name].T)
            elif self.siblings == "own":
                columns.append((q * keys[name]).sum(1, keepdim=True))
        return torch.cat(columns, dim=1) / self.temperature

    def push(self, keys: Mapping[str, Tensor]) -> None:
        """Push each head's positive keys onto its queue, where there are queues."""
        for name, queue in self.queues.items():
            assert isinstance(queue, KeyQueue)
            queue.push(keys[name])
