"""What several subcommands share."""

import argparse
from pathlib import Path


def json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help='write the table as {"rows": [...]}')
