"""Two and four processes come to what one comes to with the same global batch: losses, gradients, queues, in fp64."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import seco
from seco.errors import ConfigError
from seco.methods._engine import Options, derive

CHILD = Path(__file__).with_name("many_child.py")
CASES = {
    # The query's batch norm spans the processes; heads with siblings, keys of the batch and of the queue.
    "shared": {"method": "seco", "options": {"negatives": "both", "queue_size": 20, "group_size": 4}, "sizes": [1, 2, 4]},
    # Two groups: one a process with two of them, one a pair with four.
    "groups": {"method": "seco", "options": {"query_groups": 2, "group_size": 4}, "sizes": [1, 2, 4]},
    # Groups of keys of all kinds, as many as do not go evenly into two processes.
    "mixed": {
        "method": "seco", "sizes": [1, 2],
        "options": {"key_groups": "mixed", "group_size": 7, "siblings": "own", "queue_size": 20},
    },
    "moco": {"method": "moco", "options": {"query_groups": 4, "group_size": 3}, "sizes": [1, 2]},
    # Keys of no group, normalised by running statistics that the processes have in common.
    "ema": {"method": "seco", "options": {"key_norm": "ema"}, "sizes": [1, 2]},
    # Neither keys nor queries have groups.
    "frozen": {"method": "seco", "options": {"freeze_norm": True}, "sizes": [1, 2, 4]},
    # Passes one after the other: negatives are the whole batch's all the same, and only batch norm sees the parts.
    "passes": {
        "method": "seco", "sizes": [1, 2],
        "options": {"accumulate": 2, "negatives": "both", "queue_size": 20, "group_size": 4},
    },
    "passes-of-groups": {
        "method": "seco", "options": {"accumulate": 2, "query_groups": 4, "group_size": 4}, "sizes": [1, 2]
    },
    "groups-as-passes": {
        "method": "seco", "sizes": [1],
        "options": {"query_groups": 2, "negatives": "both", "queue_size": 20, "group_size": 4},
    },
    "four-groups": {"method": "seco", "options": {"query_groups": 4, "group_size": 4}, "sizes": [1]},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Everything that all numbers of processes came to: (case, size) -> state and log."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "cases.json").write_text(json.dumps(CASES))
    env = {**os.environ, "PYTHONPATH": str(Path(seco.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    for size in (1, 2, 4):
        children = [
            subprocess.Popen(
                [sys.executable, str(CHILD), str(folder), str(rank), str(size)], env=env, stderr=subprocess.PIPE, text=True
            )
            for rank in range(size)
        ]  # fmt: skip
        errors = [c.communicate(timeout=300)[1] for c in children]
        assert [c.returncode for c in children] == [0] * size, errors
    pairs = [(name, size) for name, case in CASES.items() for size in case["sizes"]]
    files = {(n, s): (folder / f"{n}-{s}.safetensors", folder / f"{n}-{s}.json") for n, s in pairs}
    return {pair: (load_file(state), json.loads(log.read_text())) for pair, (state, log) in files.items()}


def assert_equal(a, b, *, but=()):
    """Weights, queues and numbers agree to rounding in fp64."""
    for one, two in zip(a[1], b[1], strict=True):
        assert one == pytest.approx(two, abs=1e-9)
    assert set(a[0]) == set(b[0])
    for name, tensor in a[0].items():
        if not any(word in name for word in but):
            assert (tensor - b[0][name]).abs().max() < 1e-9, name


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize(("case", "size"), [(n, s) for n, c in CASES.items() for s in c["sizes"] if s > 1])
def test_many_processes_come_to_what_one_comes_to(trained, case, size):
    one, many = trained[case, 1], trained[case, size]
    statistics = [n for n in one[0] if is_statistic(n)]
    spans = "query_groups" not in CASES[case]["options"] and "accumulate" not in CASES[case]["options"]
    # Where one group spans all processes its running statistics are one process's too; of several each process sees its own.
    assert_equal(
        one, many, but=[n for n in statistics if not spans or (n.startswith("net.key") and case != "ema")]
    )


def test_the_running_statistics_of_separate_groups_are_averaged(trained):
    one, two = trained["groups", 1][0], trained["groups", 2][0]
    means = [n for n in one if n.startswith("net.query") and n.endswith("running_mean")]
    # Two groups one after the other weigh 0.1 and 0.09, two side by side 0.05 each: alike, not equal.
    apart = torch.cat([(one[n] / 1.71 - two[n]).abs() for n in means]).mean()
    assert 0 < apart < 0.5 * torch.cat([two[n].abs() for n in means]).mean()


@pytest.mark.parametrize(
    ("passes", "groups"), [("passes", "groups-as-passes"), ("passes-of-groups", "four-groups")]
)
def test_passes_equal_as_many_batch_norm_groups_in_one_pass(trained, passes, groups):
    assert_equal(trained[passes, 1], trained[groups, 1])


def test_groups_of_the_query_matter(trained):
    a, b = (trained[n, 1][1][0]["loss"] for n in ("groups", "four-groups"))
    assert abs(a - b) > 1e-4


@pytest.mark.parametrize(
    ("options", "batch", "processes", "said"),
    [
        ({}, 10, 4, "batch size 10 cannot be shared evenly by 4 processes in 1 pass; make --batch-size a multiple of 4"),
        ({"accumulate": 3}, 8, 1, "batch size 8 cannot be shared evenly by 1 process in 3 passes; .*multiple of 3"),
        ({"group_size": 8}, 16, 4, "16 on 4 processes is 4 places each, fewer than a batch-norm group of 8 keys.*at most 2"),
        ({"query_groups": 8}, 8, 1, "8 query groups of a batch of 8; each must hold equally many places, at least 2"),
        ({"query_groups": 3}, 12, 2, "3 query groups a pass on 2 processes: neither divides the other"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_shared_are_refused(options, batch, processes, said):
    with pytest.raises(ConfigError, match=said):
        derive(Options(**options), num_places=100, num_steps=5, batch_size=batch, num_processes=processes)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"accumulate": 0}, "accumulate 0; at least 1"), ({"accumulate": 2, "query_groups": 3}, "3 query groups in 2 passes")],
)  # fmt: skip
def test_passes_out_of_range_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Options(**options)
