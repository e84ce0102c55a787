"""Sampling of neural energies against its floor: its gradients and random numbers
alone.

floor of the gradients: a scan of ``value_and_grad`` over the chains, each at a point
    that depends on the last gradient, so that none is optimised away; as many as the
    kernel takes.
floor of the numbers: a scan of ``jax.random.normal`` in the shape of the positions,
    with a key for each step.

x gradients: relative to the first; x both: relative to their sum, the cost of a loop
with JAX's own numbers.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import ebmjax as eb
from benchmarks.measure import alternate, ratio

L = 10
GOALS = {
    "mlp": 1.05,
    "mlp 784": 1.25,
    "convolutional": 1.25,
}  # of x gradients; the quadratic form has none


def energies() -> dict[str, tuple[Any, tuple[int, ...], int]]:
    """Name to energy, shape of a point, number of chains.

    Perceptrons 16-128-128-1 and 784-128-128-1, two convolutions on 28x28, and a
    quadratic form of 784 variances, which costs almost nothing.
    """
    keys = jax.random.split(jax.random.key(7), 6)
    variances = jnp.linspace(0.5, 2.0, 784)
    kernels = [
        0.2 * jax.random.normal(keys[3], (3, 3, 1, 16)),
        0.1 * jax.random.normal(keys[4], (3, 3, 16, 32)),
    ]
    head = 0.05 * jax.random.normal(keys[5], (7 * 7 * 32,))

    def perceptron(dim):
        shapes = (dim, 128), (128, 128), (128, 1)
        dense = [
            jax.random.normal(k, s) / s[0] ** 0.5
            for k, s in zip(keys[:3], shapes, strict=True)
        ]

        def energy(x):
            hidden = jax.nn.silu(jax.nn.silu(x @ dense[0]) @ dense[1])
            return (hidden @ dense[2])[0] + 0.5 * jnp.sum(x**2)

        return energy

    def convolutional(x):
        hidden = x[None, :, :, None]
        for kernel in kernels:
            hidden = jax.nn.silu(
                jax.lax.conv_general_dilated(
                    hidden,
                    kernel,
                    (2, 2),
                    "SAME",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            )
        return hidden.ravel() @ head + 0.5 * jnp.sum(x**2)

    return {
        "mlp": (perceptron(16), (16,), 1024),
        "mlp 784": (perceptron(784), (784,), 128),
        "convolutional": (convolutional, (28, 28), 64),
        "quadratic": (lambda x: 0.5 * jnp.sum(x**2 / variances), (784,), 128),
    }


def kernels(energy) -> dict[str, tuple[Any, int]]:
    """Name to kernel and gradients per step."""
    return {
        "ula": (eb.ula(energy, 0.05), 1),
        "mala": (eb.mala(energy, 0.05), 1),
        "hmc": (eb.hmc(energy, 0.02, L), L),
    }


def ours(kernel, num_steps, key, positions):
    def run(key, positions):
        chains = eb.parallel(kernel)
        keys = eb.chain_keys(key, len(positions))
        return eb.run(
            keys, chains, chains.init(positions), num_steps, collect=eb.discard
        )[0]

    return functools.partial(jax.jit(run), key, positions)


def gradients(energy, num_grads, positions):
    def one(x, _):
        value, grad = jax.vmap(jax.value_and_grad(energy))(x)
        return x - 1e-3 * grad, jnp.sum(value)

    return functools.partial(
        jax.jit(lambda x: jax.lax.scan(one, x, None, length=num_grads)), positions
    )


def numbers(num_steps, key, positions):
    def one(total, key):
        return total + jax.random.normal(key, positions.shape), None

    run = lambda key, x: jax.lax.scan(one, x, jax.random.split(key, num_steps))[0]
    return functools.partial(jax.jit(run), key, positions)


def rows(
    *, is_quick: bool, num_repeats: int = 5
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """``(number, total, row)``, one row per energy and kernel."""
    cells = [(e, k) for e in energies() for k in ("ula", "mala", "hmc")]
    for number, (name, kernel_name) in enumerate(cells, 1):
        energy, shape, num_chains = energies()[name]
        kernel, num_grads = kernels(energy)[kernel_name]
        num_steps = max(5, (60 if is_quick else 200) // num_grads)
        key = jax.random.key(0)
        positions = jax.random.normal(key, (num_chains, *shape))
        timings = alternate(
            {
                "ebmjax": ours(kernel, num_steps, key, positions),
                "gradients": gradients(energy, num_steps * num_grads, positions),
                "numbers": numbers(num_steps, key, positions),
            },
            num_repeats=num_repeats,
        )
        row: dict[str, Any] = {
            "energy": name,
            "kernel": kernel_name,
            "num_chains": num_chains,
        }
        both = [
            g + n
            for g, n in zip(
                timings["gradients"].runs, timings["numbers"].runs, strict=True
            )
        ]
        row |= {
            "num_steps": num_steps,
            "x gradients": ratio(timings["ebmjax"].runs, timings["gradients"].runs),
        }
        row |= {"x both": ratio(timings["ebmjax"].runs, both), "goal": GOALS.get(name)}
        for candidate, timing in timings.items():
            row[f"{candidate} us/step"] = 1e6 * timing.median / num_steps
            row[f"{candidate} runs"] = timing.runs
        yield number, len(cells), row
