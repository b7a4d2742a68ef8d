import os
import signal

import pytest
from hypothesis import settings

# An example may be the first to need a kernel, and then waits for its compilation.
settings.register_profile("charloom", deadline=None)
settings.load_profile("charloom")

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as model.load_torchnet, before any test


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="make all trials of tests/reliability")


def pytest_collection_modifyitems(config, items):
    full = config.getoption("--full")
    for item in items:
        if full:
            item.add_marker(pytest.mark.timeout(7200))
        elif item.get_closest_marker("torture"):
            item.add_marker(pytest.mark.skip(reason="only in `make torture`"))


def pytest_configure():
    """Take signals as a terminal would send them: nohup, or a shell's &, lets them be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
