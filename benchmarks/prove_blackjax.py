"""BlackJAX's kernels under the tests of ``ebmjax.verify``.

    pip install -e '.[bench]' && python benchmarks/prove_blackjax.py

Each algorithm is a pair ``init(position)``, ``step(key, state) -> (state, info)``, as
the tests require.  The target is N(0, 1), step size 1.5, two leapfrog steps.  Exit code
1 if a verdict differs from the known one.
"""

import sys
from functools import partial

import blackjax
import jax
import jax.numpy as jnp

from ebmjax import targets, verify

TARGET = targets.standard_normal(1)
LOG_DENSITY = lambda x: -TARGET.energy(x)
UNIT = {"step_size": 1.5, "inverse_mass_matrix": jnp.ones(1)}
KERNELS = {
    "hmc": (blackjax.hmc(LOG_DENSITY, **UNIT, num_integration_steps=2), True),
    "mala": (blackjax.mala(LOG_DENSITY, step_size=0.5), True),
    "nuts": (blackjax.nuts(LOG_DENSITY, **UNIT), True),
    "multinomial_hmc": (
        blackjax.multinomial_hmc(LOG_DENSITY, **UNIT, num_integration_steps=2),
        False,
    ),
}


def main() -> int:
    device = jax.devices()[0].device_kind
    print(f"blackjax {blackjax.__version__}, jax {jax.__version__}, {device}\n")
    is_as_known = True
    for i, (name, (kernel, is_right)) in enumerate(KERNELS.items()):
        test = partial(
            verify.invariance,
            kernel=kernel,
            target=TARGET,
            name=f"blackjax.{name}",
            num_steps=5,
        )
        report = verify.sequential(
            test, jax.random.fold_in(jax.random.key(0), i), num_chains=100_000
        )
        print(report, end="\n\n", flush=True)
        is_as_known &= report.is_passed == is_right
    return 0 if is_as_known else 1


if __name__ == "__main__":
    sys.exit(main())
