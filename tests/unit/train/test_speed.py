"""Speed must not change what is learned: a run against the plain path, everything done in the slow and obvious way."""

import numpy as np
import pytest
import torch

from seco.nets import small_maps
from seco.nets.contrast import MomentumContrast
from seco.runs import read_metrics
from seco.train.loop import pretrain
from seco.views import augment
from seco.views.draws import GROUPS, uniforms


def plain_keys(self, views, *, seed, step):
    """A pass a batch-norm group, kind after kind."""
    out = {}
    for number, name in enumerate(v.name for v in self.plan.keys):
        x = views[name]
        drawn = uniforms(seed=seed, epoch=step, samples=np.arange(len(x)), view=GROUPS + number, num=1)[:, 0]
        order = torch.from_numpy(np.argsort(drawn, kind="stable"))
        self.key_norms.sizes = None
        out[name] = torch.cat(
            [self.key["backbone"](x[part]) for part in torch.tensor_split(order, len(x) // self.group_size)]
        )[order.argsort()]
    return out


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_the_loss_curve_is_that_of_the_plain_path(optimiser, tools, make_dataset, tmp_path, monkeypatch):
    """Dense matrices for views, a pass a key group, an optimiser that goes over its parameters one by one."""
    path = make_dataset(px=32)
    config = tools.make(
        path,
        steps=30,
        log_every=1,
        probe_every=0,
        batch_size=8,
        method_options={"optimiser": optimiser, "group_size": 4},
    )
    pretrain(config, tmp_path / "fast", say=tools.quiet)
    monkeypatch.setattr(augment, "_in_cache", lambda device: False)
    monkeypatch.setattr(MomentumContrast, "key_features", torch.no_grad()(plain_keys))
    made = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimiser]
    plain = type(
        "Plain", (made,), {"__init__": lambda self, p, fused, **k: made.__init__(self, p, foreach=False, **k)}
    )
    monkeypatch.setattr(torch.optim, made.__name__, plain)
    pretrain(config, tmp_path / "plain", say=tools.quiet)
    fast, slow = (
        [r["loss"] for r in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("fast", "plain")
    )
    assert len(fast) == 30
    assert fast[:3] == pytest.approx(slow[:3], rel=1e-5)
    # Rounding grows with the steps; what the steps themselves change is a hundred times more.
    assert fast == pytest.approx(slow, rel=5e-3)
    assert max(fast) / min(fast) > 1.1


def test_products_for_small_maps_change_rounding_only(tools, make_dataset, tmp_path, monkeypatch):
    path = make_dataset(px=32)
    config = tools.make(path, steps=8, log_every=1, probe_every=0, batch_size=8, precision="fp32")
    calls = []
    product = small_maps.product
    monkeypatch.setattr(small_maps, "product", lambda conv, x: (calls.append(1), product(conv, x))[1])
    monkeypatch.setattr(small_maps, "MIN_CHANNELS", 0)
    pretrain(config, tmp_path / "products", say=tools.quiet)
    assert len(calls) > 8
    calls.clear()
    monkeypatch.setattr(small_maps, "MAX_PIXELS", {})
    pretrain(config, tmp_path / "convolutions", say=tools.quiet)
    assert not calls
    ours, theirs = (
        [r["loss"] for r in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("products", "convolutions")
    )
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("compiler", ["fails", "does nothing"])
def test_a_run_goes_on_whatever_becomes_of_compiling(
    compiler, tools, straight, small_dataset, tmp_path, monkeypatch
):
    def fails(x):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda net, **k: fails if compiler == "fails" else net)
    said = []
    config = tools.make(small_dataset, method_options={"compile": "keys"})
    pretrain(config, tmp_path / "run", say=said.append)
    (line,) = [s for s in said if s.startswith("key pass")]
    if compiler == "fails":
        assert line == "key pass not compiled, training goes on without: RuntimeError: no C++ compiler found"
    else:
        assert line.startswith("key pass compiled in 0 s, then ")
    assert tools.logged(tmp_path / "run") == tools.logged(straight.run)
