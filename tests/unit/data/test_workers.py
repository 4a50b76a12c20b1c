"""Work on several processes."""

import multiprocessing
import os
import select
import subprocess
import sys

import pytest

from seco.data import workers
from seco.data.workers import in_order, num_cores
from seco.errors import DatasetError

pytestmark = pytest.mark.filterwarnings("ignore:A worker stopped")


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs):
    assert list(in_order(abs, range(-20, 0), jobs=jobs, what="counts")) == list(range(20, 0, -1))


def test_tasks_are_taken_as_they_are_needed():
    taken = []

    def tasks():
        for i in range(100):
            taken.append(i)
            yield i

    results = in_order(abs, tasks(), jobs=2, what="counts")
    for done in range(20):
        assert next(results) == done
        assert len(taken) <= done + 6
    results.close()


def test_no_more_processes_than_tasks(monkeypatch):
    """Loky starts all it may have at once."""
    started = []
    pool = workers.ProcessPoolExecutor
    monkeypatch.setattr(
        workers, "ProcessPoolExecutor", lambda n, **more: started.append(n) or pool(n, **more)
    )
    assert list(in_order(abs, [-1, -2], jobs=500, what="counts")) == [1, 2]
    assert list(in_order(abs, [], jobs=500, what="counts")) == []
    assert started == [2, 1]


def test_an_error_of_a_task_is_raised_here():
    with pytest.raises(TypeError, match="abs"):
        list(in_order(abs, [1, "a"], jobs=2, what="counts"))


def test_a_process_that_is_ended_is_one_error():
    with pytest.raises(DatasetError, match=r"a process that counts was ended from outside .*--jobs"):
        list(in_order(os._exit, [3], jobs=2, what="counts"))


def test_processes_compute_with_one_thread_each():
    assert list(in_order(os.getenv, ["OMP_NUM_THREADS"] * 3, jobs=2, what="looks")) == ["1"] * 3


def test_processes_that_keep_much_in_memory_stay():
    """Loky would take it for a leak, start them anew and warn."""
    limit = in_order(os.getenv, ["LOKY_MAX_MEMORY_LEAK_SIZE"] * 3, jobs=2, what="looks")
    assert min(float(size) for size in limit) > 2**50


def test_a_daemon_works_by_itself(monkeypatch):
    """It may have no children."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert list(in_order(lambda _: os.getpid(), [1, 2], jobs=2, what="looks")) == [os.getpid()] * 2


def test_a_script_is_not_run_once_more_by_its_processes(tmp_path):
    """A user's script needs no `if __name__ == "__main__"`."""
    script = tmp_path / "script.py"
    script.write_text(
        "from seco.data.workers import in_order\n"
        "print('begins')\n"
        "print(list(in_order(abs, [-1, -2], jobs=2, what='counts')))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "begins\n[1, 2]\n"), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a process knows that its parent has gone by its new one")
def test_processes_end_when_this_one_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from seco.data.workers import in_order\n"
        "work = in_order(os.urandom, [2**22] * 50, jobs=2, what='draws')\n"
        "next(work)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline() == "ready\n"
        killed.kill()
        # The end of the pipe comes when the last process that inherited it is gone.
        assert select.select([killed.stdout], [], [], 30)[0]
        assert killed.stdout.read() == ""


def test_cores():
    assert 1 <= num_cores() <= os.cpu_count()
