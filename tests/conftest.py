import fcntl
import gc
import itertools
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from visiting import CHROMIUM

# No deadline: an example may be the first to need a kernel, and then waits for its compilation.
settings.register_profile("test", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("full", deadline=None, max_examples=1000)

# Read when NumPy and PyTorch are loaded: a thread that waits would spin on a CPU that others need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


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


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Keep what is there by now out of every later look for garbage: it is a million objects."""
    gc.disable()
    result = yield
    gc.enable()
    gc.freeze()
    return result


def pytest_configure(config):
    """Take signals as a terminal would send them: under nohup or a shell's & they are ignored."""
    settings.load_profile("full" if config.getoption("--full") else "test")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def never_wait_for_the_disk():
    """No test cuts the power; what a save flushes, `reliability/power.py` records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def ticking(monkeypatch):
    """Plays charloom's clock: each look at it is 10 ms later, however slow the machine."""
    from charloom.cli import resume, train  # noqa: F401

    looks = itertools.count()
    for name, module in list(sys.modules.items()):
        if name.startswith("charloom.") and "perf_counter" in vars(module):
            monkeypatch.setattr(module, "perf_counter", lambda: next(looks) * 0.01)


@pytest.fixture(scope="module")
def browser():
    """Start the browser once; skips if there is none.

    Not for a session: while Playwright is there, no test could run an event loop of its own.
    """
    sync = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("there is no chromium: install it, or name one in $CHROMIUM")
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=0)
        yield browser
        browser.close()


@pytest.fixture(autouse=True, scope="session")
def measure_no_speed_for_long():
    """Comparisons, checks and runs with minutes measure speeds, at which no test looks."""
    from charloom.analysis import comparison
    from charloom.training import speeds

    measure = comparison.sampling_speed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speeds, "TIMING_SECONDS", 0.02)
        patch.setattr(comparison, "sampling_speed", lambda model, _: measure(model, 0.01))
        yield


def pytest_sessionstart(session):
    """Compile what most tests need once, shared out among the workers of `-n`."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    first = int(worker["workerid"].removeprefix("gw")) % 2
    for name in (*KERNELS[first::2], *KERNELS[1 - first :: 2]):  # one's own, then the other's
        with Path(tempfile.gettempdir(), f"charloom-tests-{os.getuid()}-{name}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _compile_kernels(name)


KERNELS = ("float32", "float64", "contexts", "counts")


def _compile_kernels(name):
    import numpy as np

    from charloom.config import ModelConfig, NgramConfig, SampleConfig, TrainConfig
    from charloom.data.vocabulary import Vocabulary
    from charloom.generation.sampling import generate
    from charloom.models.compiled import CompiledLearner
    from charloom.models.mixing import ContextMixer
    from charloom.models.ngram import NgramModel

    vocabulary, ids = Vocabulary.from_text("abc"), np.array([[0, 1, 2, 0, 1, 2]], np.int32)
    if name == "contexts":
        ContextMixer([1, 2, 2], np.ones(3, bool), ids.size).score(ids[0])
        return
    if name == "counts":
        model = NgramModel.fit(ids[0], vocabulary, NgramConfig(order=2))
    else:
        learner = CompiledLearner(ModelConfig(hidden=4), TrainConfig(batch=1, length=6), 3, name)
        learner.update(ids, ids, 0.0)
        learner.loss(ids, ids)
        model = learner.model(vocabulary)
    model.log_probs(ids, model.start(1))
    list(generate(model, SampleConfig(), "a", 2))
