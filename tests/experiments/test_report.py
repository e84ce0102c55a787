"""Contents of pictures and tables, and metrics of samples by a classifier."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ebmjax as eb
from ebmjax import plotting, targets, verify
from ebmjax.evaluation import classifier, quadrature
from ebmjax.experiments import data, experiment, report, spurious
from ebmjax.experiments.chains import thinning
from ebmjax.experiments.objectives import descend_langevin
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.tempering.annealed_langevin import noise_levels
from ebmjax.verify.examples import ring


@pytest.fixture(scope="module")
def classified():
    digits = data.load("digits")
    predict = classifier.train_classifier(
        jax.random.key(0), digits.x[:1400], digits.labels[:1400]
    )
    return digits, predict


def test_the_classifier_is_confident_on_digits_and_not_on_noise(classified):
    digits, predict = classified
    held = np.asarray(predict(digits.x[1400:]))
    assert (held.argmax(axis=1) == digits.labels[1400:]).mean() > 0.93
    real = classifier.classifier_metrics(predict, digits.x[1400:], digits.x[:1400])
    noise = classifier.classifier_metrics(
        predict, np.random.default_rng(0).uniform(size=(300, 8, 8)), digits.x[:1400]
    )
    assert real.share_confident > 0.85 and real.num_classes == 10
    assert noise.share_confident < real.share_confident - 0.2
    assert real.nearest < noise.nearest


def test_memorised_images_have_distance_zero(classified):
    digits, predict = classified
    assert (
        classifier.classifier_metrics(predict, digits.x[:100], digits.x[:1400]).nearest
        < 1e-3
    )


def test_samples_of_one_class_count_one_class(classified):
    digits, predict = classified
    threes = digits.x[:1400][digits.labels[:1400] == 3]
    assert (
        classifier.classifier_metrics(predict, threes, digits.x[:1400]).num_classes == 1
    )


def test_nearest_distances():
    distances = classifier.nearest_distances(
        np.zeros((2, 4)), np.array([[1.0, 1, 1, 1], [2, 0, 0, 0]])
    )
    assert np.allclose(distances, 1.0)
    (far,) = classifier.nearest_distances(np.zeros((1, 4)), np.full((1, 4), 3.0))
    assert np.isclose(far, 3.0)


@pytest.mark.parametrize("width", [1.0, 20.0])
def test_the_log_likelihood_is_that_of_the_density_in_the_units_of_the_data(width):
    """A normal energy of known width in standardised units, and one too wide for a box
    of six standard deviations; of the points given, by default those held out."""
    x = (
        np.random.default_rng(0)
        .normal([3.0, -40.0], [2.5, 0.4], (500, 2))
        .astype(np.float32)
    )
    dataset = data.Dataset("mine", x)
    run = experiment.build(experiment.preset(dataset, num_updates=1), dataset)
    known = run._replace(energy=lambda params, z: 0.5 * jnp.sum((z / width) ** 2))
    center = run.standard.backward(np.zeros(2, np.float32))
    spread = width * (run.standard.backward(np.ones(2, np.float32)) - center)
    state = run.init()
    for points in (run.held, run.kept, dataset):
        squares = ((points.x - center) ** 2 / spread**2).sum(axis=1)
        expected = float(-0.5 * squares.mean() - np.log(2 * np.pi * spread.prod()))
        found = report.log_likelihood(known, state, points)
        assert found == pytest.approx(expected, abs=5e-3)
    both = report.log_likelihoods(known, state)
    assert list(both) == ["training data", "100 held-out points"]
    assert both["100 held-out points"] == report.log_likelihood(known, state)


def test_chains_count_as_spurious_far_below_the_data_alone():
    """Normal energies: the least of a million chains of the same law does not count; a
    chain counts below six spreads and ten nats, and below the least point and ten."""
    rng = np.random.default_rng(0)
    of_data = rng.normal(100.0, 5.0, 500)
    assert spurious.num_spurious(rng.normal(100.0, 5.0, 1_000_000), of_data) == 0
    middle = np.median(of_data)
    spread = 1.4826 * np.median(abs(of_data - middle))
    edge = middle - 6 * spread - 10
    chains = np.array([edge + 0.1, edge - 0.1, -1e4, np.nan, np.inf])
    assert spurious.num_spurious(chains, of_data) == 2
    of_data[7] = 20.0
    assert spurious.num_spurious(np.array([10.1, 9.9]), of_data) == 1
    with pytest.warns(
        UserWarning, match=r"1 of 2 .* chain is 9.9 nats, of the data 20"
    ):
        spurious.warn_of_spurious(np.array([10.1, 9.9]), of_data)


def test_the_table_warns_of_chains_in_spurious_modes(tmp_path):
    x = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    dataset = data.Dataset("mine", x)
    run = experiment.build(
        experiment.preset(dataset, objective="denoising", num_updates=1), dataset
    )
    run = run._replace(energy=lambda params, z: 0.5 * jnp.sum(z**2))
    samples = SimpleNamespace(acceptance_rate=np.full(3, 0.5))
    (tmp_path / "metrics.csv").write_text("step,loss\n0,1.0\n")
    table = lambda least: dict(
        report.table(
            run,
            run.init(),
            report.Chains(None, np.array([[-99.0] * 3, [1.0, 2.0, least]]), samples),
            tmp_path,
        )
    )
    assert "final chains in spurious modes" not in table(0.0)
    with pytest.warns(UserWarning, match="1 of 3 final chains"):
        assert table(-50.0)["final chains in spurious modes"] == "1 of 3"


def test_moves_between_modes_that_are_never_accepted_are_reported():
    names = ("energy_data", "energy_model", "energy_spread", "acceptance_rate")
    history = {name: np.ones(150) for name in names}
    state = SimpleNamespace(step_size=np.float32(0.1))
    row = "acceptance of moves between modes"
    assert row not in dict(report._training_rows(state, history))
    moved = {**history, "global_acceptance_rate": np.full(150, 0.2)}
    assert dict(report._training_rows(state, moved))[row] == "0.200"
    never = {**history, "global_acceptance_rate": np.zeros(150)}
    with pytest.warns(UserWarning, match="--global-steps 0 saves their time"):
        report._training_rows(state, never)


def test_the_log_likelihood_of_three_coordinates_is_not_computed():
    dataset = data.Dataset("mine", np.random.default_rng(0).normal(size=(100, 3)))
    run = experiment.build(experiment.preset(dataset, features=(4,)), dataset)
    assert report.log_likelihood(run, run.init()) is None


def test_the_table_of_chains_is_in_units_of_the_data():
    """Draws of known mean and scale, of few and of many coordinates."""
    rng = np.random.default_rng(0)
    for dim, num_tabled in ((2, 2), (60, 20)):
        x = rng.normal(1e5, 3.0, (500, dim))
        dataset = data.Dataset("mine", x, columns=tuple(f"c{i}" for i in range(dim)))
        run = experiment.build(experiment.preset(dataset, features=(4,)), dataset)
        z = rng.normal(size=(200, 4, dim)).astype(np.float32)
        chains = report.Chains(z, z.sum(axis=2), None)
        found, what = report.summary_of(run, chains)
        assert (
            found.names[:2] == ["energy", "c0"] and len(found.names) == 1 + num_tabled
        )
        center, spread = (np.asarray(p) for p in run.standard[:2])
        error = 5 / np.sqrt(800)
        assert abs(found.columns["mean"][1] - center[0]) < error * spread[0]
        assert abs(found.columns["sd"][1] / spread[0] - 1) < error
        assert abs(found.columns["sd"][0] / np.sqrt(dim) - 1) < error
        assert (f"{num_tabled} of 60 coordinates" in what) == (dim == 60)


def test_stored_draws_have_at_most_256_mib():
    """100 chains of 28x28 float32: 855 draws of each fit, every twelfth of 10000."""
    run = SimpleNamespace(facts=SimpleNamespace(shape=(28, 28)))
    assert 2**28 // (100 * 784 * 4) == 855
    assert thinning(run, 100, 855) == 1
    assert thinning(run, 100, 856) == 2
    assert thinning(run, 100, 10_000) == 12
    assert thinning(run, 10**6, 10) == 10  # one draw is stored anyway


def test_curves_of_what_fit_returns_are_drawn(key):
    optimizer = optax.adam(0.1)
    loss = eb.maximum_likelihood(lambda p, x: 0.5 * p * jnp.sum(x**2), eb.mala, 2)
    state = eb.init_state(key, jnp.float32(1.0), optimizer)
    _, metrics = eb.fit(
        key, loss, optimizer, state, jnp.ones((20, 2)), num_updates=5, batch_size=10
    )
    assert len(plotting.training_curves(metrics).axes[0].lines[0].get_xdata()) == 5


def test_tiles_are_in_reading_order():
    images = np.arange(9)[:, None, None] * np.ones((9, 2, 2))
    grid = plotting.tile(images, 3)
    assert (
        grid.shape == (9, 9)
        and grid[0].tolist() == [0, 0, 0, 1, 1, 0, 2, 2, 0]
        and grid[3, 0] == 3
    )


def test_figures_are_drawn(tmp_path, key):
    target = targets.eight_gaussians()
    x = np.asarray(target.sample(key, 500))
    metrics = {
        n: np.linspace(0.1, 1, 20)
        for n in ("step", "energy_data", "energy_model", "acceptance_rate", "grad_norm")
    }
    reports = [
        verify.invariance(
            key, hmc(target.energy, 0.2, 3), target, num_chains=500, num_steps=2
        ),
        verify.rank(key, hmc(target.energy, 0.2, 3), target, num_chains=500),
        verify.integrator(target.energy, np.ones(2)),
        ring(),
    ]
    figures = [
        plotting.density(target.energy, x, x),
        plotting.image_grids({"a": np.random.default_rng(0).uniform(size=(100, 8, 8))}),
        plotting.energy_histogram({"data": x[:, 0], "chains": x[:, 1]}),
        plotting.training_curves(metrics),
        plotting.training_curves(
            {"step": np.arange(5), "loss": np.ones(5), "grad_norm": np.ones(5)}
        ),
        plotting.chain_traces(np.random.default_rng(0).normal(size=(20, 8))),
        plotting.film_strips(np.zeros((5, 3, 8, 8))),
        *[plotting.verification(r) for r in reports],
    ]
    for i, figure in enumerate(figures):
        plotting.save(figure, tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").stat().st_size > 3000
        assert not [
            a
            for ax in figure.axes
            for a in ax.get_legend_handles_labels()[1]
            if a.startswith("_")
        ]


def test_each_grid_of_images_has_its_title():
    figure = plotting.image_grids({n: np.zeros((4, 2, 2)) for n in ("data", "chains")})
    assert [ax.get_title("left") for ax in figure.axes] == ["data", "chains"]


def test_the_density_picture_integrates_to_one(key):
    target = targets.eight_gaussians()
    x = np.asarray(target.sample(key, 5000))
    figure = plotting.density(target.energy, x, x)
    values = figure.axes[1].images[0].get_array()
    low, high = x.min(axis=0), x.max(axis=0)
    area = np.prod(1.5 * (high - low)) / np.prod(np.array(values.shape) - 1)
    assert jnp.isclose(values.sum() * area, 1.0, rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["two_modes", "eight_gaussians", "figure_one", "rosenbrock"]
)
def test_log_z_by_quadrature(name):
    target = targets.TARGETS[name]()
    reach = (
        np.array([16.0, 130.0]) if name == "rosenbrock" else 8.0 * np.ones(target.dim)
    ) + np.abs(target.mean)
    found = quadrature.log_z(target.energy, -reach, reach, resolution=2000)
    assert found == pytest.approx(target.log_z, abs=2e-3)


def test_log_z_refuses_many_dimensions():
    with pytest.raises(ValueError, match=r"corners \[1\] or \[2\]"):
        quadrature.log_z(lambda x: jnp.sum(x**2), np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="high - low must be finite and above 0"):
        quadrature.log_z(lambda x: jnp.sum(x**2), [0.0], [0.0])


@pytest.mark.parametrize("objective", ["multi_scale", "recovery"])
def test_chains_of_a_noise_conditional_run_use_all_levels(objective, key):
    """With weights of zero the network is the Gaussian of the data with noise: chains
    start from noise several times as wide and end as wide as the data."""
    moons = data.load("two_moons", num_points=500)
    run = experiment.build(
        experiment.preset(moons, objective=objective, features=(8,)), moons
    )
    state = run.init()
    state = state._replace(ema=jax.tree.map(jnp.zeros_like, state.ema))
    kernel = report.kernel_of(run, run.trained(state), 0.1)
    found = report.run_chains(
        key, run, state, kernel, num_chains=400, num_steps=1
    ).positions[-1]
    assert (
        abs(found.std() - 1) < 5 / np.sqrt(2 * 800) + 0.1
    )  # 0.1: the bias of steps of finite length
    assert np.abs(found.mean(axis=0)).max() < 5 / np.sqrt(400)
    assert (
        np.asarray(run.draw(key, 400)).std() > 1.3
    )  # the starts of other runs: the control


def test_a_descent_starts_at_the_largest_level(key):
    """Without a force, two starts end as far apart as they were."""
    z, config = jax.random.normal(key, (50, 2)), SimpleNamespace(noise=0.5)
    force_free = lambda x, level: 0.0 * jnp.sum(x)
    zero, one = (
        descend_langevin(key, config, force_free, z, jnp.full((3, 2), start))
        for start in (0.0, 1.0)
    )
    assert np.allclose(one - zero, noise_levels(z, 0.5)[0], rtol=1e-3)
