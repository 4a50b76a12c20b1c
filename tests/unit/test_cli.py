"""The command line: light to start, one line an error, help with an example everywhere, tables as JSON."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import seco
from seco import cli
from seco.cli import COMMANDS, main
from seco.data import importing
from seco.errors import SecoError
from seco.methods import _contract as methods
from seco.probes import evaluation

ENV = {**os.environ, "PYTHONPATH": str(Path(seco.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
ENV.pop("PYTHONUNBUFFERED", None)
HEAVY = {
    "torch",
    "numpy",
    "timm",
    "zarr",
    "pyarrow",
    "rasterio",
    "matplotlib",
    "rich",
    "yaml",
    "PIL",
    "shapely",
}


def start(*argv, code="import sys; from seco.cli import main; sys.exit(main())"):
    return subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False, env=ENV, timeout=120
    )


def output(capsys, *argv):
    """Run a command that ends well; return what it printed."""
    assert main([str(a) for a in argv]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def help_of(capsys, *argv):
    try:
        code = main([*argv, "--help"])
    except SystemExit as ended:
        code = ended.code
    assert code == 0
    return capsys.readouterr().out


def failure(capsys, *argv):
    """Run a command that fails; return its one line."""
    try:
        code = main([str(a) for a in argv])
    except SystemExit as ended:
        code = ended.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith("seco: error: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    return err


# --- starting -----------------------------------------------------------------------------------------------------------


def test_help_takes_under_0_3_seconds_and_imports_nothing_heavy():
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert start("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: what a person waits for on a machine that is not busy with other tests.
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.3
    code = "import sys; from seco.cli import main; main(['--help']); print('MODULES', *sys.modules)"
    modules = set(start(code=code).stdout.split("MODULES")[1].split())
    assert "seco.cli" in modules
    assert not modules & HEAVY


def test_importing_seco_imports_nothing_heavy_and_its_api_is_found_on_first_use():
    done = start(code="import seco, sys; print(*sys.modules); seco.nothing")
    assert not set(done.stdout.split()) & HEAVY
    assert "module 'seco' has no attribute 'nothing'" in done.stderr
    assert callable(seco.load_encoder)
    assert callable(seco.open_dataset)


def test_the_overview_names_every_command_and_the_way_from_imagery_to_an_encoder(capsys):
    for argv in ([], ["--help"], ["-h"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        for command in COMMANDS:
            assert f"  seco {' '.join(command.words)} " in out
        assert (
            out.index("seco dataset import geotiff")
            < out.index("seco pretrain --data")
            < out.index("seco evaluate run")
        )


def test_the_version(capsys):
    assert output(capsys, "--version") == f"seco {seco.__version__}\n"


def test_a_group_of_commands_has_an_overview_of_its_own(capsys):
    for argv in (["dataset"], ["dataset", "--help"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert "seco dataset check" in out
        assert "seco pretrain  " not in out.split("`seco COMMAND")[0]


# --- help ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c.words))
def test_every_command_has_help_with_an_example_that_is_its_own(command, capsys):
    out = help_of(capsys, *command.words)
    assert f"example: seco {' '.join(command.words)}" in out
    assert "usage: seco " + " ".join(command.words) in out


@pytest.mark.parametrize("name", importing.names())
def test_every_importer_has_help_with_an_example(name, capsys):
    out = help_of(capsys, "dataset", "import", name)
    assert f"example: seco dataset import {name} " in out
    assert name in help_of(capsys, "dataset", "import")


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("command", ["pretrain", "views"])
def test_every_method_lists_its_settings(name, command, capsys):
    out = help_of(capsys, command, "--method", name)
    assert f"settings of {name} " in out
    for flag in ("--queue-size", "--temperature", "--batch-size", "--crop-scale"):
        assert f"{flag} " in out


@pytest.mark.parametrize("name", evaluation.names())
def test_every_task_lists_its_settings_and_has_an_example(name, capsys):
    out = help_of(capsys, "evaluate", "--task", name)
    assert "example: seco evaluate " in out
    assert f"--task {name}" in out.split("example:")[1]
    assert f"settings of {name}: " in out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c.words))
def test_the_words_of_an_example_are_flags_that_exist(command, capsys):
    words = command.example.split()
    extra = [words[3]] if command.words == ("dataset", "import") else []
    extra += ["--task", words[words.index("--task") + 1]] if "--task" in words else []
    out = help_of(capsys, *command.words, *extra)
    for flag in (w for w in words if w.startswith("--")):
        assert f"{flag} " in out or f"{flag}," in out, flag


# --- errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nothing"], "no command 'nothing'; known: bench, collect, collect plan, compare, convert"),
        (["--nothing"], "no command '--nothing'"),
        (["dataset", "nothing"], "no command 'dataset nothing'; known: dataset check"),
        (["dataset", "import", "nothing"], "no importer 'nothing'; known: bigearthnet, bluemarble"),
        (["dataset", "import", "bluemarble"], "required: source, out"),
        (["dataset", "import", "bluemarble", "a", "b", "--places", "many"], "num_places (--places): 'many'"),
        (["dataset", "import", "bluemarble", "a", "b", "--sampler", "x"], "--sampler"),
        (["dataset", "info"], "required: dataset"),
        (["dataset", "info", "a", "--nothing"], "unrecognized arguments: --nothing; see `seco dataset info --help`"),
        (["dataset", "info", "/nowhere"], "not a dataset"),
        (["dataset", "split", "/nowhere", "--seed", "x"], "invalid int value: 'x'"),
        (["views", "/nowhere"], "not a dataset"),
        (["views", "/nowhere", "--method", "nothing"], "no method 'nothing'; known: moco"),
        (["pretrain"], "required: --out"),
        (["pretrain", "--out", "r", "--method", "nothing"], "no method 'nothing'"),
        (["pretrain", "--out", "r", "--stepz", "3"], "--stepz"),
        (["pretrain", "--out", "r", "--step", "3"], "--step"),  # no abbreviations
        (["pretrain", "--out", "r", "--steps", "3", "--epochs", "2"], "both steps 3 and epochs 2.0"),
        (["pretrain", "--out", "r", "--config", "/nowhere.yaml"], "cannot read config /nowhere.yaml"),
        (["pretrain", "--out", "r", "--lr", "-1"], "learning rate -1.0"),
        (["pretrain", "--out", "/nowhere/r", "--data", "/nowhere"], "not a dataset"),
        (["evaluate", "colour", "--task", "nothing", "--data", "d"], "nothing"),
        (["evaluate", "colour", "--data", "d"], "required: --task"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_one_line_and_exit_2(argv, said, capsys):
    assert said in failure(capsys, *argv)


def test_from_a_shell_too():
    done = start("pretrain", "--nothing")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_debug_shows_the_trace_wherever_it_stands(capsys):
    for argv in (["--debug", "dataset", "info", "/nowhere"], ["dataset", "info", "/nowhere", "--debug"]):
        with pytest.raises(SecoError, match="not a dataset"):
            main(argv)
    done = start("dataset", "nothing", "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SecoError("two\nlines   of  text"), 2, "seco: error: two lines of text\n"),
        (
            OSError(28, "No space left on device", "/x"),
            2,
            "seco: error: [Errno 28] No space left on device: '/x'; free disk space",
        ),
        (KeyboardInterrupt(), 130, "seco: stopped; nothing half-written"),
    ],
)
def test_what_can_happen_to_any_command(error, code, said, capsys, monkeypatch):
    def fail(args):
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["dataset", "info", "x"]) == code
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize("started", [True, False])
def test_a_run_broken_off_says_how_to_go_on_where_there_is_one(started, tmp_path, capsys, monkeypatch):
    def broken_off(config, run, **rest):
        if started:
            run.mkdir()
            (run / "config.yaml").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr("seco.train.loop.pretrain", broken_off)
    assert main(["pretrain", "--out", str(tmp_path / "run")]) == 130
    err = capsys.readouterr().err
    assert (f"--resume --out {tmp_path / 'run'}" in err) == started
    assert ("run the same command again" in err) != started


def _nothing_left(_args):
    raise MemoryError("Unable to allocate 9 TiB")


def _nothing_left_on_the_cpu(_args):
    import torch

    torch.empty(1 << 60, dtype=torch.uint8)


def _nothing_left_on_the_device(_args):
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20.00 GiB." + " More words." * 99)


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (_nothing_left, "Unable to allocate 9 TiB"),
        (_nothing_left_on_the_cpu, "DefaultCPUAllocator"),
        (_nothing_left_on_the_device, "CUDA out of memory. Tried to allocate 20.00 GiB."),
    ],
)
def test_no_memory_left_is_one_line(fail, said, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_dispatch", fail)
    err = failure(capsys, "pretrain")
    assert err.startswith("seco: error: out of memory (")
    assert said in err
    assert err.endswith("; lower --batch-size, --view-px or --queue-size\n")
    assert len(err) < 300
    with pytest.raises((MemoryError, RuntimeError)):
        main(["pretrain", "--debug"])


@pytest.mark.parametrize("torch_there", [True, False])
def test_another_error_of_torch_is_a_defect_and_shows_its_trace(torch_there, monkeypatch):
    def fail(args):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    if not torch_there:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(cli, "_dispatch", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        main(["pretrain"])


@pytest.mark.parametrize("argv", [["--help"], ["pretrain", "--help"]])
def test_a_reader_of_the_output_that_goes_away_is_no_error(argv):
    program = subprocess.Popen(
        [sys.executable, "-m", "seco.cli", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV
    )
    program.stdout.close()
    assert program.wait(timeout=120) == 141
    assert program.stderr.read() == b""
    program.stderr.close()


# --- datasets -----------------------------------------------------------------------------------------------------------


def table(file):
    content = json.loads(file.read_text())
    assert list(content) == ["rows"]
    assert all(isinstance(row, dict) for row in content["rows"])
    return content["rows"]


def test_dataset_info_says_what_a_dataset_holds(small_dataset, tmp_path, capsys):
    out = output(capsys, "dataset", "info", small_dataset, "--json", tmp_path / "i.json")
    for words in (
        "24",
        "96",
        "16 x 16 px",
        "2020-01-03 to 2020-07-03",
        "uint8 3 x 16 x 16",
        "green",
        "display",
    ):
        assert words in out
    (row,) = table(tmp_path / "i.json")
    assert (row["places"], row["patches"], row["importer"]) == (24, 96, "test")
    assert row["fingerprint"] == seco.open_dataset(small_dataset).fingerprint
    assert [b["name"] for b in row["bands"]] == ["red", "green", "blue"]
    assert isinstance(row["bytes on disk"], int)


@pytest.mark.parametrize(
    ("fractions", "said"),
    [
        ([None, None], "unknown"),
        ([1.0, 0.8, None], "0 of 2 patches less than 80% clear"),
        ([0.1, 1.0], "1 of 2 patches less than 80% clear, which training"),
    ],
)
def test_dataset_info_says_how_much_is_cloudy(fractions, said):
    from seco.commands.dataset import _clear

    assert _clear(fractions).startswith(said)
    assert ("--min-clear" in _clear(fractions)) == (said.endswith("training"))


def test_dataset_check_finds_nothing_in_a_whole_one_and_a_flipped_byte_in_another(
    make_dataset, tmp_path, capsys
):
    path = make_dataset(num_places=3)
    assert "is whole: 12 patches" in output(capsys, "dataset", "check", path, "--json", tmp_path / "c.json")
    assert table(tmp_path / "c.json") == []
    (shard,) = [f for f in path.rglob("*") if f.is_file() and "/c/" in f.as_posix()]
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(bytes(content))
    assert "problems; import it again" in failure(
        capsys, "dataset", "check", path, "--json", tmp_path / "d.json"
    )
    rows = table(tmp_path / "d.json")
    assert rows
    assert {"where", "what"} <= set(rows[0])


def test_dataset_sheet_draws_a_picture(small_dataset, tmp_path, capsys):
    out = output(capsys, "dataset", "sheet", small_dataset, "--out", tmp_path / "s.png", "--places", 3)
    assert out.strip() == str(tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as image:
        assert min(image.size) > 100
    assert "between 1 and" in failure(capsys, "dataset", "sheet", small_dataset, "--places", 0)
    assert "cannot write picture" in failure(
        capsys, "dataset", "sheet", small_dataset, "--out", tmp_path / "s.xyz"
    )


def test_dataset_split_counts_every_place(make_dataset, tmp_path, capsys):
    path = make_dataset()
    out = output(
        capsys, "dataset", "split", path, "--test-share", 0.25, "--seed", 3, "--json", tmp_path / "s.json"
    )
    counts = {row["part"]: row["places"] for row in table(tmp_path / "s.json")}
    assert counts == {"train": 18, "test": 6, "dropped": 0}
    assert "blocks-3.parquet" in out.replace("\n", "")
    assert (path / "splits" / "blocks-3.parquet").is_file()
    out = output(capsys, "dataset", "split", path, "--name", "mine")
    assert (path / "splits" / "mine.parquet").is_file()
    assert f"next: seco pretrain --data {path} --split mine --out run" in out
    assert "test share 2.0" in failure(capsys, "dataset", "split", path, "--test-share", 2)


def test_views_draws_the_sheet_and_says_who_is_positive(small_dataset, tmp_path, capsys):
    out = output(
        capsys,
        "views",
        small_dataset,
        "--method",
        "seco",
        "--out",
        tmp_path / "v.png",
        "--places",
        2,
        "--siblings",
        "own",
    )
    lines = out.splitlines()
    assert lines[0] == "z0: positive k0 (differs in season and augmentation)"
    assert "of the same place: k0" in lines[3]
    assert lines[-1] == str(tmp_path / "v.png")
    assert (tmp_path / "v.png").stat().st_size > 10_000


def test_views_of_one_date_a_place(make_dataset, tmp_path, capsys):
    path = make_dataset(num_places=8, num_dates=1)
    assert "--method moco" in failure(capsys, "views", path, "--out", tmp_path / "v.png")
    assert not (tmp_path / "v.png").exists()
    assert "z0: positive k0 (differs in augmentation)" in output(
        capsys, "views", path, "--method", "moco", "--out", tmp_path / "v.png"
    )


def test_import_from_the_command_line(tmp_path, capsys):
    folder = tmp_path / "pictures" / "field"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (16, 16), (i * 40, 90, 90)).save(folder / f"{i}.png")
    out = output(capsys, "dataset", "import", "images", tmp_path / "pictures", tmp_path / "a.seco")
    assert f"{tmp_path / 'a.seco'}: 3 places, 3 patches" in out
    assert "exists already" in failure(
        capsys, "dataset", "import", "images", tmp_path / "pictures", tmp_path / "a.seco"
    )


# --- pretrain -----------------------------------------------------------------------------------------------------------

RUN = [
    "--encoder",
    "test_resnet",
    "--batch-size",
    "4",
    "--device",
    "cpu",
    "--queue-size",
    "8",
    "--probe-every",
    "0",
]


def test_pretrain_then_resume_and_what_it_leaves(small_dataset, tmp_path, capsys, monkeypatch):
    from seco.train import loop

    run = tmp_path / "run"
    argv = [
        "pretrain",
        "--data",
        str(small_dataset),
        "--out",
        str(run),
        "--epochs",
        "1",
        "--method",
        "moco",
        *RUN,
    ]
    original = loop.Meter.add

    def stop(self, numbers):
        original(self, numbers)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Meter, "add", stop)
        assert main(argv) == 130
    out, err = capsys.readouterr()
    assert err == f"seco: stopped at step 1 of 4, saved; go on: seco pretrain --resume --out {run}\n"
    assert "moco on 19 places" in out
    assert "holds a run already" in failure(capsys, *argv)
    assert "was started with seed 0, now it is 5" in failure(capsys, *argv, "--resume", "--seed", "5")
    # The same command with --resume goes on, and so does --resume alone.
    out = output(capsys, *argv, "--resume")
    assert "going on from step 1" in out
    assert f"{run}: 4 steps in " in out
    assert f"next: seco evaluate {run}" in out
    assert (run / "pictures" / "curves.png").is_file()
    assert "is finished already" in output(capsys, "pretrain", "--out", run, "--resume")
    assert "holds no run to resume" in failure(
        capsys, "pretrain", "--out", tmp_path / "no", "--resume", "--data", small_dataset
    )


def test_a_split_is_trained_on_and_tested_on_by_its_name(make_dataset, tmp_path, capsys):
    path, run = make_dataset(num_places=40), tmp_path / "run"
    output(capsys, "dataset", "split", path, "--test-share", 0.3, "--seed", 3, "--name", "mine")
    counts = open_dataset_split(path, "mine")
    argv = [
        "pretrain",
        "--data",
        path,
        "--method",
        "moco",
        "--split",
        "mine",
        "--steps",
        1,
        "--out",
        run,
        *RUN,
    ]
    out = output(capsys, *argv)
    assert f"moco on {counts['train']} places ({counts['test']} held out: split mine (" in out
    assert "split: mine" in (run / "config.yaml").read_text()
    judge = ["evaluate", run, "--task", "place", "--data", path, "--device", "cpu", "--num-draws", 0]
    output(capsys, *judge, "--split", "mine", "--json", tmp_path / "e.json")
    rows = table(tmp_path / "e.json")
    assert {row["seed"] for row in rows} == {3}
    assert {row["num_classes"] for row in rows} == {counts["test"]}
    assert {row["transductive"] for row in rows} == {False}
    assert out.split("held out: ")[1].startswith(rows[0]["split"])
    assert "no split 'his', it has: mine" in failure(capsys, *judge, "--split", "his")
    assert "--split SPLIT" in help_of(capsys, "evaluate", "--task", "landcover")
    assert "--split SPLIT" not in help_of(capsys, "evaluate", "--task", "images")


def test_scores_of_several_tasks_become_one_table_and_pictures(make_dataset, tmp_path, capsys):
    labels = [("crops", "lake", "town")[i % 3] for i in range(60)]
    path = make_dataset(num_places=60, num_dates=1, labels=labels)
    files = {
        n: tmp_path / n for n in ("a.json", "b.json", "p.parquet", "curve.png", "confusion.png", "errors.png")
    }
    judge = [
        "evaluate",
        "colour",
        "random:resnet18",
        "--data",
        path,
        "--device",
        "cpu",
        "--num-draws",
        20,
        "--k",
        3,
    ]
    out = output(
        capsys, *judge, "--task", "images", "--size", 32, "--json", files["a.json"], "--predictions", files["p.parquet"],
        "--shots", "1,5", "--shot-draws", 2, "--picture", files["curve.png"], "--confusion", files["confusion.png"],
        "--errors", files["errors.png"],
    )  # fmt: skip
    assert all(str(files[n]) in out for n in ("curve.png", "confusion.png", "errors.png"))
    assert all(files[n].stat().st_size > 5000 for n in ("curve.png", "confusion.png", "errors.png"))
    output(capsys, *judge, "--task", "label", "--size", 32, "--json", files["b.json"], "--min-places", 1)
    shown = output(
        capsys,
        "compare",
        files["a.json"],
        files["b.json"],
        "--predictions",
        files["p.parquet"],
        "--reference",
        "colour",
    )
    assert all(
        word in shown for word in ("random:resnet18", "majority", "label", "5-shot", "paired differences")
    )
    target = tmp_path / "scores.tex"
    assert str(target) in output(capsys, "compare", files["a.json"], "--format", "latex", "--out", target)
    assert r"\begin{tabular}" in target.read_text()
    rows = json.loads(output(capsys, "compare", files["a.json"], "--format", "json"))["rows"]
    assert {r["shots"] for r in rows} == {None, 1, 5}
    assert "go together" in failure(capsys, "compare", files["a.json"], "--reference", "colour")
    assert "wants --format" in failure(capsys, "compare", files["a.json"], "--out", target)
    assert "no predictions of 'nobody'" in failure(
        capsys, "compare", files["a.json"], "--predictions", files["p.parquet"], "--reference", "nobody"
    )
    assert "cannot read" in failure(capsys, "compare", tmp_path / "nothing.json")
    assert "no few-shot part" in failure(
        capsys, *judge, "--task", "images", "--shots", 1, "--protocol", "paper"
    )


def open_dataset_split(path, name):
    from seco.data.split import find_split

    return find_split(seco.open_dataset(path), name)[0].counts()


def test_flags_override_a_config_file(small_dataset, tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text("method: moco-tp\nsteps: 500\nbatch_size: 3\nmethod_options: {queue_size: 6, lr: 0.01}\n")
    argv = [
        "pretrain",
        "--config",
        file,
        "--data",
        small_dataset,
        "--encoder",
        "test_resnet",
        "--probe-every",
        0,
        "--device",
        "cpu",
    ]
    out = output(capsys, *argv, "--out", tmp_path / "a", "--steps", 1, "--lr", "0.02")
    assert "moco-tp on 19 places" in out
    assert "1 steps of 3 places" in out
    kept = (tmp_path / "a" / "config.yaml").read_text()
    assert "lr: 0.02" in kept
    assert "queue_size: 6" in kept
    # A length in epochs takes the place of the file's steps.
    assert "6 steps of 3 places" in output(capsys, *argv, "--out", tmp_path / "b", "--epochs", 1)
    file.write_text("stepz: 5\n")
    assert "unknown setting stepz" in failure(capsys, *argv, "--out", tmp_path / "c")
    file.write_text("method_options: {queue: 5}\n")
    assert "unknown setting queue" in failure(capsys, *argv, "--out", tmp_path / "c")
