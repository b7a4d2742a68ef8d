from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from charloom.models.torchnet.scan import gates, scan  # noqa: E402

pytestmark = pytest.mark.torch
torch.set_num_threads(1)  # so little work is not shared out

LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 31, 64]


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(dtype)


def problem(length, lanes=2, width=3, dtype=torch.float64):
    """a, b and the h before them."""
    a = torch.sigmoid(drawn(lanes, length, width, seed=1, dtype=dtype))
    return a, drawn(lanes, length, width, seed=2, dtype=dtype), drawn(lanes, width, dtype=dtype)


def step_by_step(a, b, h):
    found = []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        found.append(h)
    return torch.stack(found, 1)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_scan_gives_what_steps_give(length):
    a, b, h = problem(length)
    torch.testing.assert_close(scan(a, b, h), step_by_step(a, b, h), rtol=0, atol=1e-14)


@pytest.mark.parametrize("length", LENGTHS)
def test_its_gradient_is_that_of_the_steps(length):
    tensors = [x.requires_grad_() for x in problem(length)]
    weights = drawn(*tensors[1].shape, seed=3)
    found, expected = (
        torch.autograd.grad((way(*tensors) * weights).sum(), tensors)
        for way in (scan, step_by_step)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_its_gradient_is_that_of_differences():
    tensors = [x.requires_grad_() for x in problem(5)]
    assert torch.autograd.gradcheck(scan, tensors)


def test_nothing_kept_is_b_and_all_kept_is_a_sum():
    a, b, h = problem(13)
    assert torch.equal(scan(torch.zeros_like(a), b, h), b)
    total = h[:, None] + b.cumsum(1)
    torch.testing.assert_close(scan(torch.ones_like(a), b, h), total, rtol=0, atol=1e-14)


def test_a_long_scan_in_float32_is_as_exact_as_a_short_one():
    a, b, h = problem(8192)
    found = scan(a.float(), b.float(), h.float())
    torch.testing.assert_close(found.double(), step_by_step(a, b, h), rtol=0, atol=2e-6)


def test_a_scan_in_two_pieces_is_one():
    a, b, h = problem(20)
    whole = scan(a, b, h)
    first = scan(a[:, :7], b[:, :7], h)
    second = scan(a[:, 7:], b[:, 7:], first[:, -1])
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-14)


def test_the_gates_of_mingru():
    z, n = drawn(2, 3, 4, seed=1), drawn(2, 3, 4, seed=2)
    a, b = gates("mingru", torch.cat([z, n], -1))
    torch.testing.assert_close(a, 1 - torch.sigmoid(z))
    torch.testing.assert_close(b, torch.sigmoid(z) * n)


def test_the_gates_of_minlstm():
    f, i, n = (drawn(2, 3, 4, seed=seed) for seed in (1, 2, 3))
    a, b = gates("minlstm", torch.cat([f, i, n], -1))
    total = torch.sigmoid(f) + torch.sigmoid(i)
    torch.testing.assert_close(a, torch.sigmoid(f) / total)
    torch.testing.assert_close(b, torch.sigmoid(i) / total * n)


@pytest.mark.parametrize("mixer", ["mingru", "minlstm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_of_any_size_keep_and_take_shares_of_one(mixer, dtype):
    sizes = [-1e4, -200.0, -30.0, 0.0, 30.0, 200.0, 1e4]
    rows = list(product(sizes, sizes)) if mixer == "minlstm" else [(z,) for z in sizes]
    columns = torch.tensor([[*row, 1.0] for row in rows], dtype=dtype, requires_grad=True)
    a, b = gates(mixer, columns)
    assert ((a >= 0) & (a <= 1)).all()
    torch.testing.assert_close(a + b, torch.ones_like(a))  # n is 1
    assert torch.autograd.grad((a - 2 * b).sum(), columns)[0].isfinite().all()
