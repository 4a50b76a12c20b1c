"""`seco report`: one page about runs."""

import argparse
from pathlib import Path

from seco import config as configs


def report(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """`seco report RUN ... --out DIR`."""
    from seco.report.options import Report
    from seco.report.page import write_report

    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, side by side")
    parser.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="folder of the page (default: report)"
    )
    configs.add_arguments(parser, Report)
    open_flag(parser)
    args = parser.parse_args(argv)
    page = write_report(args.runs, args.out, configs.from_args(Report, args))
    print(page)
    if args.open:
        show(page)
    return 0


def open_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that opens the page."""
    parser.add_argument("--open", action="store_true", help="open the page in the browser when it is made")


def show(page: Path) -> None:
    """Open a page in the browser, or say that there is none."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        print(
            f"there is no browser here to open; the page is {page.resolve()}, one file that can be copied anywhere"
        )
