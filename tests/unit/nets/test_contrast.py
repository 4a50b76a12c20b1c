"""The engine against a plain loop written from the paper's description: loss, logits and gradients in fp64."""

import copy
import math

import pytest
import torch
from torch import nn

from seco.errors import ConfigError
from seco.methods import _contract as methods
from seco.nets.contrast import MomentumContrast
from seco.nets.queue import KeyQueue

DIM, BATCH, QUEUE, TEMPERATURE = 6, 5, 7, 0.07


class Tiny(nn.Module):
    """A backbone whose output for a sample depends on its whole batch, as batch norm makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, DIM, 3)
        self.norm = nn.BatchNorm2d(DIM)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x))).mean((2, 3))


def make(
    method,
    *,
    siblings="all",
    negatives="queue",
    key_groups="kind",
    group_size=64,
    momentum=0.9,
    key_norm="batch",
    **options,
):
    torch.manual_seed(0)
    return MomentumContrast(
        backbone=Tiny(), feature_dim=DIM, plan=methods.find(method).PLAN, momentum=momentum, temperature=TEMPERATURE,
        queue_size=None if negatives == "batch" else QUEUE, siblings=siblings, negatives=negatives,
        key_groups=key_groups, group_size=group_size, key_norm=key_norm, projection_dim=4,
        **options,
    ).double()  # fmt: skip


def make_views(method):
    generator = torch.Generator().manual_seed(1)
    names = [v.name for v in methods.find(method).PLAN.views]
    return {n: torch.randn(BATCH, 3, 8, 8, generator=generator, dtype=torch.float64) for n in names}


def unit(vector):
    return vector / math.sqrt(sum(float(v.detach()) ** 2 for v in vector)) if not vector.requires_grad else vector / (
        vector.pow(2).sum().sqrt()
    )  # fmt: skip


def plain_losses(net, views, siblings, negatives):
    """SeCo's loss in loops: head i against its positive, its queue, and its projections of the other keys."""
    query = copy.deepcopy(net.query).train()
    key = copy.deepcopy(net.key).train()
    features_q = query["backbone"](views["q"])
    with torch.no_grad():
        features_k = {n: key["backbone"](views[n]) for n in views if n != "q"}
    table = {"z0": ("k0", ()), "z1": ("k1", ("k0", "k2")), "z2": ("k2", ("k0", "k1"))}
    total, all_logits = 0.0, {}
    for head in net.plan.heads:
        positive, others = table[head.name]
        rows = []
        for i in range(BATCH):
            q = unit(query["heads"][head.name](features_q[i]))
            with torch.no_grad():
                project = {n: [unit(key["heads"][head.name](f)) for f in features_k[n]] for n in features_k}
            row = [q @ project[positive][i]]
            if negatives in ("queue", "both"):
                row += [q @ k for k in net.queues[head.name].keys]
            if negatives in ("batch", "both"):
                row += [q @ k for j, k in enumerate(project[positive]) if j != i]
            for other in others:
                if siblings == "all":
                    row += [q @ k for k in project[other]]
                elif siblings == "own":
                    row += [q @ project[other][i]]
            rows.append(torch.stack(row) / TEMPERATURE)
        all_logits[head.name] = torch.stack(rows)
        total = total + sum(torch.logsumexp(r, 0) - r[0] for r in rows) / BATCH
    total.backward()
    return total.detach(), all_logits, {n: p.grad for n, p in query.named_parameters()}


@pytest.mark.parametrize("method", ["seco", "moco", "moco-tp"])
@pytest.mark.parametrize(
    ("siblings", "negatives"),
    [
        ("all", "queue"),
        ("own", "queue"),
        ("none", "queue"),
        ("all", "batch"),
        ("none", "batch"),
        ("own", "both"),
    ],
)
def test_loss_logits_and_gradients_equal_a_plain_loop(method, siblings, negatives):
    net = make(method, siblings=siblings, negatives=negatives).train()
    views = make_views(method)
    seen = {}
    original = net.logits

    def spy(head, q, keys, rows):
        seen[head.name] = original(head, q, keys, rows)
        return seen[head.name]

    net.logits = spy
    total, logits, gradients = plain_losses(net, views, siblings, negatives)
    out = net(views, seed=0, step=0)
    out.total.backward()
    assert abs(out.total.item() - total.item()) < 1e-6
    for name, expected in logits.items():
        # The place's own column among the batch's keys holds minus infinity: it is no negative.
        there = torch.isfinite(seen[name])
        assert int((~there).sum()) == (0 if negatives == "queue" else BATCH)
        assert (seen[name][there].view(BATCH, -1) - expected).abs().max() < 1e-6
    for name, parameter in net.query.named_parameters():
        assert (parameter.grad - gradients[name]).abs().max() < 1e-6, name
    assert all(p.grad is None for p in net.key.parameters())


def test_number_of_negatives_is_the_queue_and_every_sibling():
    net, views = make("seco").train(), make_views("seco")
    seen = {}
    original = net.logits
    net.logits = lambda h, q, k, rows: seen.setdefault(h.name, original(h, q, k, rows))
    net(views, seed=0, step=0)
    assert {k: v.shape[1] for k, v in seen.items()} == {
        "z0": 1 + QUEUE,
        "z1": 1 + QUEUE + 2 * BATCH,
        "z2": 1 + QUEUE + 2 * BATCH,
    }


@pytest.mark.parametrize("negatives", ["queue", "batch", "both"])
def test_match_counts_queries_nearest_to_their_own_key_and_no_queue_can_change_it(negatives):
    net, views = make("moco", negatives=negatives).train(), make_views("moco")
    views["k0"] = views["q"].clone()
    out = net(views, seed=0, step=0)
    assert out.match["z0"] == 1  # with equal weights the key of the same pixels is the query itself
    if negatives != "batch":
        net.queues["z0"].keys.copy_(out.keys["z0"].repeat(2, 1)[:QUEUE])
    again = net(views, seed=0, step=0)
    assert again.match["z0"] == 1
    views["k0"] = views["q"].roll(1, 0)
    assert net(views, seed=0, step=0).match["z0"] == 0


def test_the_key_follows_by_momentum_in_parameters_and_not_in_buffers():
    net = make("seco", momentum=0.9)
    before = {n: p.clone() for n, p in net.key.named_parameters()}
    with torch.no_grad():
        for p in net.query.parameters():
            p.add_(1.0)
    net.query["backbone"].norm.running_mean.fill_(5.0)
    net.update_key()
    for name, p in net.key.named_parameters():
        assert torch.allclose(p, before[name] + 0.1)
    assert net.key["backbone"].norm.running_mean.abs().max() == 0


def test_each_kind_of_key_has_its_own_batch_statistics_unless_mixed():
    views = make_views("seco")
    views["k1"] = views["k1"] * 10 + 3
    alone = copy.deepcopy(make("seco").key["backbone"]).train()
    with torch.no_grad():
        expected = alone(views["k0"])
    kind = make("seco").train().key_features(views, seed=0, step=0)
    assert (kind["k0"] - expected).abs().max() < 1e-12
    mixed = make("seco", key_groups="mixed").train().key_features(views, seed=0, step=0)
    assert (mixed["k0"] - expected).abs().max() > 1e-3


@pytest.mark.parametrize("key_groups", ["kind", "mixed"])
def test_one_pass_of_all_keys_is_a_pass_a_group(key_groups):
    """The features and running statistics of plain passes, group after group, in the order that the draws say."""
    net, views = make("seco", key_groups=key_groups, group_size=2).train(), make_views("seco")
    plain = copy.deepcopy(make("seco").key["backbone"]).train()
    seen = []
    original = net.key["backbone"].conv.forward
    net.key["backbone"].conv.forward = lambda x: seen.append(x) or original(x)
    found = net.key_features(views, seed=0, step=0)
    sizes = net.key_norms.sizes
    assert len(seen) == 1
    assert len(seen[0]) == 3 * BATCH == sum(sizes)
    assert sizes == ([3, 2] * 3 if key_groups == "kind" else [3] + [2] * 6)[: len(sizes)]
    with torch.no_grad():
        expected = torch.cat([plain(part) for part in seen[0].split(sizes)])
    kept, there = net.key["backbone"].norm, plain.norm
    assert (kept.running_mean - there.running_mean).abs().max() < 1e-12
    assert (kept.running_var - there.running_var).abs().max() < 1e-12
    for name, features in found.items():
        for i in range(BATCH):
            (at,) = [j for j in range(len(seen[0])) if torch.equal(seen[0][j], views[name][i])]
            assert (features[i] - expected[at]).abs().max() < 1e-12


def test_keys_normalised_by_running_statistics_stand_alone_and_the_statistics_follow():
    """EMAN: the key's statistics move as its weights do; a key is the same whatever its companions are."""
    net, views = make("seco", key_norm="ema", momentum=0.9).train(), make_views("seco")
    theirs, ours = net.query["backbone"].norm, net.key["backbone"].norm
    theirs.running_mean.fill_(5.0)
    before = ours.running_var.clone()
    theirs.running_var.fill_(3.0)
    net.update_key()
    assert (ours.running_mean - 0.5).abs().max() < 1e-12
    assert (ours.running_var - (0.9 * before + 0.1 * 3.0)).abs().max() < 1e-12
    together = net.key_features(views, seed=0, step=0)
    for name in ("k0", "k1", "k2"):
        for i in range(BATCH):
            alone = net.key["backbone"](views[name][i : i + 1])[0]
            assert (together[name][i] - alone).abs().max() < 1e-12
    assert (ours.running_mean - 0.5).abs().max() < 1e-12  # a pass does not move them
    out = net(views, seed=0, step=0)
    out.total.backward()
    assert all(p.grad is None for p in net.key.parameters())


def test_frozen_norms_keep_their_statistics_and_nothing_depends_on_its_companions():
    net, views = make("seco", freeze_norm=True, group_size=2, query_groups=2), make_views("seco")
    for norm in (net.query["backbone"].norm, net.key["backbone"].norm):
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
    net.train()
    net.update_key()
    out = net(views, seed=0, step=0)
    out.total.backward()
    keys = net.key_features(views, seed=0, step=0)
    plain = copy.deepcopy(net).eval()
    for i in range(BATCH):
        alone = {n: v[i : i + 1] for n, v in views.items()}
        assert (keys["k1"][i] - plain.key["backbone"](alone["k1"])[0]).abs().max() < 1e-12
        assert (net.query["backbone"](alone["q"]) - plain.query["backbone"](alone["q"])).abs().max() < 1e-12
    for norm in (net.query["backbone"].norm, net.key["backbone"].norm):
        assert torch.equal(norm.running_mean, torch.full_like(norm.running_mean, 0.3))
        assert torch.equal(norm.running_var, torch.full_like(norm.running_var, 2.0))
    for parameter in net.query["backbone"].norm.parameters():
        assert parameter.grad.abs().max() > 0  # scale and shift are trained as ever


def test_norms_cannot_be_frozen_where_there_are_none():
    with pytest.raises(ConfigError, match="no batch norm"):
        MomentumContrast(
            backbone=nn.Sequential(nn.Conv2d(3, DIM, 3), nn.Flatten()), feature_dim=DIM, plan=methods.find("moco").PLAN,
            momentum=0.9, temperature=0.1, queue_size=None, siblings="none", negatives="batch", key_groups="kind",
            group_size=2, freeze_norm=True,
        )  # fmt: skip


def test_groups_are_shuffled_anew_each_step_and_features_come_back_in_order():
    net, views = make("moco", group_size=2).train(), make_views("moco")
    a, b = (net.key_features(views, seed=0, step=s)["k0"] for s in (0, 1))
    assert (a - b).abs().max() > 1e-6
    net.eval()
    expected = net.key["backbone"](views["k0"])
    assert (net.key_features(views, seed=0, step=3)["k0"] - expected).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("size", "pushes"), [(7, [3, 3, 3, 3]), (4, [4, 4]), (5, [12, 2]), (3, [1] * 8), (8, [5, 8, 9])]
)
def test_queue_holds_the_newest_keys_whatever_size_and_batch(size, pushes):
    queue = KeyQueue(size, 2)
    everything = [queue.keys.clone()]
    counter = 0
    for num in pushes:
        batch = torch.arange(counter, counter + num, dtype=torch.float32)[:, None].repeat(1, 2) + 100
        counter += num
        queue.push(batch)
        everything.append(batch)
    expected = torch.cat(everything)[-size:]
    assert sorted(queue.keys[:, 0].tolist()) == sorted(expected[:, 0].tolist())
    assert int(queue.position) == counter % size


def test_queue_overwrites_the_oldest_first():
    queue = KeyQueue(4, 1)
    queue.push(torch.tensor([[0.0], [1.0], [2.0]]))
    queue.push(torch.tensor([[3.0], [4.0], [5.0]]))
    assert queue.keys[:, 0].tolist() == [4.0, 5.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("wrong", "said"), [({"momentum": 1.0}, "momentum 1.0"), ({"group_size": 1}, "group of 1")]
)
def test_settings_out_of_range_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        make("seco", **wrong)


def test_a_batch_of_one_is_refused():
    views = {k: v[:1] for k, v in make_views("seco").items()}
    with pytest.raises(ConfigError, match="batch of 1"):
        make("seco").train()(views, seed=0, step=0)
