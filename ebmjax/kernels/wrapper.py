"""What kernels made of one kernel have in common."""

from collections.abc import Sequence

from ebmjax import _validation as checks
from ebmjax._value import part, show, value
from ebmjax.base import Kernel, draw_noise


@value
class Wrapper(Kernel):
    """A kernel made of another, whose promises it keeps unless it says otherwise."""

    kernel: Kernel = part()

    @property
    def rejects_nonfinite(self):
        return self.kernel.rejects_nonfinite

    @property
    def needs_grad(self):
        return self.kernel.needs_grad

    @property
    def is_trajectory(self):
        return self.kernel.is_trajectory

    @property
    def is_reversible(self):
        return self.kernel.is_reversible

    @property
    def state_space(self):
        return self.kernel.state_space

    def init(self, position):
        return self.kernel.init(position)

    def draw(self, key, shapes):
        return draw_noise(self.kernel, key, shapes)


def check_kernels(kernels):
    """Raise unless these are kernels, one at least."""
    if not isinstance(kernels, Sequence) or not kernels:
        got = "none" if isinstance(kernels, Sequence) else show(kernels)
        raise ValueError(f"at least one kernel is needed, got {got}")
    for kernel in kernels:
        if not isinstance(kernel, Kernel):
            raise TypeError(f"kernels must be Kernels, got {checks.describe(kernel)}")
