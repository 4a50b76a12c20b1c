"""A dataset that is collected in pieces, by processes that are killed, is the dataset that was not."""

import dataclasses
import errno
import importlib.util
import json
import multiprocessing
import random
import signal
import sys
from pathlib import Path

import pytest

from seco.data import layout as layouts
from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.data.ledger import LEDGER_FOLDER, LedgerWriter, forget
from seco.errors import DatasetError

NUM = 24


def _load(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(Path(__file__).parent))
child = _load("ledger_child")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(layouts, "SHARD_BYTES", layouts.SHARD_BYTES)
    monkeypatch.setattr(layouts, "INDEX_BATCH", layouts.INDEX_BATCH)
    child.small_files()


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, bytes]:
    kept = layouts.SHARD_BYTES, layouts.INDEX_BATCH
    out = tmp_path_factory.mktemp("plain") / "d.seco"
    child.collect_plainly(out, num=NUM)
    layouts.SHARD_BYTES, layouts.INDEX_BATCH = kept
    return contents(out)


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seco.data.ledger", "ledger_child"])
    return context


def run(processes, target, *args) -> int:
    process = processes.Process(target=target, args=args)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "the child hangs"
    return process.exitcode


def test_equals_the_plain_writer_byte_for_byte(tmp_path, plain):
    child.collect(tmp_path / "d.seco", num=NUM)
    assert contents(tmp_path / "d.seco") == plain
    assert not (tmp_path / "d.seco.partial").exists()
    assert check(open_dataset(tmp_path / "d.seco")) == []


def test_killed_at_every_step_between_files(tmp_path, plain, processes):
    """Kill at the n-th rename, removal or fsync, for every ninth n, then go on: the same dataset each time."""
    num_killed = 0
    for steps in range(1, 400, 9):
        out = tmp_path / f"{steps}.seco"
        code = run(processes, child.collect_and_die, str(out), NUM, steps)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        num_killed += 1
        if (out / "dataset.json").exists():
            forget(out)
        else:
            child.collect(out, num=NUM)
        assert contents(out) == plain, f"killed at step {steps}"
    assert code == 0, "there are more steps than were tried"
    assert num_killed > 8


def test_killed_over_and_over_at_random_moments(tmp_path, plain, processes):
    """Every run is killed soon after it began, by steps or by the clock, until one comes to the end."""
    rng = random.Random(5)
    out = tmp_path / "d.seco"
    num_killed = 0
    while not out.exists():
        # The first three by steps, few enough that none ends: the clock may come too late on a quick machine.
        if num_killed < 3 or rng.random() < 0.5:
            steps = rng.randrange(4, 12 if num_killed < 3 else 40)
            code = run(processes, child.collect_and_die, str(out), NUM, steps)
        else:
            process = processes.Process(target=child.collect_slowly, args=(str(out), NUM))
            process.start()
            process.join(0.3 + rng.random() * 0.7)
            process.kill()
            process.join()
            code = process.exitcode
        num_killed += code != 0
        assert num_killed < 60, "no progress"
    forget(out)
    assert num_killed >= 3
    assert contents(out) == plain


def test_an_error_keeps_what_is_whole(tmp_path, plain):
    out = tmp_path / "d.seco"
    writer = LedgerWriter(out, **_kinds())

    def collect_some() -> None:
        with writer:
            for place in range(10):
                writer.add(child.patches_of(place), position=place + 1, state={})
            raise RuntimeError("the network is gone")

    with pytest.raises(RuntimeError):
        collect_some()
    committed = writer.mark
    assert 0 < committed.position < 10
    with LedgerWriter(out, **_kinds()) as writer:
        assert writer.mark == committed
        assert writer.num_patches == committed.num_patches


def _kinds(**changed):
    return {
        "bands": child.BANDS, "patch_px": child.PATCH_PX, "licence": child.LICENCE, "settings": child.SETTINGS, **changed
    }  # fmt: skip


def test_commit_keeps_a_shard_that_is_not_full(tmp_path):
    with LedgerWriter(tmp_path / "d.seco", **_kinds()) as writer:
        writer.add(child.patches_of(0), position=1, state={"n": 1})
        assert writer.mark.position == 0
        writer.commit()
    with LedgerWriter(tmp_path / "d.seco", **_kinds()) as writer:
        assert (writer.mark.position, writer.mark.state, writer.num_places) == (1, {"n": 1}, 1)


def test_what_comes_out_differently_leaves_nothing_of_the_first_try(tmp_path, plain, processes):
    """Killed with shards that are not committed; then fewer patches come, and no shard of the first try is left."""
    out = tmp_path / "d.seco"
    with LedgerWriter(out, **_kinds()) as writer:
        for place in range(12):
            writer.add(child.patches_of(place), position=place + 1, state={})
        writer.commit()
    ledger = json.loads((tmp_path / "d.seco.partial" / LEDGER_FOLDER / "ledger.json").read_text())
    early = ledger["mark"] | {"position": 2, "num_places": 2, "num_patches": 7, "missed_bytes": 0}
    (tmp_path / "d.seco.partial" / LEDGER_FOLDER / "ledger.json").write_text(
        json.dumps(ledger | {"mark": early})
    )
    with LedgerWriter(out, **_kinds()) as writer:
        writer.finish({})
    found = open_dataset(out)
    assert len(found) == 7
    assert check(found) == []
    assert [p for p in contents(out) if "/c/" in p] == ["archive/g0/c/0/0/0/0", "archive/g1/c/0/0/0/0"]


def test_other_settings_are_refused(tmp_path):
    with LedgerWriter(tmp_path / "d.seco", **_kinds()) as writer:
        writer.add(child.patches_of(0), position=1, state={})
        writer.commit()
    with (
        pytest.raises(DatasetError, match=r"other settings \(seed; seed was 0, is 1\)"),
        LedgerWriter(tmp_path / "d.seco", **_kinds(settings=child.SETTINGS | {"seed": 1})),
    ):
        pass


def test_settings_may_change_as_long_as_nothing_was_done(tmp_path):
    out, changed = tmp_path / "d.seco", child.SETTINGS | {"seed": 1}
    with LedgerWriter(out, **_kinds()):
        pass
    with LedgerWriter(out, **_kinds(settings=changed)) as writer:
        writer.add((), position=1, state={}, missed={"place": "a"})
        writer.commit()
    with (
        pytest.raises(DatasetError, match=r"other settings \(seed; seed was 1, is 0\)"),
        LedgerWriter(out, **_kinds()),
    ):
        pass


def test_of_a_first_try_without_a_whole_place_no_shard_and_no_layout_stays(tmp_path):
    """A place of more patches than a shard holds: its shard is written, and it is killed; then fewer bands are asked for."""
    out = tmp_path / "d.seco"
    with LedgerWriter(out, **_kinds()) as writer:
        writer.add(child.patches_of(5), position=1, state={})
    kept = json.loads((tmp_path / "d.seco.partial" / LEDGER_FOLDER / "ledger.json").read_text())
    assert (kept["mark"]["position"], len(kept["groups"])) == (0, 2)
    fewer = {
        "bands": child.BANDS[2:],
        "patch_px": child.PATCH_PX // 2,
        "settings": child.SETTINGS | {"bands": ["B11"]},
    }
    with LedgerWriter(out, **_kinds(**fewer)) as writer:
        assert writer.layout is None
        assert not [p for p in contents(tmp_path / "d.seco.partial") if p.startswith("archive")]
        patches = [dataclasses.replace(p, pixels={"B11": p.pixels["B11"]}) for p in child.patches_of(0)]
        writer.add(patches, position=1, state={})
        writer.finish({})
    found = open_dataset(out)
    assert [b.name for b in found.meta.bands] == ["B11"]
    assert len(found) == len(patches)
    assert check(found) == []


def test_two_writers_at_once_are_refused(tmp_path):
    with (
        LedgerWriter(tmp_path / "d.seco", **_kinds()),
        pytest.raises(DatasetError, match="another process"),
        LedgerWriter(tmp_path / "d.seco", **_kinds()),
    ):
        pass


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"version": 1}', '{"version": 99}', "nul\0"])
def test_a_damaged_ledger_is_one_clear_error(tmp_path, damage):
    with LedgerWriter(tmp_path / "d.seco", **_kinds()) as writer:
        writer.add(child.patches_of(0), position=1, state={})
    (tmp_path / "d.seco.partial" / LEDGER_FOLDER / "ledger.json").write_text(damage)
    with pytest.raises(DatasetError, match="remove"), LedgerWriter(tmp_path / "d.seco", **_kinds()):
        pass


def test_a_damaged_shard_is_found_when_going_on(tmp_path):
    with LedgerWriter(tmp_path / "d.seco", **_kinds()) as writer:
        writer.add(child.patches_of(1), position=1, state={})
        writer.commit()
    shard = tmp_path / "d.seco.partial/archive/g0/c/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 255
    shard.write_bytes(data)
    with (
        pytest.raises(DatasetError, match=r"damaged|checksum"),
        LedgerWriter(tmp_path / "d.seco", **_kinds()),
    ):
        pass


def test_a_full_disk_loses_nothing(tmp_path, plain, monkeypatch):
    """Every third write fails once; the same call goes on, and the dataset is the same."""
    out = tmp_path / "d.seco"
    real, calls = child.LedgerWriter._write, [0]

    def full(self, *args):
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *args)

    monkeypatch.setattr(LedgerWriter, "_write", full)
    failed = 0
    while not out.exists():
        try:
            child.collect(out, num=NUM)
        except DatasetError as err:
            failed += "free disk space" in str(err)
    assert failed >= 2
    assert contents(out) == plain


def test_nothing_to_write_is_one_clear_error(tmp_path):
    with LedgerWriter(tmp_path / "d.seco", **_kinds()) as writer:
        writer.add([], position=1, state={}, missed={"place": 0})
        with pytest.raises(DatasetError, match="no place gave a patch"):
            writer.finish({})


def test_patches_of_two_places_at_once_are_refused(tmp_path):
    with LedgerWriter(tmp_path / "d.seco", **_kinds()) as writer:
        with pytest.raises(DatasetError, match="several places"):
            writer.add([*child.patches_of(0), *child.patches_of(1)], position=1, state={})
        assert writer.num_patches == 0
