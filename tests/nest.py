"""Several processes that torchrun might have started, each a fork of one that has loaded torch.

As a program, it is to them what torchrun's agent is: their parent, and the keeper of the store
through which they find one another. It says as JSON, a line each, what it has been asked.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

TESTS = Path(__file__).parent


class Nest:
    """A process that forks others; `before` stands before its command line, if anything does."""

    def __init__(self, *before):
        paths = [str(TESTS), *sys.path]
        self.server = subprocess.Popen(
            [*before, sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": ":".join(paths), "OMP_NUM_THREADS": "1"},
        )
        self.pids = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()

    def kill(self, number=signal.SIGKILL):
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def start(self, ranks, *command, out=os.devnull, err=os.devnull, hooks=None, env=None):
        """Begin a `charloom` command in so many processes; returns their ids.

        `hooks` maps ranks to "module:function" and arguments, called in that rank first.
        """
        command = [*map(str, command)]
        return self._start(ranks, {"command": command}, out, err, hooks or {}, env or {})

    def wait(self):
        """Wait until all have ended; return their exit statuses."""
        return self._ask({"wait": True})

    def run(self, ranks, *command, **how):
        """Run a command to its end; returns the statuses."""
        self.start(ranks, *command, **how)
        return self.wait()

    def call(self, ranks, folder, task, *arguments, hooks=None, env=None):
        """Return what "module:function" gives on rank 0, called with the arguments."""
        err = Path(folder, "err")
        err.write_text("")
        what = {"task": [task, *arguments], "folder": str(folder)}
        self._start(ranks, what, os.devnull, err, hooks or {}, env or {})
        statuses = self.wait()
        assert statuses == [0] * ranks, f"{statuses} {err.read_text()}"
        return json.loads(Path(folder, "answer").read_text())

    def _start(self, ranks, what, out, err, hooks, env):
        how = {"out": str(out), "err": str(err), "hooks": hooks, "env": env}
        self.pids = self._ask({"start": ranks, **what, **how})
        return self.pids

    def _ask(self, what):
        self.server.stdin.write(json.dumps(what) + "\n")
        self.server.stdin.flush()
        line = self.server.stdout.readline()
        assert line, "the nest has ended"
        return json.loads(line)


def _child(rank, port, asked):
    os.setsid()
    import_module("charloom.distributed")._PARENT = os.getppid()  # torchrun's children are no forks
    team = import_module("charloom.models.torchnet.team")
    team.GRACE_SECONDS = 60  # on a busy machine it may take long to say what has happened
    alone = asked["start"] == 1 and "task" in asked  # a process as anybody starts it
    os.environ |= asked["env"]
    os.environ |= (
        {}
        if alone
        else {
            "RANK": str(rank),
            "WORLD_SIZE": str(asked["start"]),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
    )
    for descriptor, stream, name in ((1, "stdout", "out"), (2, "stderr", "err")):
        os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        setattr(sys, stream, os.fdopen(descriptor, "w", closefd=False))
    if hook := asked["hooks"].get(str(rank)):
        _named(hook[0])(*hook[1:])
    if "task" in asked:
        return _do(rank, asked)
    from charloom.cli import main

    sys.argv = ["charloom", *asked["command"]]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


def _do(rank, asked):
    """Call a task as rank 0's command, and help it elsewhere."""
    from charloom.models import torchnet

    def command():
        found = _named(asked["task"][0])(*asked["task"][1:])
        Path(asked["folder"], "answer").write_text(json.dumps(found))

    if asked["start"] == 1:
        command()
        return 0
    return torchnet.run_on_ranks(command, rank)


def _named(name):
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _fork(rank, port, asked):
    if pid := os.fork():
        return pid
    status = 70
    try:
        status = _child(rank, port, asked)
    except SystemExit as ended:  # by a signal that came before the command began
        status = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _serve():
    """Load what all of them will, but start no thread: a fork would not have it."""
    for name in (
        "charloom.models.compiled",
        "charloom.models.ngram.kernels",
        "charloom.models.torchnet",
        "charloom.cli.plain",
        "charloom.cli.resume",
        "charloom.cli.summary",
        "charloom.cli.train",
        "charloom.training.loop",
        "charloom.training.planning",
    ):
        import_module(name)
    _count()
    gc.freeze()  # else each fork writes on all that is loaded, and so copies it
    _answer(_keep_store())


def _count():
    """Score n-grams and a network, as each run does at its end: that loads the kernels."""
    from charloom.config import ModelConfig, NgramConfig
    from charloom.data.vocabulary import Vocabulary
    from charloom.evaluation import evaluate
    from charloom.models.engines import create_model
    from charloom.models.ngram import NgramModel
    from charloom.models.weights import initial_weights

    text = "Theirs not to reason why,\n" * 9
    vocabulary, sizes = Vocabulary.from_text(text), ModelConfig(hidden=4)
    ids, weights = vocabulary.encode(text), initial_weights(sizes, len(vocabulary), 0)
    evaluate(NgramModel.fit(ids, vocabulary, NgramConfig(order=3)), ids)
    evaluate(create_model(sizes, weights, vocabulary, "compiled", "float64"), ids)
    assert len([*Path("/proc/self/task").iterdir()]) == 1


def _keep_store():
    """Open a store for as long as this process lives; returns its port.

    In a process of its own: a fork of one with its threads and sockets may wait for ever.
    """
    told, tell = os.pipe()
    lives, life = os.pipe()
    if os.fork() == 0:
        os.close(life)
        store = import_module("torch.distributed").TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False
        )
        os.write(tell, f"{store.port}\n".encode())
        os.read(lives, 1)
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as answer:
        return int(answer.readline())


def _answer(port):
    pids = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            pids = [_fork(rank, port, asked) for rank in range(asked["start"])]
            answer = pids
        else:
            answer = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
