"""What :mod:`benchmarks.training` compares: each candidate makes a call that makes the
updates of a problem."""

import functools
import itertools
import queue
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ebmjax as eb
from ebmjax.energies import networks
from ebmjax.objectives import maximum_likelihood
from ebmjax.training import chain_init
from ebmjax.training import fit as training
from ebmjax.training import step as updates

LANGEVIN_STEP, CONFINEMENT, REGULARISATION, RESTART = 1e-2, 4.0, 1e-3, 0.05
STEP = (2 * LANGEVIN_STEP) ** 0.5  # of the leapfrog
NUM_POINTS = 10_000


class Problem(NamedTuple):
    """Sizes of a run."""

    widths: tuple[int, ...]  # dimension and features
    batch_size: int
    chain_steps: int
    buffer_size: int = 8192
    num_updates: int = 50  # of one timed call


PROBLEMS = {
    "points": Problem((2, 128, 128), 256, 20),
    "images": Problem((784, 512, 512), 128, 20, num_updates=25),
}


def network(problem: Problem):
    """The energy, parameters and data."""
    net = networks.MLP(problem.widths[1:], confinement=CONFINEMENT)
    data = jax.random.normal(jax.random.key(1), (NUM_POINTS, problem.widths[0]))
    return net.apply, net.init(jax.random.key(2), data[0]), data


def draw(problem: Problem):
    return lambda key, num: jax.random.normal(key, (num, problem.widths[0]))


class Stop(Exception):
    pass


def ours(problem: Problem) -> Callable[[], None]:
    """``fit`` in a separate thread, paused between chunks until the next call."""
    energy, params, data = network(problem)
    go: queue.Queue[bool] = queue.Queue()
    done: queue.Queue[BaseException | None] = queue.Queue()

    def hold(step, total, text):
        if step % problem.num_updates == 0:
            done.put(None)
            if not go.get():
                raise Stop

    def work():
        go.get()
        buffer = chain_init.replay_buffer(draw(problem), problem.buffer_size, RESTART)
        optimizer = optax.adam(1e-3, b1=0.0)
        loss = maximum_likelihood(
            energy, eb.ula, problem.chain_steps, regularisation=REGULARISATION
        )
        try:
            training.fit(
                jax.random.key(0),
                loss,
                optimizer,
                updates.init_state(jax.random.key(3), params, optimizer, buffer, STEP),
                data,
                buffer,
                num_updates=1_000_000 * problem.num_updates,
                batch_size=problem.batch_size,
                progress=hold,
            )
        except Stop:
            pass
        except BaseException as error:
            done.put(error)

    threading.Thread(target=work, daemon=True).start()

    def call(is_going=True):
        go.put(is_going)
        if is_going and (error := done.get()) is not None:
            raise error

    return call


def naive(problem: Problem) -> Callable[[], Any]:
    energy, params, data = network(problem)
    optimizer = optax.adam(1e-3, b1=0.0)
    num = problem.batch_size

    @jax.jit
    def update(params, opt_state, buffer, batch, key):
        key_slots, key_fresh, key_noise, key_which = jax.random.split(key, 4)
        slots = jax.random.randint(key_slots, (num,), 0, len(buffer))
        is_fresh = jax.random.bernoulli(key_which, RESTART, (num, 1))
        x = jnp.where(is_fresh, draw(problem)(key_fresh, num), buffer[slots])

        def langevin(x, key):
            grad = jax.vmap(jax.grad(energy, argnums=1), (None, 0))(params, x)
            return x - LANGEVIN_STEP * grad + STEP * jax.random.normal(
                key, x.shape
            ), None

        x, _ = jax.lax.scan(
            langevin, x, jax.random.split(key_noise, problem.chain_steps)
        )
        grads = jax.grad(functools.partial(loss_of, energy))(params, batch, x)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, buffer.at[slots].set(x)

    state = (
        params,
        optimizer.init(params),
        draw(problem)(jax.random.key(3), problem.buffer_size),
    )
    keys = (jax.random.fold_in(jax.random.key(0), t) for t in itertools.count())
    rng = np.random.default_rng(0)

    def run():
        nonlocal state
        for _ in range(problem.num_updates):
            state = update(*state, data[rng.integers(NUM_POINTS, size=num)], next(keys))
        return state

    return run


def loss_of(energy, params, batch, chains):
    of_params = jax.vmap(functools.partial(energy, params))
    data, model = of_params(batch), of_params(chains)
    return (
        data.mean()
        - model.mean()
        + REGULARISATION * (jnp.mean(data**2) + jnp.mean(model**2))
    )


def floor(problem: Problem) -> Callable[[], Any]:
    energy, params, data = network(problem)

    def update(carry, _):
        x, params = carry

        def one(x, _):
            grad = jax.vmap(jax.grad(energy, argnums=1), (None, 0))(params, x)
            return x - 1e-3 * grad, None

        x, _ = jax.lax.scan(one, x, None, length=problem.chain_steps)
        grads = jax.grad(functools.partial(loss_of, energy))(
            params, data[: problem.batch_size], x
        )
        return (x, jax.tree.map(lambda p, g: p - 1e-6 * g, params, grads)), None

    run = jax.jit(
        lambda carry: jax.lax.scan(update, carry, None, length=problem.num_updates)[0]
    )
    return functools.partial(run, (data[: problem.batch_size], params))


def torchebm(
    problem: Problem, python: str, num_threads: int, *, is_compiled: bool
) -> Callable[[], None]:
    """A process that makes this number of updates for each input line."""
    options = {
        k.replace("_", "-"): v for k, v in problem._asdict().items() if k != "widths"
    }
    options |= {"num-threads": num_threads, "num-points": NUM_POINTS}
    command = [
        python,
        str(Path(__file__).parent / "train_torch.py"),
        "--widths",
        *map(str, problem.widths),
    ]
    command += [text for k, v in options.items() for text in (f"--{k}", str(v))]
    process = subprocess.Popen(
        command + ["--is-compiled"] * is_compiled,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def call(is_going=True):
        assert process.stdin is not None and process.stdout is not None
        if not is_going:
            process.stdin.close()
            return
        process.stdin.write("\n")
        process.stdin.flush()
        if not process.stdout.readline():
            raise RuntimeError(
                "PyTorch ended; run benchmarks/train_torch.py by hand to see why"
            )

    return call
