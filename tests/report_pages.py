"""Runs whose names, text and samples would like to be scripts, and the report of them."""

import atexit
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path
from unittest import mock

from charloom.analysis.comparison import compare
from charloom.config import NgramConfig, replace
from charloom.report.contents import gather
from charloom.report.pages.report import report_page
from charloom.runs.run import Run
from small_runs import OFTEN, config_of, played

NAME = "<img src=x onerror=alert(1)>"
EVIL = "<script>alert(2)</script>"
TEXT = (
    f'Half a league, half a league,\n"Forward, the {EVIL} Brigade!"\n'
    "Into the valley of Death\n    Rode the 600 (six hundred).\n"
) * 24


@cache
def runs():
    """Return paths of runs: an LSTM, one without held-out text, and one that counts."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source = folder / f"{EVIL.replace('/', '')}.txt"
    source.write_text(TEXT)
    config = config_of(source, watch=replace(OFTEN, sample_length=60))
    config = replace(config, data=replace(config.data, validation=0.3))
    paths = {name: folder / name for name in (NAME, "blind", "ngram")}
    played(paths[NAME], config)
    blind = replace(config.data, validation=0.0)
    played(paths["blind"], replace(config, data=blind))
    played(paths["ngram"], replace(config, model=NgramConfig(order=3)))
    (paths[NAME] / "samples/00000007.txt").write_text(f"</pre>{EVIL} & more")
    return paths


@cache
def report(*names):
    """Return what is gathered of some of them; their speed is measured for a moment only."""
    quick = partial(compare, sampling_seconds=0.01)
    with mock.patch("charloom.report.contents.compare", quick):
        return gather([Run.open(runs()[name]) for name in names])


@cache
def page(*names, drawn=False):
    """Return their page; of several runs with stand-ins for pictures, which take long, or drawn."""
    if len(names) == 1 or drawn:
        return report_page(report(*names))
    with mock.patch("charloom.report.pages.report.inline_svg", return_value="<svg></svg>"):
        return report_page(report(*names))
