"""What cells open their gates by, if it is not the sigmoid: Keras' hard_sigmoid.

    y = slope a + 1/2, between 0 and 1        y' = slope, and 0 where y is 0 or 1

A slope of 0 stands for the sigmoid. It is the same at all places of a loop, of which LLVM so makes
two, without a choice inside.
"""

from typing import Any

from charloom.models.jit import inner_kernel


@inner_kernel
def hard_sigmoid(a: Any, slope: Any) -> None:
    """Turn the sums a (H,) into gates."""
    half, zero, one = type(slope)(0.5), type(slope)(0), type(slope)(1)
    for j in range(a.size):
        a[j] = min(max(slope * a[j] + half, zero), one)


@inner_kernel
def derivative(y: Any, slope: Any) -> Any:
    """Return the derivative of a gate that is y: sigmoid' = sigmoid (1 - sigmoid)."""
    if slope == 0:
        return y * (1 - y)
    return slope if 0 < y < 1 else type(slope)(0)


@inner_kernel
def derivative_by_itself(y: Any, slope: Any) -> Any:
    """Return the same divided by y, for what has been multiplied by y already."""
    if slope == 0:
        return 1 - y
    return slope / y if 0 < y < 1 else type(slope)(0)
