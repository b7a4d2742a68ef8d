"""torchrun's agents, what they have started, and two machines that are network namespaces."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

TORCHRUN = ("-m", "torch.distributed.run")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
CABLE = {"GLOO_SOCKET_IFNAME": "cable"}  # for gloo would take the network of the host's own name


class Agent:
    """A torchrun that runs a `charloom` command; what all of them say goes to one file."""

    def __init__(self, log, *command, options=("--nproc-per-node", "2"), before=(), env=None):
        self.log = Path(log)
        with self.log.open("a") as file:
            self.process = subprocess.Popen(
                [
                    *before,
                    sys.executable,
                    *TORCHRUN,
                    *map(str, [*options, "-m", "charloom", *command]),
                ],
                stdout=file,
                stderr=file,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        left = self.ranks().values()
        self.kill()
        for pid in left:
            kill(pid, signal.SIGKILL)

    @property
    def said(self):
        return self.log.read_text()

    def kill(self, number=signal.SIGKILL):
        kill(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()

    def wait(self):
        return self.process.wait()

    def ranks(self):
        """Return the ids of the processes that it has started and that live, by rank."""
        found = {}
        for path in Path("/proc").iterdir():
            with suppress(OSError, ValueError, IndexError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.process.pid and fields[0] != "Z":
                    variables = (path / "environ").read_bytes().split(b"\0")
                    named = [v for v in variables if v.startswith(b"RANK=")]
                    rank = named[0]  # there is none before it has become what it is to be
                    found[int(rank.removeprefix(b"RANK="))] = int(path.name)
        return found


def kill(pid, number):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def alive(pids):
    return [pid for pid in pids if Path("/proc", str(pid)).exists()]


def until(true, *agents):
    """Wait until something holds; returns how long that took. Fails if an agent ends before."""
    began = time.monotonic()
    while not true():
        for agent in agents:
            assert agent.process.poll() is None or true(), agent.said
        time.sleep(0.02)
    return time.monotonic() - began


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Machines:
    """Two network namespaces, joined by a cable: `before[n]` begins a command line on machine n."""

    def __init__(self):
        names = [f"charloom{os.getpid()}{n}" for n in "ab"]
        self.names = names
        self.before = [("ip", "netns", "exec", name) for name in names]

    def __enter__(self):
        a, b = self.names
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", a, "type", "veth", "peer", "name", "cable", "netns", b)
        for name, address in zip(self.names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for link in ("lo", "cable"):
                ip("-n", name, "link", "set", link, "up")
        return self

    def __exit__(self, *_):
        for name in self.names:
            ip("netns", "del", name)

    def cut(self):
        """Pull the cable: every packet between them is lost, and nobody told."""
        ip("-n", self.names[0], "link", "set", "cable", "down")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def has_namespaces():
    """Whether this user may make network namespaces."""
    try:
        with Machines():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
