"""The benchmarks: all candidates do the same work."""

import jax
import numpy as np
import pytest

from benchmarks import memory, peers_jax, throughput

NUM_STEPS, NUM_CHAINS = 300, 64


def squared_jumps(make, name):
    """The mean squared length of a step of each chain, which depends on step size,
    length and acceptance."""
    key = jax.random.key(5)
    start = jax.random.normal(key, (NUM_CHAINS, 2))
    x = np.asarray(make(name, 2, NUM_STEPS, key, start)())
    assert x.shape == (NUM_STEPS, NUM_CHAINS, 2) and np.isfinite(x).all()
    return (np.diff(x, axis=0) ** 2).sum(axis=-1).mean(axis=0)


@pytest.mark.parametrize("name", throughput.KERNELS)
def test_peers_take_the_same_steps(name, monkeypatch):
    pytest.importorskip("tensorflow_probability")
    pytest.importorskip("numpyro")
    ours = squared_jumps(throughput.ours, name)

    def errors(theirs):
        return abs(ours.mean() - theirs.mean()) / np.sqrt(
            (ours.var() + theirs.var()) / NUM_CHAINS
        )

    for peer, make in peers_jax.peers(name).items():
        if peer.endswith("best"):
            assert errors(squared_jumps(make, name)) < 4, peer
    sizes = peers_jax.step_sizes(2)
    monkeypatch.setattr(
        throughput, "step_sizes", lambda dim: {k: 0.5 * v for k, v in sizes.items()}
    )
    assert errors(squared_jumps(throughput.ours, name)) > 4  # the control


def test_what_is_kept_is_the_positions_and_a_statistic_does_not_grow():
    kept = lambda form, num_steps: memory.measure("random_walk", form, num_steps)[
        "kept"
    ]
    positions = 4 * memory.DIM * memory.NUM_CHAINS * 100
    assert positions < kept("ebmjax default", 100) < 1.2 * positions
    assert kept("ebmjax moments", 100) == kept("ebmjax moments", 1000) < 0.1 * positions
    assert kept("blackjax default", 100) > 1.5 * positions  # the control
