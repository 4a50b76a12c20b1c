"""The only command line. Imports lazily, so that `seco --help` needs no torch."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import seco
from seco.errors import SecoError

GUIDE = """\
from imagery to an encoder:
  seco demo                                                 the whole way on Blue Marble, to one page about it
  seco dataset import geotiff my-rasters/ places.seco       your own multi-date rasters
  seco views places.seco --method seco --out views.png      what the method will see
  seco pretrain --data places.seco --method seco --out run  train an encoder
  seco evaluate run random:resnet18 colour --task landcover --data places.seco
  seco report run --out report --open                       look at all of it on one page
"""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand: its words, one line of help, and the function in `seco.commands` that adds flags and runs."""

    words: tuple[str, ...]
    help: str
    example: str
    function: str


COMMANDS = (
    Command(
        words=("demo",), function="demo.demo",
        help="the whole way, from imagery to one page about it: some minutes on two cores; goes on after a stop",
        example="seco demo --out demo-out",
    ),
    Command(
        words=("dataset", "import"), function="dataset.import_",
        help="make a dataset from imagery (bigearthnet, bluemarble, geotiff, images, seco, torchgeo)",
        example="seco dataset import bluemarble bluemarble/ places.seco --places 3000",
    ),
    Command(
        words=("dataset", "export"), function="dataset.export",
        help="write a dataset in another layout (seco: a GeoTIFF a band, which TorchGeo reads)",
        example="seco dataset export seco places.seco data/seasonal_contrast_100k",
    ),
    Command(
        words=("dataset", "info"), function="dataset.info",
        help="say what a dataset holds", example="seco dataset info places.seco",
    ),
    Command(
        words=("dataset", "check"), function="dataset.check_whole",
        help="read everything and compare it with its checksums", example="seco dataset check places.seco",
    ),
    Command(
        words=("dataset", "sheet"), function="dataset.sheet",
        help="draw places down and seasons across", example="seco dataset sheet places.seco --out sheet.png",
    ),
    Command(
        words=("dataset", "split"), function="dataset.split",
        help="split places by spatial block, with no shared pixel",
        example="seco dataset split places.seco --test-share 0.2 --block-deg 10",
    ),
    Command(
        words=("places",), function="places.places",
        help="choose where to look: around cities, on land, in a polygon or from a file; GeoParquet, map, counts",
        example="seco places places.parquet --num 200000 --spare 0.05 --seed 0",
    ),
    Command(
        words=("planet", "build"), function="planet.build",
        help="simulate a dataset: real geography, made-up imagery, every label known; needs no network",
        example="seco planet build planet.seco --places 1000 --dates 5 --seed 0",
    ),
    Command(
        words=("planet", "scenes"), function="planet.scenes",
        help="the simulated planet as Sentinel-2 scenes: a STAC catalogue, rendered when read or on disk",
        example="seco planet scenes planet --places 100 --from 2023-01-01 --to 2023-12-31 --seed 0",
    ),
    Command(
        words=("planet", "serve"), function="planet.serve",
        help="serve a planet's scenes and their STAC API on loopback, with faults if asked",
        example="seco planet serve planet --port 8642 --stac-port 8643",
    ),
    Command(
        words=("collect", "plan"), function="collect_plan.plan",
        help="what a collection would fetch from a STAC catalogue: places, scenes, bytes; nothing is fetched",
        example="seco collect plan --places places.parquet --from 2023-01-01 --to 2024-12-31 --out dataset",
    ),
    Command(
        words=("collect",), function="collect.collect",
        help="seasonal patches of places from a STAC catalogue; the same command goes on after any stop",
        example="seco collect --places places.parquet --catalog earth-search --from 2023-01-01 --to 2024-12-31 "
        "--seasons 5 --window-days 15 --max-cloud 10 --bands all --size 264 --out patches.seco",
    ),
    Command(
        words=("views",), function="learn.views",
        help="draw what a method sees, and who is positive and negative for each head",
        example="seco views places.seco --method seco --out views.png",
    ),
    Command(
        words=("pretrain",), function="learn.pretrain",
        help="train an encoder without labels",
        example="seco pretrain --data places.seco --method seco --encoder resnet18 --out run",
    ),
    Command(
        words=("evaluate",), function="judge.evaluate",
        help="judge encoders on a task",
        example="seco evaluate run random:resnet18 colour --task landcover --data places.seco --json scores.json",
    ),
    Command(
        words=("compare",), function="judge.compare",
        help="put the scores of several encoders and tasks in one table (terminal, JSON, CSV, Markdown, LaTeX)",
        example="seco compare landcover.json eurosat.json --format markdown --out scores.md",
    ),
    Command(
        words=("report",), function="report.report",
        help="write one page about runs: what they saw, learnt and came to, side by side",
        example="seco report run --out report --open",
    ),
    Command(
        words=("bench",), function="bench.bench",
        help="measure views, reading, steps and training on this machine against others, in one run",
        example="seco bench views step --rival original --lightly --repeats 5 --json speed.json",
    ),
    Command(
        words=("convert",), function="use.convert",
        help="make an encoder of a published checkpoint (SeCo, TorchGeo, MoCo, SSL4EO-S12, torchvision, timm), or back",
        example="seco convert seco_resnet18_1m.ckpt seco-r18",
    ),
    Command(
        words=("export",), function="use.export",
        help="write an encoder for others: safetensors, timm, TorchGeo, ONNX, or a folder for a model hub",
        example="seco export run encoder.onnx --format onnx",
    ),
    Command(
        words=("finetune",), function="scene.finetune",
        help="train an encoder's head (and the encoder) on your own labels: images, masks, points or polygons",
        example="seco finetune run fields-model --data scene.tif --labels fields.geojson --label-field crop",
    ),
    Command(
        words=("predict",), function="scene.predict",
        help="write the map of a scene as a GeoTIFF: classes of images or pixels, or change between two scenes",
        example="seco predict fields-model scene.tif map.tif",
    ),
)  # fmt: skip


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as every error of seco."""

    def error(self, message: str) -> NoReturn:
        """Print the error and where to find help; exit with 2."""
        self.exit(2, f"seco: error: {message}; see `{self.prog} --help`\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print; argparse's own takes a reader that has gone for one that has read, where help is longer than a buffer."""
        (file or sys.stderr).write(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [a for a in args if a != "--debug"]
    try:
        try:
            return _dispatch(args)
        finally:
            sys.stdout.flush()  # here, where it is caught that the reader of a pipe has gone
    except SecoError as err:
        if debug:
            raise
        stopped = getattr(err, "interrupted", False)
        if getattr(err, "silent", False):
            return 130 if stopped else 2  # one of many processes, another of which says it
        print(f"seco: {'' if stopped else 'error: '}{' '.join(str(err).split())}", file=sys.stderr)
        return 130 if stopped else 2
    except KeyboardInterrupt:
        if debug:
            raise
        print(
            "seco: stopped; nothing half-written is taken for whole, run the same command again",
            file=sys.stderr,
        )
        return 130
    except (MemoryError, RuntimeError) as err:
        if debug or not _is_out_of_memory(err):
            raise
        print(
            f"seco: error: out of memory ({' '.join(str(err).split())[:160]}); "
            "lower --batch-size, --view-px or --queue-size",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        # What is left in the buffer has no reader; Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as err:
        if debug:
            raise
        print(f"seco: error: {err}; free disk space or check the path", file=sys.stderr)
        return 2


def _is_out_of_memory(err: Exception) -> bool:
    """Tell whether Python or torch ran out of memory. An error of torch means that torch is imported already."""
    device_error = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    # torch's allocator of the CPU has no class of error of its own, and other words on each platform.
    words = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
    return isinstance(err, (MemoryError, device_error)) or any(w in str(err) for w in words)


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if args[0] == "--version":
        print(f"seco {seco.__version__}")
        return 0
    command = next((c for c in COMMANDS if tuple(args[: len(c.words)]) == c.words), None)
    if command is None:
        group = [c for c in COMMANDS if c.words[0] == args[0]]
        if group and (len(args) == 1 or args[1] in ("-h", "--help")):
            print(_overview(group))
            return 0
        what = " ".join(args[: 2 if group else 1])
        known = sorted({" ".join(c.words) for c in group or COMMANDS})
        raise SecoError(f"no command {what!r}; known: {', '.join(known)}")
    parser = OneLineParser(
        prog="seco " + " ".join(command.words), description=command.help[0].upper() + command.help[1:] + ".",
        epilog=f"example: {command.example}", formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    module, _, name = command.function.partition(".")
    function: Callable[[argparse.ArgumentParser, list[str]], int] = getattr(
        import_module(f"seco.commands.{module}"), name
    )
    return function(parser, args[len(command.words) :])


def _overview(commands: Sequence[Command] = COMMANDS) -> str:
    width = max(len(" ".join(c.words)) for c in commands)
    lines = [f"  seco {' '.join(c.words):<{width}}  {c.help}" for c in commands]
    head = [f"seco {seco.__version__}: unlabelled satellite imagery in, an encoder that transfers out", ""]
    tail = ["", "`seco COMMAND --help` lists every setting; --debug shows the trace of an error.", "", GUIDE]
    return "\n".join([*head, "commands:", *lines, *tail]).rstrip()


if __name__ == "__main__":
    sys.exit(main())
