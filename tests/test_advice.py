"""What is advised at a run's end: a table of situations, and what each leads to."""

import math
import re
from dataclasses import replace

import pytest

from charloom.training.advice import TEXTS, advise
from charloom.training.facts import Facts
from charloom.training.trend import Evaluation

FALLING = (3.0, 2.5, 2.2, 2.0, 1.9, 1.8)
LEVEL = (3.0, 1.5, 1.45, 1.44, 1.435, 1.434)
PAST = (3.0, 2.0, 1.5, 1.6, 1.7, 1.8)
LEFT = (3.0, 2.0, 1.5, 1.49, 1.495, 1.5)  # its best, though much has fallen since the middle
SWINGING = (3.0, 2.0, 2.4, 1.9, 2.3, 1.8)
SLOWLY = (3.0, 2.1, 2.0, 1.98, 1.97, 1.96)  # 2% in the second half


def seen(
    losses: tuple[float, ...], over: float = 1.05, minutes: float = 3.0
) -> tuple[Evaluation, ...]:
    """Evaluations at every tenth step; the training loss is `over` times lower."""
    share = minutes / max(1, len(losses))
    return tuple(
        Evaluation(10 * i, i * share, nats, nats / over) for i, nats in enumerate(losses, 1)
    )


def facts(losses: tuple[float, ...] = (), over: float = 1.05, **more: object) -> Facts:
    """Facts on a run of three minutes in which the text was read four times."""
    found = Facts(
        seen=seen(losses, over),
        characters=100_000,
        held_out=10_000,
        step=10 * len(losses),
        minutes=3.0,
        used=3.0,
        iterations=100,
        epochs=25.0,
        read=4.0,
        rate=0.02,
        larger="--hidden 256",
    )
    return replace(found, **more)


def untimed(losses: tuple[float, ...], over: float = 1.05, **more: object) -> Facts:
    more = {"minutes": None, "epochs": None, "iterations": 10 * len(losses)} | more
    return facts(losses, over, **more)


OTHERWISE = "hold out some of everything: --split lines, for a list"
SETBACKS = ((30, 20), (28, 20))
CAPPED = {"used": 0.4, "read": 24.9}
RESUMED = {"resumed": True, "epochs": None}
SITUATIONS = {
    "falling to its end": (facts(FALLING), "improving", "--minutes 10"),
    "falling, and few minutes": (facts(FALLING, minutes=0.3, used=0.3), "improving", "--minutes 1"),
    "falling, and many": (facts(FALLING, minutes=1000, used=1000), "improving", "--minutes 2000"),
    "falling, by iterations": (untimed(FALLING), "improving", "--iterations 120"),
    "falling, by epochs": (
        untimed(FALLING, iterations=None, epochs=5.0),
        "improving",
        "--epochs 10",
    ),
    "falling, a text read often by iterations": (
        untimed(FALLING, read=80.0),
        "improving",
        "--iterations 120",
    ),
    "falling, a text read often by iterations and learned by heart": (
        untimed(FALLING, 1.2, read=20.0),
        "used-up",
        None,
    ),
    "falling, a text read a few times, and learned by heart": (
        untimed(FALLING, 1.2, read=10.0),
        "improving",
        "--iterations 120",
    ),
    "falling, counting still has less": (
        facts(FALLING, final=1.81, counted=1.7),
        "improving-beaten",
        "--minutes 10",
    ),
    "falling, counting has more": (facts(FALLING, final=1.81, counted=1.82), "improving", None),
    "falling, fine-tuned": (facts(FALLING, fine_tuned=True, larger=""), "improving", None),
    "falling, the end is unlike the rest": (facts(FALLING, otherwise=OTHERWISE), "improving", None),
    "falling, at the most epochs": (facts(FALLING, **CAPPED), "used-up", None),
    "falling, near the most epochs": (facts(FALLING, read=20.0), "used-up", None),
    "falling, at the most epochs, counting has less": (
        facts(FALLING, counted=1.7, **CAPPED),
        "beaten",
        "--model ngram",
    ),
    "falling slowly": (facts(SLOWLY), "slow", "--minutes 10"),
    "falling slowly, by iterations": (untimed(SLOWLY), "slow", "--iterations 120"),
    "falling slowly, a text read often": (untimed(SLOWLY, read=140.0), "exhausted", None),
    "falling slowly, the end is unlike the rest": (
        facts(SLOWLY, otherwise=OTHERWISE),
        "unlike",
        "--split",
    ),
    "falling slowly, counting has a little less": (
        facts(SLOWLY, counted=1.95),
        "improving-beaten",
        "--minutes 10",
    ),
    "falling slowly, counting has much less": (facts(SLOWLY, counted=1.9), "beaten", None),
    "falling to the end of a resume": (
        facts(FALLING, **RESUMED, minutes=0.15, used=0.15),
        "improving",
        "charloom resume RUN --minutes 0.35",
    ),
    "falling after a resume, minutes edited out of its settings": (
        untimed(FALLING, resumed=True),
        "improving",
        "--iterations 120",
    ),
    "falling slowly after a resume": (
        facts(SLOWLY, **RESUMED),
        "slow",
        "charloom resume RUN --minutes 7",
    ),
    "falling slowly after many epochs and a resume": (
        facts(SLOWLY, **RESUMED, read=140.0),
        "exhausted",
        None,
    ),
    "level at the training loss after a resume": (
        facts(LEVEL, over=1.0, **RESUMED),
        "underfitting",
        "--hidden 256 --minutes 10",
    ),
    "falling, all of it is in the training part": (facts(FALLING, repeated=1.0), "repeated", None),
    "risen, half of it is in the training part": (facts(PAST, repeated=0.5), "repeated", None),
    "nothing left to learn that is not in the training part": (
        facts(LEVEL, final=0.001, repeated=1.0),
        "repeated",
        None,
    ),
    "interrupted past the best of a loss that measures memory": (
        untimed(PAST, finished=False, repeated=1.0),
        "stopped",
        None,
    ),
    "n-gram, all of it is in the training part": (facts(order=8, repeated=1.0), "repeated", None),
    "left its best behind, though less than at half": (facts(LEFT), "level", None),
    "risen": (facts(PAST), "turned", None),
    "risen, stopped early": (
        facts((2.0, 1.5, 1.54, 1.56, 1.58, 1.6), used=1.0),
        "turned",
        None,
    ),
    "risen at the most epochs": (facts(PAST, **CAPPED), "turned", None),
    "risen, counting has less": (facts(PAST, final=1.5, counted=1.4), "beaten", "--model ngram"),
    "risen, the end is unlike the rest": (facts(PAST, otherwise=OTHERWISE), "unlike", "--split"),
    "risen, fine-tuned": (facts(PAST, fine_tuned=True), "tuned-too-far", "0.0067"),
    "level": (facts(LEVEL), "level", None),
    "level, far above the training loss": (facts(LEVEL, over=1.3), "overfitting", None),
    "level, at the training loss": (
        facts(LEVEL, over=1.0),
        "underfitting",
        "--hidden 256 --minutes 10",
    ),
    "level, at the training loss, fine-tuned": (
        facts(LEVEL, over=1.0, fine_tuned=True, larger=""),
        "level",
        None,
    ),
    "level, counting has less": (facts(LEVEL, counted=1.4), "beaten", "--model ngram"),
    "level in less than an epoch, counting has less": (
        facts(LEVEL, read=0.4, counted=1.4),
        "unread",
        "--minutes 10",
    ),
    "risen in less than an epoch": (facts(PAST, read=0.4), "unread", "--minutes 10"),
    "falling, time left for the score at the end": (
        facts(FALLING, used=2.7, counted=1.4),
        "improving-beaten",
        "--minutes 10",
    ),
    "level in less than an epoch": (facts(LEVEL, read=0.4), "unread", "--minutes 10"),
    "level at the most epochs": (facts(LEVEL, over=1.3, **CAPPED), "overfitting", None),
    "level, with an unknown training loss": (facts(LEVEL, over=math.inf), "level", None),
    "few evaluations": (facts((3.0, 2.0, 1.0)), "unknown", "--minutes 10"),
    "few evaluations at the most epochs": (facts((3.0, 2.0), **CAPPED), "used-up", None),
    "few evaluations at the most epochs, counting has less": (
        facts((3.0, 2.0), counted=1.0, **CAPPED),
        "beaten",
        None,
    ),
    "infinite": (facts((math.inf,) * 6), "unknown", None),
    "nothing left to learn, but it falls": (
        facts((0.5, 0.1, 0.01, 0.001, 0.0005, 0.0003)),
        "solved",
        None,
    ),
    "nothing held out": (facts(held_out=None), "unmeasured", "--validation 0.1"),
    "too little to hold out": (facts(characters=90, held_out=0), "too-little-text", None),
    "no evaluations": (facts(final=1.5, counted=1.6), "no-curve", "--evaluate-every"),
    "no evaluations, counting has less": (facts(final=1.5, counted=1.4), "no-curve", None),
    "diverged, and went on": (facts(FALLING, setbacks=SETBACKS), "setbacks", "0.005."),
    "diverged too often": (
        facts(FALLING, finished=False, setbacks=(*SETBACKS, (25, 20))),
        "setbacks",
        "0.0025.",
    ),
    "interrupted": (untimed(FALLING, finished=False), "stopped", "charloom resume"),
    "interrupted after a setback": (
        untimed(FALLING, finished=False, setbacks=SETBACKS),
        "stopped",
        "charloom resume",
    ),
    "interrupted past its best": (untimed(PAST, finished=False), "stopped-past-best", None),
    "interrupted before an evaluation": (facts(finished=False), "stopped", None),
    "n-gram": (facts(order=8, counted=None), "counted", None),
    "imported": (untimed(PAST, program="torch-rnn"), "imported", None),
    "imported, how it was trained is not known": (
        untimed((), finished=False, held_out=None, program="min-char-rnn"),
        "imported",
        "charloom evaluate",
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_has_its_advice(situation: str) -> None:
    given, name, option = SITUATIONS[situation]
    found = advise(given)
    assert found.name == name
    assert option is None or option in found.advice
    assert found.text.endswith(".")
    assert not found.advice or found.advice.endswith(".")
    assert not re.search(r"[{}]|\bnan\b|None", found.text + found.advice)


def test_each_advice_has_its_situation() -> None:
    assert {name for _, name, _ in SITUATIONS.values()} == TEXTS.keys()


def test_more_time_is_advised_only_where_it_can_be_had_and_may_help() -> None:
    longer = {"improving", "improving-beaten", "slow", "unread", "unknown", "underfitting"}
    for given, name, _ in SITUATIONS.values():
        if re.search("--(minutes|iterations|epochs)", advise(given).advice):
            assert name in longer
            assert not given.used_up


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_minutes_to_resume_for_lead_to_those_that_are_advised(situation: str) -> None:
    given, name, _ = SITUATIONS[situation]
    found = advise(given)
    told = re.search("--minutes ([0-9.]*[0-9])", found.advice)
    assert (found.resume is None) is (told is None or name == "underfitting")
    if told and found.resume is not None:
        had = 0 if given.resumed else given.minutes
        assert float(told[1]) == pytest.approx(had + found.resume)
        assert ("charloom resume" in found.advice) is given.resumed


def test_what_was_seen_in_training_is_told_with_its_share() -> None:
    assert advise(facts(FALLING, repeated=1.0)).text.startswith("All of the validation part")
    assert advise(facts(FALLING, repeated=0.25)).text.startswith("25% of the validation part")
