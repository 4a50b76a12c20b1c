"""A training step on ready views: the original's module, Lightly's parts, ours, and the bare encoder's arithmetic."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from seco.bench import original as originals
from seco.bench import ours, rivals
from seco.bench.family import Say, Settings
from seco.bench.table import Row, absent, rows_of
from seco.bench.timing import Contender, interleave, settle, threads
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.compiled import TRIALS
from seco.nets.devices import autocast, keep_freed_memory
from seco.nets.small_maps import multiply_small_maps

HELP = "a step: the original's own module (--rival), Lightly's parts (--lightly), ours, and the bare encoder; 224 and 64 px"
AGAINST = "ours"
COMPILED = "ours, --compile keys"
VIEWS = ("q", "k0", "k1", "k2")
KEY_PX = {224: 128, 64: 48}
"""Edge of smaller keys, for views of so many pixels."""


def measure(settings: Settings, say: Say) -> Iterator[Row]:
    """Yield a row a contender and size of view."""
    device = ours.computing(settings, px=64)[0]
    if device.type == "cpu":
        keep_freed_memory()  # as `seco pretrain` does; it holds for the process, so for the rivals as well
    with threads(settings.threads):
        for px in (64,) if settings.quick else (224, 64):
            case = f"{settings.encoder}, {px} px, batch {settings.batch_size}, queue {settings.queue_size}"
            say(f"step: {case}")
            yield from _case(settings, px, case)


def _case(settings: Settings, px: int, case: str) -> Iterator[Row]:
    device, precision = ours.computing(settings, px=px)
    generator = torch.Generator().manual_seed(settings.seed)

    def views(key_px: int) -> dict[str, Tensor]:
        made = {}
        for name in VIEWS:
            edge = px if name == "q" else key_px
            drawn = torch.randn(settings.batch_size, 3, edge, edge, generator=generator).to(device)
            made[name] = drawn.contiguous(memory_format=torch.channels_last)
        return made

    large, small = views(px), views(KEY_PX[px])
    able: dict[str, Callable[[], object]] = {
        AGAINST: _ours(settings, px, large, ours.paper_options(settings)),
        f"bound: the bare encoder, 1 pass with and 3 without gradient, {precision}, channels-last": _bound(
            settings, large, precision, convolutions="PyTorch"
        ),
        "bound, with our convolutions of small maps": _bound(settings, large, precision, convolutions="ours"),
        "ours, default settings": _ours(settings, px, large, {}),
        **_options(settings, px, large, small),
    }
    rival, absentees = _rivals(settings, large, precision)
    able |= rival
    told: list[str] = []
    if settings.quick:
        absentees[COMPILED] = "not measured with --quick: compiling takes minutes"
    else:
        able[COMPILED] = _compiled(settings, px, large, told.append)
    contenders = [
        Contender(name=n, run=_settled(run, device), note="; ".join(told) if n == COMPILED else "")
        for n, run in able.items()
    ]
    timings = interleave(contenders, repeats=settings.repeats)
    yield from rows_of(
        timings, contenders, family="step", case=case, against=AGAINST, num=settings.batch_size
    )
    for name, why in absentees.items():
        yield absent(family="step", case=case, contender=name, against=AGAINST, why=why)


def _options(
    settings: Settings, px: int, large: Mapping[str, Tensor], small: Mapping[str, Tensor]
) -> dict[str, Callable[[], object]]:
    """Return ours with each option that changes what a step costs, and with those together that save most."""
    paper, smaller = ours.paper_options(settings), f"--key-px {KEY_PX[px]}"
    halves = {"group_size": max(2, settings.batch_size // 2)}
    return {
        f"ours, {smaller}": _ours(settings, px, small, paper),
        "ours, --key-norm ema": _ours(settings, px, large, paper | {"key_norm": "ema"}),
        f"ours, {smaller} --key-norm ema": _ours(settings, px, small, paper | {"key_norm": "ema"}),
        "ours, two groups a kind": _ours(settings, px, large, paper | halves),
        "ours, two groups a kind, --key-groups mixed": _ours(
            settings, px, large, paper | halves | {"key_groups": "mixed"}
        ),
    }


def _compiled(settings: Settings, px: int, views: Mapping[str, Tensor], say: Say) -> Callable[[], object]:
    """Return ours with a compiled key pass, after it has been decided whether that stays."""
    options = ours.paper_options(settings) | {"compile": "keys"}
    method = ours.build_method(settings, px=px, options=options, say=say)
    steps = itertools.count()
    for _ in range(2 * TRIALS + 1):
        method.update(views, step=next(steps))
    return lambda: method.update(views, step=next(steps))


def _rivals(
    settings: Settings, views: Mapping[str, Tensor], precision: str
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """Return the rivals that are here, and why others are not."""
    able: dict[str, Callable[[], object]] = {}
    absentees = {}
    if settings.rival is not None:
        released = originals.load(settings.rival)
        able["original, as shipped, fp32"] = _original(settings, released, views, None)
        able[f"original, {precision}, channels-last"] = _original(settings, released, views, precision)
    else:
        absentees["original"] = rivals.NO_ORIGINAL
    parts = f"Lightly's MoCo parts, three heads, {precision}, channels-last"
    if settings.lightly == "without":
        absentees[parts] = rivals.NO_LIGHTLY
    elif not rivals.installed("lightly"):
        absentees[parts] = f"not measured: {rivals.missing('lightly')}"
    else:
        able[parts] = _lightly(settings, views, precision)
    return able, absentees


def _settled(run: Callable[[], object], device: torch.device) -> Callable[[], None]:
    def timed() -> None:
        run()
        settle(device)

    return timed


def _ours(
    settings: Settings, px: int, views: Mapping[str, Tensor], options: dict[str, object]
) -> Callable[[], object]:
    method = ours.build_method(settings, px=px, options=options)
    steps = itertools.count()
    return lambda: method.update(views, step=next(steps))


def _original(
    settings: Settings, released: originals.Original, views: Mapping[str, Tensor], precision: str | None
) -> Callable[[], object]:
    query, *keys = (views[v] for v in VIEWS)
    trainee = originals.Trainee(
        released, encoder=settings.encoder, queue_size=settings.queue_size, batch_size=settings.batch_size,
        device=query.device, seed=settings.seed, precision=precision,
    )  # fmt: skip
    # In the layout that they would come in: only then is turning them no part of the step.
    query, *keys = (v.contiguous(memory_format=trainee.layout) for v in (query, *keys))
    return lambda: trainee.step(query, keys)


def _bound(
    settings: Settings,
    views: Mapping[str, Tensor],
    precision: str,
    *,
    convolutions: Literal["PyTorch", "ours"],
) -> Callable[[], object]:
    """Return what no exact step can do without: four passes of the encoder, one of them with its gradient."""
    query_net = _encoder(settings, views)
    if convolutions == "ours":
        multiply_small_maps(query_net)
    key_net = copy.deepcopy(query_net).requires_grad_(False)
    query, *keys = (views[v] for v in VIEWS)

    def run() -> None:
        with autocast("bf16" if precision == "bf16" else "fp32", query.device):
            with torch.no_grad():
                for key in keys:
                    key_net(key)
            loss = query_net(query).float().mean()
        query_net.zero_grad(set_to_none=True)
        loss.backward()

    return run


def _encoder(settings: Settings, views: Mapping[str, Tensor]) -> torch.nn.Module:
    net = build_backbone(settings.encoder, 3, seed=settings.seed)
    return net.to(views["q"].device).to(memory_format=torch.channels_last).train()


def _lightly(settings: Settings, views: Mapping[str, Tensor], precision: str) -> Callable[[], object]:
    """Return SeCo's passes and heads put together from Lightly's parts; its loss has no sibling keys as negatives."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from torch import nn

    query, *keys = (views[v] for v in VIEWS)
    net = _encoder(settings, views)
    dim = feature_dim(net)
    heads = nn.ModuleList(MoCoProjectionHead(dim, dim, 128) for _ in keys).to(query.device)
    key_net, key_heads = copy.deepcopy(net), copy.deepcopy(heads)
    deactivate_requires_grad(key_net)
    deactivate_requires_grad(key_heads)
    losses = [
        NTXentLoss(temperature=0.07, memory_bank_size=(settings.queue_size, 128)).to(query.device)
        for _ in keys
    ]
    optimiser = torch.optim.SGD(
        [*net.parameters(), *heads.parameters()], lr=0.03, momentum=0.9, weight_decay=1e-4
    )

    def run() -> None:
        update_momentum(net, key_net, m=0.999)
        update_momentum(heads, key_heads, m=0.999)
        with autocast("bf16" if precision == "bf16" else "fp32", query.device):
            features = net(query)
            total = torch.zeros((), device=query.device)
            for key, head, key_head, loss in zip(keys, heads, key_heads, losses, strict=True):
                with torch.no_grad():
                    projected = key_head(key_net(key))
                total = total + loss(head(features).float(), projected.float())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()

    return run
