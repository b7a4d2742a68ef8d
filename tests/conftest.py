import os
import signal

import pytest
from hypothesis import settings

# No deadline: an example may be the first to need a kernel, and then waits for its compilation.
settings.register_profile("test", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("full", deadline=None, max_examples=1000)

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="all trials, and 1000 examples of each property"
    )


def pytest_collection_modifyitems(config, items):
    full = config.getoption("--full")
    for item in items:
        if full:
            item.add_marker(pytest.mark.timeout(7200))
        elif item.get_closest_marker("torture"):
            item.add_marker(pytest.mark.skip(reason="only in `make torture`"))


def pytest_configure(config):
    """Take signals as a terminal would send them: under nohup or a shell's & they are ignored."""
    settings.load_profile("full" if config.getoption("--full") else "test")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
