"""Compiling pays or is dropped, and never ends a run."""

import shutil

import pytest
import torch
from torch import nn

from seco.nets import compiled
from seco.nets.compiled import TRIALS, Compiled
from seco.nets.grouped import GroupedNorms


def make(monkeypatch, fast, seconds=()):
    """A network that doubles, what stands for its compiled form, and a clock that shows these durations in turn."""
    monkeypatch.setattr(torch, "compile", lambda net, **k: fast)
    ticks = iter([t for s in seconds for t in (0.0, s)])
    if seconds:
        monkeypatch.setattr(compiled, "_now", lambda x: next(ticks))
    said = []
    return Compiled(Double(), what="key pass", say=said.append), said


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize(
    ("faster", "line"),
    [(True, "key pass compiled in 9 s, then 2.00 x as fast: kept"),
     (False, "key pass compiled in 9 s, then 0.50 x as fast: dropped, it does not pay here")],
)  # fmt: skip
def test_it_is_kept_only_where_it_proves_faster(monkeypatch, faster, line):
    calls = []

    def fast(x):
        calls.append(torch.compiler.is_compiling())
        return 2 * x

    plain, quick = (2.0, 1.0) if faster else (1.0, 2.0)
    net, said = make(monkeypatch, fast, [9.0, *([plain, quick] * TRIALS)])
    x = torch.ones(3)
    for _ in range(1 + 2 * TRIALS):
        assert net(x).tolist() == [2, 2, 2]
    assert said == [line]
    assert len(calls) == 1 + TRIALS
    net(x)
    assert len(calls) == 1 + TRIALS + faster
    assert len(said) == 1


def test_a_compiler_that_fails_is_told_of_in_one_line_and_done_without(monkeypatch):
    def fail(x):
        calls.append(x)
        raise RuntimeError("InductorError: \nno C++ compiler found\n")

    calls = []
    net, said = make(monkeypatch, fail)
    for _ in range(5):
        assert net(torch.ones(1)).tolist() == [2]
    assert len(calls) == 1
    assert said == ["key pass not compiled, training goes on without: RuntimeError: no C++ compiler found"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_groups_have_their_own_statistics_and_other_shapes_compile_nothing():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    norms = GroupedNorms(net)
    said = []
    fast = Compiled(net, what="key pass", say=said.append)
    norms.sizes = [2, 4]
    x = torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        answers = [fast(x) for _ in range(2 * TRIALS + 1)]
        assert said[0].startswith("key pass compiled in")
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        norms.sizes = None
        other = fast(torch.randn(5, 3, 8, 8))
        norms.sizes = [3, 3]
        fast(x)
    assert other.shape == (5, 4, 6, 6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before > 0
    plain = nn.functional.relu(
        torch.cat([nn.functional.batch_norm(y, None, None, training=True) for y in net[0](x).split([2, 4])])
    )
    for answer in answers:
        assert torch.allclose(answer, plain, atol=1e-5)
