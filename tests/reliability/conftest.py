"""The numbered tests of reliability, in two sizes: a sample in `make test`, all by `make torture`.

A test says with `@pytest.mark.reliability("A5", "damage is seen")` what it shows. It asks
`trials.of(quick, full)` how many trials to make, and says with `trials.result(...)` what came of
them; `make torture` prints all that as one table, failures included.
"""

import platform
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shell import LSTM, open_folder, warm_shell

_ROWS = pytest.StashKey[list[tuple[str, str, str, str]]]()


class Trials:
    """How many trials a test makes, and what is told of them."""

    def __init__(self, request, record_property):
        self.full = request.config.getoption("--full")
        self._record = record_property

    def of(self, quick, full):
        """Return the number of trials; it becomes N in the table."""
        number = full if self.full else quick
        self._record("trials", f"{number:,}")
        return number

    def result(self, text):
        """Say in a few words what came of the trials."""
        self._record("result", text)


@pytest.fixture
def trials(request, record_property):
    mark = request.node.get_closest_marker("reliability")
    record_property("reliability", mark.args)
    return Trials(request, record_property)


@pytest.fixture(scope="session")
def lstm(request):
    """Settings of a small network; `make torture` has it compiled, and waits for that."""
    return LSTM if request.config.getoption("--full") else [*LSTM, "--engine", "reference"]


@pytest.fixture(scope="session")
def shell(lstm):
    """Return a shell in a folder that tests only read: it takes four seconds to be warm."""
    with open_folder() as folder, warm_shell(folder, lstm) as shell:
        yield shell


def pytest_configure(config):
    config.stash[_ROWS] = []


class _Table:
    """Gathers the rows where the reports arrive, which with several processes is the first."""

    def __init__(self, config):
        self.rows = config.stash[_ROWS]

    def pytest_runtest_logreport(self, report):
        known = dict(report.user_properties)
        if "reliability" not in known or (report.when != "call" and not report.failed):
            return
        result = known.get("result", "passed")
        if report.failed:
            lines = str(report.longrepr).splitlines()
            errors = [line for line in lines if line.startswith("E ")]
            reason = errors[0][2:].strip() if errors else lines[-1]
            result = f"FAILED: {known.get('result', reason)}"
        elif report.skipped:
            result = "not run"
        number, what = known["reliability"]
        self.rows.append((number, what, known.get("trials", "1"), result))

    def pytest_terminal_summary(self, terminalreporter):
        if not self.rows:
            return
        write = terminalreporter.write_line
        terminalreporter.section("reliability")
        write(f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}, Python {platform.python_version()}\n")
        write("| test | what | N | result |\n| --- | --- | ---: | --- |")
        for row in sorted(self.rows, key=lambda row: (row[0][0], int(row[0][1:]), row[1])):
            write("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |")
        counts = Counter(row[3].startswith("FAILED") for row in self.rows)
        write(f"\n{counts[False]} passed, {counts[True]} failed")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    config = session.config
    if not hasattr(config, "workerinput") and config.getoption("--full"):
        config.pluginmanager.register(_Table(config))


def _machine():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}, Linux {platform.release()}"
