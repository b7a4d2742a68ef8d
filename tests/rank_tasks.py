"""What tests of several processes let rank 0 do, and what they do to a rank before."""

import json
import math
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch

from charloom.config import ModelConfig, TrainConfig, replace
from charloom.data.batches import open_batches
from charloom.errors import CharloomError
from charloom.models.engines import create_learner
from charloom.models.torchnet import ranks, team
from charloom.models.torchnet.learner import TorchLearner
from charloom.runs import checkpoint
from charloom.runs.run import Run
from charloom.signals import Interrupted
from charloom.training import loop as training
from charloom.training import writer as keeping
from charloom.training.state import TrainState

V = 11
TRAIN = TrainConfig(batch=5, length=6, optimizer="adamw", clip_norm=1.0, dropout=0.25, seed=3)
TEXT = np.random.default_rng(7).integers(0, V, 400).astype(np.uint8)


def packed(arrays):
    return {name: [a.dtype.str, a.shape, a.tobytes().hex()] for name, a in arrays.items()}


def unpacked(arrays):
    return {
        name: np.frombuffer(bytes.fromhex(content), dtype).reshape(shape)
        for name, (dtype, shape, content) in arrays.items()
    }


def begin(cell="lstm", **changes):
    model = ModelConfig(cell=cell, layers=2, hidden=4)
    train = replace(TRAIN, **changes)
    return create_learner(model, train, V, "torch", "float64", 5), open_batches(TEXT, train)


def update(learner, lanes, steps):
    losses = []
    for _ in range(steps):
        inputs, targets, fresh = lanes.next()
        if fresh:
            learner.reset()
        losses.append(float(learner.update(inputs, targets, 0.02)))
    return losses


def train(steps, cell="lstm", changes=None):
    """Train a little; return losses, and all there is to save."""
    learner, lanes = begin(cell, **(changes or {}))
    losses = update(learner, lanes, steps)
    return losses, packed(learner.arrays())


def stop_and_go(steps):
    """Train, save, go on; then load into a new learner and go on from there: both ways' ends."""
    learner, lanes = begin()
    update(learner, lanes, steps)
    saved, cursor = {n: a.copy() for n, a in learner.arrays().items()}, lanes.cursor()
    ends = []
    for again in (False, True):
        if again:
            learner, lanes = begin()
            update(learner, lanes, 2)
            learner.load(saved)
            lanes.seek(cursor)
        losses = update(learner, lanes, steps)
        ends.append([losses, packed(learner.arrays())])
    return ends


def weights_alone():
    """Load weights into a learner that has moved: all else is as in a fresh one."""
    learner, lanes = begin()
    fresh = {n: a.copy() for n, a in learner.arrays().items()}
    update(learner, lanes, 3)
    learner.load({n: a for n, a in fresh.items() if "." in n and n.split(".")[0] not in OTHERS})
    return packed(fresh), packed(learner.arrays())


OTHERS = ("optimizer", "state", "rng")


def misfit():
    """Be refused, and go on."""
    learner, lanes = begin()
    update(learner, lanes, 2)
    wrong = {n: np.zeros(3) for n in learner.arrays()}
    try:
        learner.load(wrong)
    except CharloomError as error:
        code = error.code
    return code, update(learner, lanes, 2)


def losses():
    """Losses without an update, from the carried state and after a reset; and what they changed."""
    learner, lanes = begin()
    update(learner, lanes, 2)
    before = packed(learner.arrays())
    inputs, targets, _ = lanes.next()
    found = [float(learner.loss(inputs, targets))]
    same = packed(learner.arrays()) == before
    learner.reset()
    return [*found, float(learner.loss(inputs, targets))], same


def loaded(names):
    """Train a little; return which of these modules that has loaded."""
    train(2)
    return [name for name in names if name in sys.modules]


def nan_somewhere(at):
    """Take steps of which one is poisoned by a hook; return losses and whether it moved then."""
    learner, lanes = begin()
    told, moved = [], []
    for _ in range(at + 2):
        before = packed(learner.arrays())
        told += update(learner, lanes, 1)
        after = packed(learner.arrays())
        names = [n for n in after if not n.startswith("state.")]
        moved.append(any(before[n] != after[n] for n in names))
    return [math.isfinite(loss) for loss in told], moved


def interrupted(steps):
    """Be interrupted in the middle of an update, and go on."""
    learner, lanes = begin()
    came = []

    def catch(number, _frame):
        came.append(number)
        raise Interrupted

    signal.signal(signal.SIGTERM, catch)
    original = TorchLearner.update

    def loud(self, *arguments):
        signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments)

    losses = update(learner, lanes, steps)
    TorchLearner.update = loud
    try:
        update(learner, lanes, 1)
    except Interrupted:
        came.append("interrupted")
    TorchLearner.update = original
    return losses, came, update(learner, lanes, steps)


def on_threads(count):
    """Take a step on so many threads of each rank; return how many the leader tells of."""
    learner, lanes = begin()
    learner.threads = count
    update(learner, lanes, 1)
    return learner.threads


# ---- hooks: what is done to one rank before it begins


def record_threads(path):
    """Write down on how many threads this rank moves its weights."""
    original = TorchLearner._move

    def move(self, rate):
        Path(path).write_text(str(torch.get_num_threads()))
        return original(self, rate)

    TorchLearner._move = move


def record(path):
    """Write down what each update of this rank reads."""
    original = TorchLearner.update

    def update(self, inputs, targets, rate):
        with Path(path).open("a") as file:
            file.write(json.dumps([inputs.tolist(), targets.tolist(), rate]) + "\n")
        return original(self, inputs, targets, rate)

    TorchLearner.update = update


def compare_always():
    """Compare the replicas after every step."""
    ranks.UPDATES_PER_COMPARISON = 1


def stop_after(step):
    """Send SIGTERM to this process once so many updates have been made."""
    original = TrainState.count

    def count(self, losses):
        original(self, losses)
        if self.step >= step:
            os.kill(os.getpid(), signal.SIGTERM)

    TrainState.count = count


def impatient():
    """Try soon again to save what could not be saved."""
    keeping.RETRY_SECONDS = training.RETRY_SECONDS = 0.2


def full_disk(first, last):
    """Let a few of the saves fail, as on a full disk."""
    original, made = Run.save, [0]

    def save(self, *arguments):
        made[0] += 1
        if first <= made[0] <= last:
            raise CharloomError("the disk is full", "unwritable")
        return original(self, *arguments)

    Run.save = save


def alone_at_save(number):
    """Within a save, once all is written but its name, kill the other ranks, and wait."""
    team.GRACE_SECONDS = 0.1
    original, left = checkpoint._publish, [number]

    def publish(temporary, final):
        left[0] -= 1
        if left[0] == 0:
            for pid in ranks.team()._siblings:
                os.kill(pid, signal.SIGKILL)
            signal.pause()
        return original(temporary, final)

    checkpoint._publish = publish


def impatient_at(number):
    """Give the others a second only to come to the barrier of that number, and then end."""
    team.GRACE_SECONDS = 0.1
    _at_barrier(number, lambda barrier, how: barrier(**how | {"timeout": timedelta(seconds=1)}))


def silent_at(number):
    """Stop this process instead of coming to the barrier of that number."""
    _at_barrier(number, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))


def _at_barrier(number, act):
    original, left = torch.distributed.monitored_barrier, [number]

    def barrier(**how):
        left[0] -= 1
        return act(original, how) if left[0] == 0 else original(**how)

    torch.distributed.monitored_barrier = barrier


def late(seconds):
    """Begin so much later."""
    time.sleep(seconds)


def at_update(number, what):
    """Before an update of this rank, do something with the learner: one of the below."""
    original, left = TorchLearner.update, [number]

    def update(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            globals()[what](self)
        return original(self, *arguments)

    TorchLearner.update = update


def poison(learner):
    """Let the next gradient be NaN."""
    original = learner._add_gradients

    def add(*arguments):
        state = original(*arguments)
        learner.gradients.vector[0] = math.nan
        learner._add_gradients = original
        return state

    learner._add_gradients = add


def drift(learner):
    """Change one weight by less than an update does; its last bit alone could be rounded away."""
    with torch.no_grad():
        flat = next(iter(learner.layout.values())).parameter.view(-1)
        flat[0] += 1e-4


def fail(learner):
    raise RuntimeError("a part is broken")


def die(learner):
    os.kill(os.getpid(), signal.SIGKILL)
