"""The Metropolis-Hastings accept step."""

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from ebmjax.kernels.proposal import Proposal


def to(value, log_ratio=0.0):
    """A proposal that always returns one fixed point."""
    return Proposal(
        lambda key, position: None,
        lambda noise, state: (
            eb.State(jnp.float32(value), ENERGY(jnp.float32(value))),
            jnp.float32(log_ratio),
        ),
    )


ENERGY = lambda x: jnp.where(x > 5, jnp.nan, jnp.where(x < -5, -jnp.inf, 0.5 * x**2))


def move(value, exponential, log_ratio=0.0, start=1.0):
    kernel = eb.metropolis(ENERGY, to(value, log_ratio))
    return kernel.move(
        (None, jnp.float32(exponential)), kernel.init(jnp.float32(start))
    )


def test_it_accepts_when_minus_the_exponential_is_below_the_log_ratio():
    # E(1) - E(2) = -1.5
    for exponential, is_accepted in ((1.49, False), (1.51, True)):
        state, info = move(2.0, exponential)
        assert info.is_accepted == is_accepted and state.position == (
            2.0 if is_accepted else 1.0
        )
        assert np.isclose(info.acceptance_rate, np.exp(-1.5)) and np.isclose(
            info.energy_error, 1.5
        )


def test_the_ratio_of_the_proposal_counts():
    assert move(2.0, 0.01, log_ratio=1.5)[1].is_accepted
    assert not move(2.0, 0.01, log_ratio=1.4)[1].is_accepted


def test_nan_and_minus_infinity_are_rejected_and_counted():
    for value in (6.0, -6.0):
        state, info = move(value, 1e6)
        assert (
            not info.is_accepted
            and info.num_nonfinite == 1
            and info.acceptance_rate == 0
        )
        assert state.position == 1.0 and state.energy == 0.5


def test_impossible_moves_are_never_accepted(key):
    """With log(uniform) in float32, a uniform of zero accepts anything, once in
    2^23."""
    exponential = jax.random.exponential(key, (2**22,))
    assert float(exponential.max()) < 100
    assert not move(2.0, float(exponential.max()), log_ratio=-1e6)[1].is_accepted


def test_a_user_proposal_with_log_q_is_correct_and_with_swapped_arguments_is_not(
    key,
):
    """Exp(1) by a random walk of log x: without the ratio, or swapped, the mean is far
    from 1."""
    energy = lambda x: x
    q = lambda key, x: x * jnp.exp(0.7 * jax.random.normal(key))
    log_q = lambda to, given: -jnp.log(to) - 0.5 * (jnp.log(to / given) / 0.7) ** 2
    start = jax.random.exponential(key, (20_000,))

    def mean(kernel):
        return float(
            eb.sample(key, kernel, start, 100, collect=eb.discard).state.position.mean()
        )

    error = 1 / np.sqrt(20_000)
    assert abs(mean(eb.metropolis(energy, q, log_q=log_q)) - 1) < 5 * error
    swapped = eb.metropolis(energy, q, log_q=lambda to, given: log_q(given, to))
    for wrong in (swapped, eb.metropolis(energy, q, symmetric=True)):
        assert abs(mean(wrong) - 1) > 20 * error


def test_unadjusted_rejects_a_step_to_a_nonfinite_energy():
    kernel = eb.unadjusted(ENERGY, to(6.0))
    state, info = kernel.move(None, kernel.init(jnp.float32(1.0)))
    assert state.position == 1.0 and not info.is_accepted and info.num_nonfinite == 1


def test_rates_are_probabilities():
    assert move(0.1, 0.0)[1].acceptance_rate == 1.0  # downhill
    assert 0 < move(2.0, 0.0)[1].acceptance_rate < 1


def test_the_noise_of_the_accept_is_never_infinite():
    """A float32 uniform is zero once in 2^23 draws; 2^26 of them."""
    kernel = eb.metropolis(ENERGY, to(2.0))
    draw = jax.jit(
        lambda key: jnp.max(
            jax.vmap(lambda k: kernel.draw(k, jnp.float32(0.0))[1])(
                jax.random.split(key, 2**21)
            )
        )
    )
    assert all(np.isfinite(draw(jax.random.key(i))) for i in range(32))
