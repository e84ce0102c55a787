"""Seeded bugs of training."""

from killing import Mutant

# fmt: off

MUTANTS = [
    Mutant("a slot of the buffer twice", "training/chain_init.py", "(begin + stride * jnp.arange(num_chains) + within) % size", "jax.random.randint(key_slots, (num_chains,), 0, size)", "test_chain_init:test_all_slots_of_a_buffer_are_drawn_equally_often:10-4"),
    Mutant("the end of a buffer never runs", "training/chain_init.py", "begin = jax.random.randint(key_begin, (), 0, size)", "begin = 0", "test_chain_init:test_all_slots_of_a_buffer_are_drawn_equally_often:10-4"),
    Mutant("chains put into other slots", "training/chain_init.py", "x.at[slots].set(c)", "x.at[jnp.arange(len(c))].set(c)", "test_chain_init:test_a_buffer_returns_stored_chains_from_distinct_slots"),
    Mutant("kept and restarted swapped", "training/chain_init.py", "return rows(is_restarted, self.fresh(key_fresh, num_chains), old), slots", "return rows(is_restarted, old, self.fresh(key_fresh, num_chains)), slots", "test_chain_init:test_restarts_have_their_probability"),
    Mutant("updates that are NaN are made", "training/step.py", "return select(is_finite, after, before)", "return select(jnp.bool_(True), after, before)", "test_training:test_an_update_that_is_not_finite_is_skipped_and_counted", "TrainingDiverged: .* not finite"),
    Mutant("average turned around", "training/step.py", "decay * e + (1 - decay) * p", "(1 - decay) * e + decay * p", "test_training:test_ema_is_the_moving_average"),
    Mutant("every update sees the same batch", "training/_updates.py", "jax.random.fold_in(key, state.step)", "jax.random.fold_in(key, 0)", "test_training:test_every_update_sees_another_batch"),
    Mutant("metrics under the names of others", "training/_updates.py", "in sorted(places)", "in places", "test_training:test_metrics_of_any_shape_and_type_keep_their_names", "TrainingDiverged"),
    Mutant("roll-back without smaller steps", "training/divergence.py", "lr_scale=state.lr_scale * np.float32(self.learning_rate_factor)", "lr_scale=state.lr_scale", "test_divergence:test_a_run_that_diverges_rolls_back_and_reaches_its_target", "TrainingDiverged: .* after 6 roll-backs"),
    Mutant("roll-backs not counted", "training/divergence.py", "num_rollbacks=state.num_rollbacks + np.int32(1)", "num_rollbacks=state.num_rollbacks", "test_divergence:test_a_run_that_diverges_rolls_back_and_reaches_its_target"),
    Mutant("no upper bound of the energy spread", "training/diagnosis.py", "min(spread, dim**0.5)", "spread", "test_divergence:test_each_kind_of_divergence_has_its_message:changed5-no longer follow the energy"),
    Mutant("the limit of the energy gap of many dimensions", "training/diagnosis.py", "GAP + GAP_PER_DIM * dim", "GAP * GAP_PER_DIM * 100", "test_divergence:test_each_kind_of_divergence_has_its_message:changed3-the energies of data and model are 200 apart (limit 120)"),
    Mutant("roll-back by one chunk only", "training/divergence.py", "SETTLED = 25", "SETTLED = 0", "test_divergence:test_the_distance_of_a_roll_back_does_not_depend_on_chunks"),
    Mutant("back to a state that is not healthy", "training/divergence.py", "before = self.healthy if self.healthy is not None else new", "before = self._pending[-1][0] if self._pending else self.healthy", "test_divergence:test_training_resumes_bit_for_bit_from_the_state_of_on_chunk"),
    Mutant("roll-back without a smaller learning rate", "training/step.py", "(lr_scale * c * u).astype(u.dtype)", "u", "test_divergence:test_another_learning_rate_or_step_size_compiles_nothing"),
    Mutant("non-finite chains of recovery not counted", "training/step.py", 'metrics.get("num_broken", 0)', "0", "test_recovery:test_nonfinite_chains_are_counted_by_the_loop"),
    Mutant("NaN hides frozen chains", "training/diagnosis.py", 'known_mean(metrics["acceptance_rate"])', 'metrics["acceptance_rate"].mean()', "test_divergence:test_a_single_nan_hides_no_divergence"),
    Mutant("skipped updates judged by the chunk", "training/divergence.py", "np.concatenate(skips)[-max(SETTLED, length) :]", "np.concatenate(skips)[-length:]", "test_divergence:test_a_few_skipped_updates_in_short_chunks_are_no_divergence:1", "^TrainingDiverged: "),
]
