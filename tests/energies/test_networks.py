"""Energy networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ebmjax as eb
from ebmjax import _validation as checks
from ebmjax import targets
from ebmjax.energies import networks, spectral
from ebmjax.energies.conditional_networks import ConditionalMLP
from ebmjax.experiments import data, experiment


@pytest.mark.parametrize("shape", [(2,), (7,), (3, 4), (8, 8), (28, 28), (9, 9, 3)])
@pytest.mark.parametrize("is_spectral", [False, True])
def test_an_mlp_takes_any_shape(key, shape, is_spectral):
    network = networks.MLP((16, 16), is_spectral=is_spectral)
    params = network.init(key, jnp.zeros(shape))
    value, grad = jax.value_and_grad(network.apply, argnums=1)(params, jnp.ones(shape))
    assert value.shape == () and grad.shape == shape and float(jnp.abs(grad).sum()) > 0


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (9, 9, 3)])
def test_a_convolution_takes_images(key, shape):
    network = networks.Conv((4, 8, 16), is_spectral=True)
    params = network.init(key, jnp.zeros(shape))
    assert network.apply(params, jnp.ones(shape)).shape == ()


SIZES = {
    (8, 8): 0.3,
    (28, 28): 1.0,
    (28, 28, 1): 1.0,
    (32, 32, 3): 1.0,
    (64, 64, 3): 2.0,
    (96, 128, 3): 3.2,
    (512, 512, 3): 6.0,
}


@pytest.mark.parametrize("shape", SIZES)
def test_default_convolutions_have_a_sensible_number_of_parameters(key, shape):
    """In millions; the widths of an MLP, (512, 512), made 51 million of 28x28."""
    count = lambda features: sum(
        w.size
        for w in jax.tree.leaves(
            jax.eval_shape(networks.Conv(features).init, key, jnp.zeros(shape))
        )
    )
    assert 0.1e6 < count(networks.conv_features(shape)) < 1e6 * SIZES[shape]
    if shape == (28, 28):
        assert count((512, 512)) > 50e6


def test_a_run_with_convolutions_has_widths_for_its_images():
    x = np.random.default_rng(0).uniform(size=(30, 28, 28)).astype(np.float32)
    dataset = data.Dataset("mine", x)
    config = experiment.preset(dataset, network="conv")
    assert config.features == networks.conv_features((28, 28))
    assert experiment.preset(dataset).features == (512, 512)
    chosen = experiment.preset(dataset, network="conv", features=(8, 16))
    assert chosen.features == (8, 16)
    assert experiment.build(config, dataset).num_params < 1e6
    points = data.Dataset("mine", x[:, 0, :5])
    with pytest.raises(experiment.RunError, match="the network conv needs images"):
        experiment.build(experiment.preset(points, network="conv"), points)


def test_a_convolution_refuses_points_that_are_no_images(key):
    with pytest.raises(ValueError, match=r"Conv takes one image .*, got shape \(3,\)"):
        networks.Conv().init(key, jnp.zeros(3))


def test_confinement_makes_the_density_normalisable(key):
    shape, scale = (2,), 1.5
    plain, confined = networks.MLP((16,)), networks.MLP((16,), confinement=scale)
    params = plain.init(key, jnp.zeros(shape))
    x = jnp.array([1.0, -2.0])
    expected = plain.apply(params, x) + 0.5 * 5.0 / scale**2
    assert np.isclose(confined.apply(params, x), expected)
    energy = lambda x: confined.apply(params, x)
    assert eb.check(energy, x, key).is_healthy
    assert not eb.check(lambda x: plain.apply(params, x), x, key).is_healthy


def test_a_trained_confinement_starts_at_the_fixed_one(key):
    x, scale = jnp.array([1.0, -2.0]), 1.5
    fixed = networks.MLP((16,), confinement=scale)
    trained = networks.MLP((16,), confinement=scale, is_confinement_trained=True)
    params = trained.init(key, x)
    inner = {"params": {k: v for k, v in params["params"].items() if k[0] == "D"}}
    assert trained.apply(params, x) == fixed.apply(inner, x)
    grads = jax.grad(trained.apply)(params, x)["params"]
    quadratic = 0.5 * 5.0 / scale**2
    assert np.isclose(grads["log_confinement"], quadratic)
    params["params"]["log_confinement"] = jnp.log(3.0)
    gain = trained.apply(params, x) - fixed.apply(inner, x)
    assert np.isclose(gain, 2 * quadratic, rtol=1e-5)


def test_a_trained_scale_is_a_factor_of_the_whole_energy(key):
    x = jnp.array([1.0, -2.0])
    options = {"confinement": 1.5, "is_confinement_trained": True}
    plain = networks.MLP((16,), **options)
    scaled = networks.MLP((16,), is_scale_trained=True, **options)
    params = scaled.init(key, x)
    inner = {"params": {k: v for k, v in params["params"].items() if k != "log_scale"}}
    energy = plain.apply(inner, x)
    assert scaled.apply(params, x) == energy
    grad = jax.grad(scaled.apply)(params, x)["params"]["log_scale"]
    assert np.isclose(grad, 10 * energy, rtol=1e-5)
    params["params"]["log_scale"] = jnp.log(2.0) / 10
    assert np.isclose(scaled.apply(params, x), 2 * energy, rtol=1e-5)


def test_a_trained_confinement_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="is_confinement_trained needs a confinement"):
        networks.MLP((4,), is_confinement_trained=True)
    bits = data.load("binary_digits")
    config = experiment.preset(
        bits, network="rbm", features=(4,), levels=2, confinement="trained"
    )
    with pytest.raises(experiment.RunError, match="confinement trained is of the net"):
        experiment.build(config, bits)


def test_the_first_layer_has_the_initial_spread_that_was_asked_for(key):
    scale, dim = 5.0, 3
    plain = networks.MLP((4000, 8)).init(key, jnp.zeros(dim))["params"]
    wide = networks.MLP((4000, 8), first_layer_scale=scale)
    params = wide.init(key, jnp.zeros(dim))["params"]
    first = params["Dense_0"]
    scales = np.geomspace(1, scale, 4000)
    weights = first["kernel"] / scales * np.sqrt(dim)
    biases = first["bias"] / (0.4 * (scales - 1)).clip(1e-9)
    # of 3,000 and 1,000 numbers: standard errors 1.3 and 2.2 %
    for i in (0, 3000):
        assert np.isclose(np.std(weights[:, i : i + 1000]), 1, rtol=0.06)
        assert np.isclose(np.std(biases[i + 1 : i + 1000]), 1, rtol=0.1)
    assert np.max(np.abs(first["bias"][:10])) < 0.01  # a unit as in Flax
    assert np.array_equal(params["Dense_1"]["kernel"], plain["Dense_1"]["kernel"])
    assert not np.any(plain["Dense_0"]["bias"])


def test_a_conditional_perceptron_has_the_same_first_layer(key):
    network = ConditionalMLP((64,), num_classes=3, first_layer_scale=5.0)
    plain = networks.MLP((64,), first_layer_scale=5.0)
    found = network.init(key, jnp.zeros(2), 0)["params"]["Dense_0"]
    expected = plain.init(key, jnp.zeros(2))["params"]["Dense_0"]
    assert np.std(found["bias"]) > 0.5 and np.std(found["kernel"]) > 1.5
    assert found["kernel"].shape == expected["kernel"].shape


@pytest.mark.parametrize("scale", [0.5, float("nan"), float("inf")])
def test_a_scale_of_the_first_layer_is_at_least_one(scale):
    with pytest.raises(ValueError, match="first_layer_scale must be .*, got"):
        networks.MLP((8,), first_layer_scale=scale)


def test_normalised_weights_have_no_initial_scale():
    with pytest.raises(ValueError, match="first_layer_scale is without effect"):
        networks.MLP((8,), first_layer_scale=2.0, is_spectral=True)


def test_spectral_normalisation_bounds_the_slope(key):
    network = networks.MLP((32, 32), activation=jnp.tanh, is_spectral=True)
    free = networks.MLP((32, 32), activation=jnp.tanh)
    x = jax.random.normal(key, (500, 5))

    def steepest(network):
        params = jax.tree.map(lambda w: 50 * w, network.init(key, jnp.zeros(5)))
        return jax.vmap(
            lambda x: jnp.linalg.norm(jax.grad(network.apply, argnums=1)(params, x))
        )(x).max()

    assert steepest(network) <= 1.02 < steepest(free)


def test_largest_singular_value(key):
    weight = jax.random.normal(key, (3, 3, 4, 6))
    exact = np.linalg.svd(weight.reshape(-1, 6), compute_uv=False)[0]
    assert np.isclose(spectral.largest_singular_value(weight, 500), exact, rtol=1e-3)


def test_an_nnx_module_becomes_an_energy_in_one_line(key):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.one, self.two = (
                nnx.Linear(2, 8, rngs=rngs),
                nnx.Linear(8, 1, rngs=rngs),
            )

        def __call__(self, x):
            return self.two(nnx.swish(self.one(x)))[0] + 0.5 * jnp.sum(x**2)

    graph, params = nnx.split(Net(nnx.Rngs(0)))
    energy = lambda params, x: nnx.merge(graph, params)(x)

    import optax

    optimizer = optax.adam(1e-2)
    chain_init = eb.from_data()
    loss = eb.maximum_likelihood(energy, eb.mala, 5)
    state = eb.init_state(key, params, optimizer, chain_init, 0.5)
    x = targets.eight_gaussians().sample(key, 200)
    state, metrics = eb.fit(
        key, loss, optimizer, state, x, chain_init, num_updates=3, batch_size=50
    )
    assert int(state.num_skipped) == 0 and np.isfinite(metrics["loss"]).all()
    before, after = jax.tree.leaves(params), jax.tree.leaves(state.params)
    assert not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("dtype", [">f4", ">f2", "<f4"])
def test_big_endian_arrays_are_positions(dtype):
    """They raise inside JAX without the conversion."""
    found = checks.position({"x": np.array([[1.0, 2.0]], dtype)})["x"]
    assert isinstance(found, jax.Array) and found.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"confinement": float("nan")},
            "confinement must be finite and above 0, got nan",
        ),
        ({"confinement": 0.0}, "confinement must be finite and above 0, got 0"),
        ({"spread": float("inf")}, "spread must be finite and above 0, got inf"),
        ({"features": (16, 0)}, "features must be at least 1, got 0"),
    ],
)
def test_a_network_with_impossible_sizes_is_refused_where_it_is_made(choices, message):
    with pytest.raises(ValueError, match=message):
        networks.MLP(**choices)
