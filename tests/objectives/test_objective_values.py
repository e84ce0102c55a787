"""Objectives as values: their leaves, and that a new number compiles nothing."""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ebmjax as eb
from ebmjax._value import function, static, value
from ebmjax.energies import auxiliary_networks
from ebmjax.energies.flows import Flow, sample
from ebmjax.objectives import (
    Chains,
    Objective,
    Players,
    adversarial,
    batches,
    binary_data,
    joint,
    learned_stein,
    recovery,
    scale_updates,
    score_matching,
    stein,
)
from ebmjax.objectives import noise_contrastive as nce
from ebmjax.objectives.base import optional
from ebmjax.objectives.energy_discrepancy import energy_discrepancy
from ebmjax.objectives.flow_contrastive import flow_contrastive
from ebmjax.objectives.improved import improved_contrastive
from ebmjax.training.optimizer import as_optimizer

X = jax.random.normal(jax.random.key(0), (6, 2)) + 0.5
BITS = (X > 0.5).astype(jnp.float32)
LABELLED = batches.labelled(X, np.arange(6) % 2)
NOISE = nce.fitted_normal(X, widen=1.5)
NUM_TRACES = {"energy": 0}
PARAMS = jnp.array([1.2, 0.3])


def energy(params, x, noise=0.0):
    """Counts how often it is traced."""
    NUM_TRACES["energy"] += 1
    return 0.5 * params[0] * jnp.sum((x - params[1]) ** 2) / (1 + noise**2)


def class_energies(params, x):
    return jnp.stack([energy(params, x), energy(params, x + 1.0)])


def critic(params, x):
    return params[0] * x + params[1]


def critic_init(key, x):
    return 0.1 * jax.random.normal(key, (2,))


def sampler_init(key, x):
    return adversarial.affine_params(x.size)


def draw(flow, key, num):
    return flow[0] + jnp.exp(flow[1]) * jax.random.normal(key, (num, 2))


def log_prob(flow, x):
    return -0.5 * jnp.sum((x - flow[0]) ** 2) * jnp.exp(-2 * flow[1]) - 2 * flow[1]


class Case(NamedTuple):
    make: Any  # the objective, of no arguments
    data: Any = X
    chains: Any = X


CASES = {
    "maximum_likelihood": Case(
        lambda: eb.maximum_likelihood(
            energy, eb.mala, 2, regularisation=0.1, acceptance_target=0.5
        )
    ),
    "improved": Case(
        lambda: improved_contrastive(energy, eb.ula, 2, regularisation=0.1)
    ),
    "explicit": Case(lambda: score_matching.explicit(energy)),
    "sliced": Case(lambda: score_matching.sliced(energy, 2)),
    "denoising": Case(lambda: score_matching.denoising(energy, 0.3)),
    "multi_scale": Case(lambda: score_matching.multi_scale(energy, [1.0, 0.5])),
    "nce": Case(lambda: nce.binary(energy, NOISE, 2)),
    "ranking": Case(lambda: nce.ranking(energy, NOISE, 2)),
    "conditional": Case(lambda: nce.conditional(energy, 0.7)),
    "flow_contrastive": Case(
        lambda: flow_contrastive(
            energy, draw, log_prob, likelihood_weight=0.5, flow_init=critic_init
        )
    ),
    "energy_discrepancy": Case(lambda: energy_discrepancy(energy, 0.5, 3)),
    "kernel_stein": Case(lambda: stein.kernel_stein(energy, 1.5)),
    "learned_stein": Case(
        lambda: learned_stein.learned_stein(energy, critic, critic_init=critic_init)
    ),
    "adversarial": Case(
        lambda: adversarial.adversarial(
            energy, adversarial.affine, gradient_penalty=0.1, sampler_init=sampler_init
        )
    ),
    "recovery": Case(
        lambda: recovery.recovery(energy, eb.mala, [1.0, 0.5], 2, acceptance_target=0.5)
    ),
    "joint": Case(
        lambda: joint.joint(class_energies, eb.mala, 2, acceptance_target=0.5), LABELLED
    ),
    "class_conditional": Case(
        lambda: joint.class_conditional(
            class_energies, eb.mala, 2, acceptance_target=0.5
        ),
        LABELLED,
        LABELLED,
    ),
    "pseudo_likelihood": Case(lambda: binary_data.pseudo_likelihood(energy, 1), BITS),
    "ratio_matching": Case(lambda: binary_data.ratio_matching(energy), BITS),
}
# numbers that change gradients or updates, and no loss; a constant that cancels
NO_LOSS = {
    ("flow_contrastive", ".likelihood_weight"),
    ("flow_contrastive", ".flow_scale"),
    ("learned_stein", ".critic_scale"),
    ("adversarial", ".sampler_scale"),
    ("ranking", ".noise.log_prob[2]"),
}


def loss_of(objective, trained, key, batch, chains):
    loss, (chains, _) = objective.loss(trained, key, batch, chains)
    return loss, chains.step_size


def inputs(case, objective):
    trained = objective.init(jax.random.key(3), PARAMS, case.data)
    return trained, jax.random.key(1), case.data, Chains(case.chains, jnp.float32(0.3))


@cache
def program():
    return jax.jit(loss_of)


# --- each is a value ----------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_flatten_and_unflatten_give_the_objective(name):
    objective = CASES[name].make()
    assert isinstance(objective, Objective)
    leaves, structure = jax.tree.flatten(objective)
    assert jax.tree.unflatten(structure, leaves) == objective
    assert all(np.asarray(x).dtype.kind == "f" for x in leaves)
    again = CASES[name].make()
    assert again == objective and hash(again) == hash(objective)
    for i in range(len(leaves)):
        other = [x * 1.25 if i == j else x for j, x in enumerate(leaves)]
        other = jax.tree.unflatten(structure, other)
        assert other != objective and hash(other) == hash(objective)


@pytest.mark.parametrize("name", CASES)
def test_an_objective_prints_on_one_line_without_addresses(name):
    text = repr(CASES[name].make())
    assert "\n" not in text and "0x" not in text
    assert text.startswith(type(CASES[name].make()).__name__)


def test_numbers_are_printed_unless_they_are_the_default():
    assert repr(eb.maximum_likelihood(energy, eb.mala, 2)) == (
        "MaximumLikelihood(energy=energy, make_kernel=mala, num_steps=2)"
    )
    assert repr(eb.maximum_likelihood(energy, eb.mala, 2, temperature=2.0)) == (
        "MaximumLikelihood(energy=energy, make_kernel=mala, num_steps=2, "
        "temperature=2.0)"
    )
    assert repr(adversarial.adversarial(energy, adversarial.affine)) == (
        "Adversarial(energy=energy, generate=affine)"
    )


def test_a_term_of_weight_zero_costs_nothing():
    """The energy is traced less often."""
    chains, nums = Chains(X, jnp.float32(0.1)), []
    for weight in (1.0, 0.0):
        objective = improved_contrastive(energy, eb.ula, 2, sampler_weight=weight)
        before = NUM_TRACES["energy"]
        jax.eval_shape(objective.loss, PARAMS, jax.random.key(0), X, chains)
        nums.append(NUM_TRACES["energy"] - before)
    assert nums[0] > nums[1] > 0


# --- another number compiles nothing ------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_another_number_compiles_nothing_and_changes_the_loss(name):
    """Each leaf of the objective in turn, and the parameters of the energy."""
    case = CASES[name]
    objective = case.make()
    trained, *rest = inputs(case, objective)
    found = program()(objective, trained, *rest)
    before = NUM_TRACES["energy"]
    assert np.isfinite(found[0])
    paths, structure = jax.tree_util.tree_flatten_with_path(objective)
    for i, (path, _) in enumerate(paths):
        leaves = [x * 0.9 if i == j else x for j, (_, x) in enumerate(paths)]
        other = jax.tree.unflatten(structure, leaves)
        changed = program()(other, trained, *rest)
        is_same, path = np.array_equal(changed, found), jax.tree_util.keystr(path)
        assert is_same == ((name, path) in NO_LOSS), path
    program()(objective, jax.tree.map(lambda x: x + 0.1, trained), *rest)
    assert NUM_TRACES["energy"] == before > 0


@value
class Baked(Objective):
    """With a number that is structure: the negative control."""

    energy: Any = function()
    noise: float = static()

    def loss(self, params, key, batch, chains):
        of_points = jax.vmap(partial(self.energy, params))
        return jnp.mean(of_points(batch + self.noise)), (chains, {})


def test_a_number_that_is_structure_compiles_again():
    rest = PARAMS, jax.random.key(1), X, Chains(X, jnp.float32(0.3))
    counts = []
    for noise in (0.1, 0.1, 0.2):
        program()(Baked(energy, noise), *rest)
        counts.append(NUM_TRACES["energy"])
    assert counts[0] == counts[1] < counts[2]


def test_the_numbers_of_a_fitted_noise_are_leaves():
    """With other data it has the same structure and another density."""
    other = nce.fitted_normal(2 * X + 1.0)
    assert jax.tree.structure(other) == jax.tree.structure(NOISE) and other != NOISE
    log_q = jax.jit(lambda noise, x: noise.log_prob(x))
    log_q(NOISE, X[0])
    found = log_q(other, 2 * X[0] + 1.0)
    assert log_q._cache_size() == 1
    own = nce.fitted_normal(X).log_prob(X[0])
    assert found == pytest.approx(float(own) - 2 * np.log(2), abs=1e-4)


def test_a_vmap_over_an_objective_is_a_loop_over_its_numbers():
    noises = jnp.array([0.2, 0.5, 0.9])
    key = jax.random.key(2)
    of = lambda o: o.loss(PARAMS, key, X, None)[0]
    stacked = score_matching.denoising(energy, noises)
    together = jax.vmap(of)(stacked)
    apart = [of(score_matching.denoising(energy, noise)) for noise in noises]
    assert np.allclose(together, apart, rtol=1e-5) and len(set(map(float, apart))) == 3


# --- what is trained ----------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_what_is_trained_holds_the_parameters_of_the_energy(name):
    objective = CASES[name].make()
    trained = objective.init(jax.random.key(3), PARAMS, CASES[name].data)
    assert objective.energy_params(trained) is PARAMS
    grads = jax.grad(lambda t: objective(t, *inputs(CASES[name], objective)[1:])[0])
    parts = grads(trained)
    assert jax.tree.structure(parts) == jax.tree.structure(trained)
    assert all(np.isfinite(x).all() and np.any(x != 0) for x in jax.tree.leaves(parts))
    scaled = scale_updates(objective.update_scale).update(parts, optax.EmptyState())[0]
    same = jax.tree.map(np.array_equal, scaled, parts)
    assert np.all(objective.energy_params(same))
    is_game = isinstance(trained, Players)
    assert is_game == (name in ("flow_contrastive", "learned_stein", "adversarial"))
    if is_game:
        assert not any(jax.tree.leaves(same.other))


def test_updates_are_multiplied_by_a_tree_prefix():
    updates = Players({"a": jnp.ones(2), "b": jnp.float32(2)}, jnp.full(3, 2.0))
    both = scale_updates(Players(1.0, 5.0))
    scaled, _ = both.update(updates, both.init(updates))
    assert _equal(scaled, Players(updates.energy, jnp.full(3, 10.0)))
    plain = scale_updates(1.0)
    assert _equal(plain.update(updates, plain.init(updates))[0], updates)
    # another scale is another leaf of the optimiser
    leaves, structure = jax.tree.flatten(as_optimizer(both))
    other = as_optimizer(scale_updates(Players(1.0, 3.0)))
    assert jax.tree.structure(other) == structure and 5.0 in leaves
    assert 3.0 in jax.tree.leaves(other)


def test_initial_parameters_beside_the_energy_use_the_key_and_one_point():
    critic = auxiliary_networks.Field((4,))
    flow = Flow((2,), (4,))
    key = jax.random.key(5)
    of_stein = learned_stein.learned_stein(
        energy, critic.apply, critic_init=critic.init
    )
    found = of_stein.init(key, PARAMS, X)
    assert _equal(found, Players(PARAMS, critic.init(key, X[0])))
    of_flow = flow_contrastive(
        energy, partial(sample, flow), flow.apply, flow_init=flow.init
    )
    found = of_flow.init(key, PARAMS, X)
    assert _equal(found, Players(nce.with_log_z(PARAMS), flow.init(key, X[0])))
    other = of_flow.init(jax.random.key(6), PARAMS, X)
    assert not _equal(found, other)
    again = flow_contrastive(
        energy, partial(sample, Flow((2,), (4,))), flow.apply, flow_init=flow.init
    )
    assert again == of_flow and hash(again) == hash(of_flow)


def _equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b))
    )


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            learned_stein.learned_stein(energy, critic),
            r"init needs learned_stein\(..., critic_init=.* Players\(energy, critic\)",
        ),
        (
            adversarial.adversarial(energy, adversarial.affine),
            r"init needs adversarial\(..., sampler_init=.* Players\(energy, sampler\)",
        ),
        (
            flow_contrastive(energy, draw, log_prob),
            r"init needs flow_contrastive\(..., flow_init=.* Players\(with_log_z",
        ),
    ],
    ids=["learned_stein", "adversarial", "flow_contrastive"],
)
def test_init_without_an_initial_function_raises(objective, message):
    with pytest.raises(TypeError, match=message):
        objective.init(jax.random.key(0), PARAMS, X)


@pytest.mark.parametrize("name", ["learned_stein", "adversarial", "flow_contrastive"])
def test_init_without_data_raises(name):
    with pytest.raises(TypeError, match=r"init needs data \[N, ...\]"):
        CASES[name].make().init(jax.random.key(0), PARAMS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            partial(learned_stein.learned_stein, energy, critic, critic_scale=0.0),
            "critic_scale must be finite and above 0, got 0.0",
        ),
        (
            partial(
                adversarial.adversarial, energy, adversarial.affine, sampler_scale=-1.0
            ),
            "sampler_scale must be finite and above 0, got -1.0",
        ),
        (
            partial(flow_contrastive, energy, draw, log_prob, flow_scale=0.0),
            "flow_scale must be finite and above 0, got 0.0",
        ),
    ],
)
def test_a_scale_that_is_not_positive_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- terms that are off -------------------------------------------------------------


def test_a_plain_zero_switches_a_term_off_and_an_array_does_not():
    assert optional(0) is None and optional(0.0) is None
    assert optional(0.1) == 0.1 and optional(np.float32(0)) is not None
    off, zero = (
        adversarial.adversarial(energy, adversarial.affine, gradient_penalty=w)
        for w in (0.0, jnp.float32(0))
    )
    assert off.gradient_penalty is None and zero.gradient_penalty == 0
    assert jax.tree.structure(off) != jax.tree.structure(zero)
    params = Players(PARAMS, adversarial.affine_params(2))
    of = lambda o: o.loss(params, jax.random.key(0), X, None)[0]
    assert of(off) == pytest.approx(float(of(zero)), rel=1e-6)


def test_a_joint_objective_of_weight_zero_is_a_classifier_and_runs_no_chains():
    classifier = joint.joint(class_energies, eb.mala, 2, generative_weight=0.0)
    both = joint.joint(class_energies, eb.mala, 2)
    assert both.uses_chains and not classifier.uses_chains
    value, (chains, metrics) = classifier(PARAMS, jax.random.key(0), LABELLED, None)
    assert chains is None and set(metrics) == {"cross_entropy", "accuracy"}
    of_data = jax.vmap(partial(class_energies, PARAMS))(X)
    log_p = np.asarray(jax.nn.log_softmax(-of_data))
    expected = -(np.asarray(LABELLED.label) * log_p).sum(axis=1).mean()
    assert value == pytest.approx(expected, rel=1e-5)


def test_an_argument_that_is_no_function_is_named():
    with pytest.raises(TypeError, match="energy must be a function, got None"):
        score_matching.explicit(None)
    with pytest.raises(TypeError, match="critic_init must be a function, got 3"):
        learned_stein.learned_stein(energy, critic, critic_init=3)
