"""The model as numba compiles it: each answer is predicted, coded and learned, in whole numbers.

Only shifts and divisions of whole numbers round, so that a text has the same code on every
processor, and in plain Python, a thousand times as slowly. All numbers are below 2^63, hashes
below 2^32. What another model predicts comes in as floats, which are added, multiplied and divided
alone: with it, the code is the same where those are, as with network.py.
"""

import math
from typing import NamedTuple

import numpy as np

from charloom.models.jit import allocating_kernel
from charloom.models.jit import inlined_strict_kernel as inlined_kernel
from charloom.models.jit import strict_kernel as kernel
from charloom.models.mixing.network import Network, predict, read
from charloom.models.mixing.tables import FINE, LIMIT, ONE, UNIT, Tables
from charloom.models.mixing.tree import DEEPEST, Integers, Tree
from charloom.models.mixing.vectors import INPUTS, dot, learn
from charloom.models.prefetch import prefetch

ORDERS = 7  # contexts of the last 1 to 7 characters
CONTEXTS = ORDERS + 3  # and of this word, this word and the last, the two before the last one
# Of INPUTS logits two are what each context says, then come the match, a constant, what a model
# says, and zeros.
STRIDE = 176  # logits between two corrections, of which there are 2 LIMIT / STRIDE + 1
SETS = 4096  # of weights, at most, by the last character or the question: rare ones share one
SHORTEST = 6  # characters that a match has at least
LONGEST = 40  # characters of a match that are told apart
NEW = 1 << 14 << 16  # p = 1/2, never asked
SCORE, ENCODE, DECODE = 0, 1, 2
LEAST = 1e-12  # of a probability that comes in
LN2, ROOT = math.log(2), math.sqrt(0.5)

_WORD = 0xFFFFFFFF


class Memory(NamedTuple):
    """All that the model has learned."""

    # (CONTEXTS, 2^k, 8): of a context and three questions in a row, a check and seven numbers:
    # 15 bits of p, 8 of how often it was asked, 8 of what history that left.
    bits: np.ndarray
    likely: np.ndarray  # (CONTEXTS, S) p after a history, out of 2^FINE
    matched: np.ndarray  # (LONGEST + 1,) p that a match goes on, out of 2^FINE, by its length
    latest: np.ndarray  # (2^k,) where the last ORDERS characters came before, by their hash
    by_order: np.ndarray  # (4 (ORDERS + 1), INPUTS) weights out of 2^16, by what is known
    by_node: np.ndarray  # (K, INPUTS) by the question
    by_last: np.ndarray  # (V, INPUTS) by the last character
    final: np.ndarray  # (4 (ORDERS + 1), 3) of the three
    corrected: np.ndarray  # (2^k, 33) p by the last character, the question and p
    now: Integers  # (6,): see the names below


MATCH, LENGTH, HASH, WORD, LAST_WORD, SEEN = range(6)


class Room(NamedTuple):
    """Room to compute in."""

    hashes: Integers  # (CONTEXTS,) of the contexts of a character
    rows: Integers  # (CONTEXTS,) theirs for three questions
    products: Integers  # (CONTEXTS,) that rows are found by
    x: np.ndarray  # (INPUTS,) logits
    three: np.ndarray  # (3,) what the sets of weights make of them
    shares: np.ndarray  # (V - 1, 2) what another model says
    ahead: Integers  # (1,) where a match of the next character is looked for


def new_room(V: int) -> Room:
    """Return such room for V characters."""
    hashes, rows, products = (np.zeros(CONTEXTS, np.int64) for _ in range(3))
    x, three = np.zeros(INPUTS, np.int32), np.zeros(3, np.int32)
    return Room(
        hashes, rows, products, x, three, np.zeros((max(V - 1, 0), 2)), np.zeros(1, np.int64)
    )


class Coder(NamedTuple):
    """An arithmetic coder of 32 bits and the bytes that it writes or reads."""

    bytes: np.ndarray  # (n,)
    state: Integers  # (4,) the interval's two ends, what was read, and the place in bytes


LOW, HIGH, READ, PLACE = range(4)


@kernel
def mixed(h: int, value: int) -> int:
    """Return a hash (32 bits) of a hash and one more value."""
    h = ((int(h) ^ int(value)) * 0x2C1B3C6D + 0x297A2D39) & 0x3FFFFFFFFFFFFFFF
    return (h ^ (h >> 29)) & _WORD


@inlined_kernel
def ask_for(memory: Memory, room: Room, node: int) -> None:
    """Ask for the rows of all contexts at a node: they come from far."""
    size = memory.bits.shape[1]
    for i in range(CONTEXTS):
        room.products[i] = mixed(room.hashes[i], node) * 0x2545F491
    for i in range(CONTEXTS):
        prefetch(memory.bits, 8 * (i * size + ((room.products[i] >> 38) & (size - 1))))


@inlined_kernel
def found(bits: np.ndarray, product: int) -> int:
    """Return the row of a hash, in place of what was asked less often if it has none yet."""
    row: int = (product >> 38) & (bits.shape[0] - 1)
    check = (product >> 20) & 0xFFFF
    if bits[row, 0] == check:
        return row
    other = row ^ 1
    if bits[other, 0] == check:
        return other
    if (bits[other, 1] >> 8) & 0xFF < (bits[row, 1] >> 8) & 0xFF:
        row = other
    bits[row, 0] = check
    for place in range(1, 8):
        bits[row, place] = NEW
    return row


@inlined_kernel
def within_limits(logit: int) -> int:
    """Return the logit, or the nearest one that tables have."""
    return min(max(logit, 1 - LIMIT), LIMIT - 1)


@inlined_kernel
def encode(coder: Coder, p: int, bit: int) -> None:
    """Narrow the interval to the bit's part of it, the lower p of it for 1; write what is sure."""
    low, high = coder.state[LOW], coder.state[HIGH]
    middle = low + (((high - low) * p) >> 16)
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 24 == 0:
        coder.bytes[coder.state[PLACE]] = high >> 24
        coder.state[PLACE] += 1
        low, high = (low << 8) & _WORD, ((high << 8) & _WORD) | 0xFF
    coder.state[LOW], coder.state[HIGH] = low, high


@inlined_kernel
def decode(coder: Coder, p: int) -> int:
    """Return the bit in whose part of the interval the code is; zeros follow its last byte."""
    low, high, read = coder.state[LOW], coder.state[HIGH], coder.state[READ]
    middle = low + (((high - low) * p) >> 16)
    bit = 1 if read <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 24 == 0:
        low, high = (low << 8) & _WORD, ((high << 8) & _WORD) | 0xFF
        place = coder.state[PLACE]
        byte = coder.bytes[place] if place < coder.bytes.size else 0
        coder.state[PLACE] += 1
        read = ((read << 8) & _WORD) | byte
    coder.state[LOW], coder.state[HIGH], coder.state[READ] = low, high, read
    return bit


@inlined_kernel
def look_ahead(memory: Memory, text: np.ndarray, t: int, room: Room) -> None:
    """Ask for what `look_for_match` reads at the next character, and at the one after it."""
    prefetch(text, memory.latest[room.ahead[0]] - 1)
    if t + 1 < text.size:
        h = 0
        for order in range(1, ORDERS + 1):
            h = mixed(h, text[t + 2 - order] + 1 if t + 2 >= order else 0)
        room.ahead[0] = h & (memory.latest.size - 1)
        prefetch(memory.latest, room.ahead[0])


@inlined_kernel
def hash_contexts(memory: Memory, text: np.ndarray, t: int, hashes: Integers) -> None:
    """Write the hash of each context of the character t to hashes (CONTEXTS,)."""
    h = 0
    for order in range(1, ORDERS + 1):
        h = mixed(h, text[t - order] + 1 if t >= order else 0)
        hashes[order - 1] = mixed(h, order)
    memory.now[HASH] = h  # of the last ORDERS, by which matches are found
    word = memory.now[WORD]
    hashes[ORDERS] = mixed(word, ORDERS + 1)
    hashes[ORDERS + 1] = mixed(mixed(word, memory.now[LAST_WORD]), ORDERS + 2)
    skipped = mixed(text[t - 2] + 1 if t >= 2 else 0, text[t - 3] + 1 if t >= 3 else 0)
    hashes[ORDERS + 2] = mixed(skipped, ORDERS + 3)


@inlined_kernel
def look_for_match(memory: Memory, text: np.ndarray, t: int) -> None:
    """Note where what precedes the character t came before, at its latest, and for how long."""
    now = memory.now
    slot = now[HASH] & (memory.latest.size - 1)
    if now[LENGTH] == 0 and t >= SHORTEST:
        place, length = memory.latest[slot], 0
        while (
            length < LONGEST and place > length and text[place - length - 1] == text[t - length - 1]
        ):
            length += 1
        if length >= SHORTEST:
            now[MATCH], now[LENGTH] = place, length
    memory.latest[slot] = t


@inlined_kernel
def move_on(memory: Memory, text: np.ndarray, t: int, letter: np.ndarray) -> None:
    """Take the character t, which is known by now, into the match and the word."""
    now, c = memory.now, text[t]
    if now[LENGTH] > 0:
        if text[now[MATCH]] == c:
            now[MATCH] += 1
            now[LENGTH] = min(now[LENGTH] + 1, LONGEST)
        else:
            now[LENGTH] = 0
    if letter[c]:
        now[WORD] = mixed(now[WORD], c + 1)
    elif now[WORD] != 0:
        now[LAST_WORD], now[WORD] = now[WORD], 0


@inlined_kernel
def ask(memory: Memory, tables: Tables, rows: Integers, place: int, x: Integers) -> int:
    """Write to x what each context says of an answer; return how many characters are known of.

    One logit is of how such histories went on so far, and half a one of this context's own p. A
    context that is new says nothing.
    """
    known = 0
    for i in range(CONTEXTS):
        bits = memory.bits[i, rows[i], place]
        history = bits & 0xFF
        if history != 0 and i < ORDERS:
            known = i + 1
        by_history = tables.stretch[memory.likely[i, history] >> (FINE - 12)]
        own = tables.stretch[bits >> 19] >> 1
        x[2 * i] = by_history if history != 0 else 0
        x[2 * i + 1] = own if history != 0 else 0
    return known


@kernel
def share_out(tree: Tree, p: np.ndarray, shares: np.ndarray) -> None:
    """Write to shares (V - 1, 2) what p (V,) says of both answers at each node, added up."""
    for node in range(shares.shape[0] - 1, -1, -1):  # those behind it have higher numbers
        for bit in range(2):
            behind = tree.child[node, bit]
            if behind < 0:
                shares[node, bit] = p[~behind]
            else:
                shares[node, bit] = shares[behind, 0] + shares[behind, 1]


@kernel
def logit_of(shares: np.ndarray) -> int:
    """Return the logit of 1 by the shares (2,) of 0 and 1."""
    logit = UNIT * ln((shares[1] + LEAST) / (shares[0] + LEAST))
    return int(min(max(logit, 1.0 - LIMIT), LIMIT - 1.0))


@kernel
def ln(x: float) -> float:
    """Return the natural logarithm within 1e-8, by arithmetic that is the same everywhere.

    x = m 2^e with m from 1/sqrt(2) to sqrt(2), and ln(m) = 2 (s + s^3/3 + s^5/5 + ...) with
    s = (m - 1) / (m + 1).
    """
    m, e = math.frexp(x)
    if m < ROOT:
        m, e = 2 * m, e - 1
    s = (m - 1) / (m + 1)
    t = s * s
    return e * LN2 + 2 * s * (1 + t * (1 / 3 + t * (1 / 5 + t * (1 / 7 + t / 9))))


@inlined_kernel
def tell(memory: Memory, tables: Tables, rows: Integers, place: int, bit: int) -> None:
    """Let each context know an answer."""
    for i in range(CONTEXTS):
        bits = memory.bits[i, rows[i], place]
        history, times, p = bits & 0xFF, (bits >> 8) & 0xFF, bits >> 16
        likely = memory.likely[i, history]
        memory.likely[i, history] = nearer(likely, bit, FINE, 7) if history != 0 else likely
        p += ((bit * 0x7FFF - p) * tables.rate[times]) >> 16
        after = tables.after[history, bit]
        memory.bits[i, rows[i], place] = p << 16 | min(times + 1, 255) << 8 | after


@inlined_kernel
def nearer(p: int, bit: int, digits: int, shift: int) -> int:
    """Return p, out of 2^digits, moved to the bit by 2^-shift of the way."""
    return p + (((bit << digits) - bit - p) >> shift)


@kernel
def run(
    memory: Memory,
    tables: Tables,
    tree: Tree,
    letter: np.ndarray,
    text: np.ndarray,
    begin: int,
    end: int,
    coder: Coder,
    mode: int,
    nats: np.ndarray,
    outside: np.ndarray,
    room: Room,
) -> None:
    """Read the characters begin .. end - 1 of text (N,); to decode, write them there.

    Each is the way from the tree's root to a leaf, and each answer on it is predicted, coded, and
    learned from. To score, nats (end - begin,) gets the loss of each character; `letter` (V,) says
    which are of words. `outside` (end - begin, V) is what another model predicts, or (0, V).
    """
    x, three, shares = room.x, room.three, room.shares
    for t in range(begin, end):
        if outside.shape[0]:
            share_out(tree, outside[t - begin], shares)
        hash_contexts(memory, text, t, room.hashes)
        if mode != DECODE:  # what comes is known
            look_ahead(memory, text, t, room)
            node, code = 0, tree.code[text[t]]
            for depth in range(DEEPEST if tree.code.size > 1 else 0):
                if depth % 3 == 0:
                    ask_for(memory, room, node)
                node = tree.child[node, (code >> depth) & 1]
                if node < 0:
                    break
        look_for_match(memory, text, t)
        length = memory.now[LENGTH]
        awaited = text[memory.now[MATCH]] if length > 0 else -1
        last = text[t - 1] + 1 if t > 0 else 0
        rate = max(10, 40 - (memory.now[SEEN] >> 12))
        node, depth, place, likelihood = 0, 0, 1, 1.0  # 2^-992 at least
        c = 0 if mode == DECODE else text[t]
        while node >= 0 and tree.code.size > 1:
            if depth % 3 == 0:
                place = 1
                ask_for(memory, room, node)
                for i in range(CONTEXTS):
                    room.rows[i] = found(memory.bits[i], room.products[i])
            way = (last * 0x9E35 + node) & (memory.corrected.shape[0] - 1)
            for line in range(3):  # lines of the cache
                prefetch(memory.corrected, 33 * way + 16 * line)
            known = ask(memory, tables, room.rows, place, x)
            x[2 * CONTEXTS], x[2 * CONTEXTS + 1] = 0, 64
            x[2 * CONTEXTS + 2] = logit_of(shares[node]) if outside.shape[0] else 0
            strength = 0
            expected = (tree.code[awaited] >> depth) & 1 if awaited >= 0 else 0
            if awaited >= 0:
                logit = tables.stretch[memory.matched[length] >> (FINE - 12)]
                x[2 * CONTEXTS] = logit if expected else -logit
                strength = 1 if length < 12 else 2 if length < 24 else 3
            chosen = 4 * known + strength
            first = memory.by_order[chosen]
            second = memory.by_node[min(node, SETS - 1)]
            third = memory.by_last[min(last, SETS - 1)]
            final = memory.final[chosen]
            three[0] = within_limits(dot(first, x) >> 16)
            three[1] = within_limits(dot(second, x) >> 16)
            three[2] = within_limits(dot(third, x) >> 16)
            total = 0
            for i in range(3):
                total += int(final[i]) * int(three[i])
            logit = within_limits(total >> 16)
            corrected = memory.corrected[way]
            position = logit + LIMIT
            left, part = position // STRIDE, position % STRIDE
            p_mixed = tables.squash[position]
            p_corrected = (corrected[left] * (STRIDE - part) + corrected[left + 1] * part) // STRIDE
            p = min(max((p_mixed + p_corrected) >> 1, 1), ONE - 1)

            if mode == DECODE:
                bit = decode(coder, p)
            else:
                bit = (tree.code[c] >> depth) & 1
                if mode == ENCODE:
                    encode(coder, p, bit)
                else:
                    likelihood *= (p if bit else ONE - p) / ONE

            # Follow the gradient of the loss, which is the error times x (Mahoney 2005).
            learn(first, x, ((bit << 16) - tables.squash[three[0] + LIMIT]) * rate)
            learn(second, x, ((bit << 16) - tables.squash[three[1] + LIMIT]) * rate)
            learn(third, x, ((bit << 16) - tables.squash[three[2] + LIMIT]) * rate)
            step = 2 * ((bit << 16) - p_mixed)
            for i in range(3):
                final[i] += (int(three[i]) * step + (1 << 19)) >> 20
            close = left + 1 if 2 * part >= STRIDE else left
            corrected[close] = nearer(corrected[close], bit, 16, 6)
            tell(memory, tables, room.rows, place, bit)
            if awaited >= 0:
                hit = 1 if bit == expected else 0
                memory.matched[length] = nearer(memory.matched[length], hit, FINE, 7)
                if not hit:
                    awaited = -1
            node, depth, place = tree.child[node, bit], depth + 1, 2 * place + bit
        if mode == DECODE:
            text[t] = ~node if tree.code.size > 1 else 0
        elif mode == SCORE:
            nats[t - begin] = -np.log(likelihood)
        move_on(memory, text, t, letter)
        memory.now[SEEN] += 1


@allocating_kernel
def run_with(
    network: Network,
    memory: Memory,
    tables: Tables,
    tree: Tree,
    letter: np.ndarray,
    text: np.ndarray,
    begin: int,
    end: int,
    coder: Coder,
    mode: int,
    nats: np.ndarray,
    outside: np.ndarray,
    room: Room,
) -> None:
    """Do what `run` does, with what a network predicts, which reads along; outside is (1, V).

    Coding and decoding go through the very same steps.
    """
    for t in range(begin, end):
        predict(network, outside[0])
        own = nats[t - begin : t - begin + 1]
        run(memory, tables, tree, letter, text, t, t + 1, coder, mode, own, outside, room)
        if network.ids[text[t]] >= 0:
            read(network, network.ids[text[t]])
