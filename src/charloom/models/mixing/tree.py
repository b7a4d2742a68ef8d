"""Huffman's tree: each character as a few questions with two answers."""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

DEEPEST = 62  # answers: they are bits of an int64


class Tree(NamedTuple):
    """A binary tree with V characters as leaves; its V - 1 nodes are numbered by depth."""

    child: Integers  # (V - 1, 2) the node behind each answer; ~c, below 0, is character c
    code: Integers  # (V,) the answers on the way to each character; the first is the lowest bit


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Return how many answers each of V characters needs, by how often it comes (Huffman 1952)."""
    queue = [(count, place, [place]) for place, count in enumerate(counts)]
    heapq.heapify(queue)
    lengths = [0] * len(counts)
    while len(queue) > 1:
        (few, place, some), (more, _, others) = heapq.heappop(queue), heapq.heappop(queue)
        for leaf in some + others:
            lengths[leaf] += 1
        heapq.heappush(queue, (few + more, place, some + others))
    return lengths


def tree_of(lengths: Sequence[int]) -> Tree:
    """Return the tree of V characters whose code lengths are these, in ascending order.

    It follows from them alone (the canonical code). Raises ValueError if there is no such tree.
    """
    child: list[list[int]] = []
    code: list[int] = []
    places = (
        [(-1, 0, 0)] if lengths else []
    )  # of one depth: node above, answer there, all answers so far
    for depth in range(max(lengths, default=0) + 1):
        leaves = lengths.count(depth)
        if not leaves <= len(places) <= len(lengths) - len(code) or depth > DEEPEST:
            raise ValueError("there is no such tree")
        for above, answer, answers in places[:leaves]:
            if depth:
                child[above][answer] = ~len(code)
            code.append(answers)
        below = []
        for above, answer, answers in places[leaves:]:
            if depth:
                child[above][answer] = len(child)
            below += [(len(child), bit, answers | bit << depth) for bit in (0, 1)]
            child.append([0, 0])
        places = below
    if places or list(lengths) != sorted(lengths):
        raise ValueError("there is no such tree")
    return Tree(np.array(child, np.int64).reshape(-1, 2), np.array(code, np.int64))
