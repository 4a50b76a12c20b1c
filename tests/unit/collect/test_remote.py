"""The same collection on a cluster: two workers, one, one that is killed; always the same dataset."""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import pytest

from seco.collect import remote
from seco.collect.catalogs import catalog_of
from seco.collect.collecting import collect
from seco.errors import ConfigError, FetchError

sys.path.insert(0, str(Path(__file__).parent))
import collect_child as child
from collect_child import contents, take

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `dask`)")

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture(scope="module")
def workers():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        yield cluster


def test_two_workers_make_the_same_dataset(planet, served, tmp_path, clean, workers):
    catalog, _ = served("500@0.1; reset@0.05")
    done = take(planet, catalog, tmp_path / "d.seco", scheduler=workers.scheduler_address)
    assert contents(tmp_path / "d.seco") == contents(clean[0])
    assert done.tally == clean[1].tally
    assert done.counts.requests > 0
    assert done.counts.retries > 0, "what the workers counted comes back"


def test_a_worker_that_is_killed_costs_nothing_but_time(planet, served, tmp_path, clean, workers):
    catalog, _ = served("delay=0.1")
    killed = []

    def show(view):
        if view.standing.num_places >= 2 and not killed:
            killed.append(next(iter(workers.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    settings = child.settings(
        planet / "places.csv", catalog, scheduler=workers.scheduler_address, concurrency=4
    )
    collect(settings, tmp_path / "d.seco", patience=child.PATIENT, show=show)
    assert killed
    assert contents(tmp_path / "d.seco") == contents(clean[0])


def test_what_was_begun_alone_goes_on_with_workers(planet, served, tmp_path, clean, workers):
    catalog, _ = served("delay=0.02")
    stop = child.signal_once(signal.SIGINT, num_places=2)
    settings = child.settings(planet / "places.csv", catalog, concurrency=4)
    with pytest.raises(Exception, match="same command"):
        collect(settings, tmp_path / "d.seco", patience=child.PATIENT, show=stop)
    with_workers = dataclasses.replace(settings, scheduler=workers.scheduler_address)
    collect(with_workers, tmp_path / "d.seco", patience=child.PATIENT)
    assert contents(tmp_path / "d.seco") == contents(clean[0])


def test_an_outage_that_workers_meet_ends_the_run(planet, served, tmp_path, workers):
    catalog, server = served()
    server.stop()
    with pytest.raises(FetchError, match="run the same command again"):
        take(planet, catalog, tmp_path / "d.seco", scheduler=workers.scheduler_address)


def test_no_cluster_is_one_clear_error(planet, served, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "WAIT_S", 0.3)
    catalog, _ = served()
    with pytest.raises(FetchError, match="dask scheduler"):
        take(planet, catalog, tmp_path / "d.seco", scheduler="tcp://127.0.0.1:9")
    with (
        distributed.LocalCluster(
            n_workers=0, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as empty,
        pytest.raises(FetchError, match="no workers"),
    ):
        take(planet, catalog, tmp_path / "d.seco", scheduler=empty.scheduler_address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match="pip install"):
        take(planet, catalog, tmp_path / "d.seco", scheduler="tcp://127.0.0.1:9")


def test_workers_of_another_version_are_refused(planet):
    settings = child.settings(planet / "places.csv", planet / "planet" / "items.parquet")
    job = remote.Job(
        settings=settings,
        catalog=catalog_of(settings.catalog),
        bands=("B04",),
        patience=child.PATIENT,
        version="0.0.0",
    )
    with pytest.raises(ConfigError, match="install the same everywhere"):
        remote.fetch_on_worker(job, [])
