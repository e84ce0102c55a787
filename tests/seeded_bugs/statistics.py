"""Seeded bugs of running statistics, summaries, export and storage."""

from killing import Mutant

TWO, MOM = "diagnostics/_two_float.py", "diagnostics/_moments.py"
BATCH, HOST = "diagnostics/_batch_means.py", "diagnostics/_host.py"
CHAIN, SAMPLER = "diagnostics/_chain_issues.py", "diagnostics/_sampler_issues.py"
DRAW, EXPECT = "diagnostics/_draw_issues.py", "diagnostics/expectation.py"
ARVIZ, FILES, ARCHIVE = "io/arviz.py", "io/files.py", "io/archive.py"
CHECKPOINT, FOLDER = "io/checkpoint.py", "io/run_directory.py"
BILLION = "test_streaming:test_sums_are_right_after_ten_billion_steps"
WRONG = "test_summary:test_an_issue_of_one_of_many_short_chains_is_reported"
BITS = "test_summary:test_equal_short_runs_of_bits_are_not_reported"

MUTANTS = [
    # running statistics
    Mutant("sums of one float", TWO, "return TwoFloat(rounded, error - (rounded - high))", "return TwoFloat(rounded, 0 * error)", BILLION),
    Mutant("the rounding error of a sum forgotten", TWO, "(a - (total - b_rounded)) + (b - b_rounded)", "0 * b", BILLION),
    Mutant("the mean without its low word", MOM, "distance = two.subtract(x, shift)\n        shift =", "distance = x.high - shift.high\n        shift =", "test_streaming:test_adversarial_sequences:alternates"),
    Mutant("a count of one word", TWO, "Count(self.blocks + jnp.int32(is_full),", "Count(self.blocks,", "test_streaming:test_a_count_exceeds_int32"),
    Mutant("a power of two by its low bits", TWO, "blocks, rest = jnp.where(is_small, 0, bit), jnp.where(is_small, bit, 0)", "blocks, rest = 0, bit", "test_streaming:test_a_count_exceeds_int32"),
    Mutant("batches joined into the wrong place", BATCH, "jnp.where(is_crowded, num_batches // 2, b.place)", "jnp.where(is_crowded, 0, b.place)", "test_streaming:test_batches_longer_than_int32"),
    Mutant("totals in float32", "sampling/nonfinite.py", "length * rate.astype(np.float64)", "(length * rate).astype(np.float32) + np.float32(1e3)", "test_nonfinite:test_totals_are_right_after_ten_billion_steps"),
    # means and tables
    Mutant("a mean of one float", EXPECT, "for x in (origin, first, second)]", "for x in (origin + first, second)]", "test_summary:test_a_mean_far_from_zero:10000000.0"),
    Mutant("ranks of ties by place", HOST, "is_new = ordered[1:] != ordered[:-1]", "is_new = ordered[1:] == ordered[1:]", "test_summary:test_the_host_and_the_device_agree:shape3"),
    Mutant("chains wrapped into themselves, on the host", HOST, "size = fast_length(2 * length)", "size = fast_length(length)", "test_summary:test_the_host_and_the_device_agree:shape3"),
    Mutant("Geyer's pairs not monotone, on the host", HOST, "np.minimum.accumulate(pairs, axis=0), 0.0", "pairs, 0.0", "test_summary:test_the_host_and_the_device_agree:shape3"),
    Mutant("the table of the host in float32", HOST, "i : i + width].astype(np.float64))", "i : i + width].astype(np.float32))", "test_summary:test_a_mean_far_from_zero:10000000.0"),
    Mutant("the best rows of a summary shown", "diagnostics/summary.py", 'np.lexsort((self.columns["ess_bulk"], -rhat))', 'np.lexsort((self.columns["ess_bulk"], rhat))', "test_summary:test_the_worst_of_many_coordinates_are_shown"),
    # verdicts
    Mutant("many short chains by plain R-hat", DRAW, "bad &= ~agree(spreads, num_steps)", "pass", "test_summary:test_many_short_chains_raise_no_false_alarm"),
    Mutant("a lost chain of many not searched", DRAW, "bad |= apart.any(axis=0)", "pass", "test_summary:test_one_lost_chain_of_hundreds_is_reported"),
    Mutant("distance of chains without its scale", DRAW, "return distance > APART * np.fmax(", "return distance > 1e9 * np.fmax(", WRONG),
    Mutant("a drift that all chains share passes", DRAW, "(np.sqrt(1 + between / inside) <= LARGEST_RHAT) & (excess", "(excess", WRONG),
    Mutant("the spread of the means of chains not checked", DRAW, "& (excess <= largest)", "& (excess > 0)", WRONG),
    Mutant("split modes advised to run longer", DRAW, "~(columns[name] >= LEAST_ESS) & ~stays", "~(columns[name] >= LEAST_ESS)", "test_summary:test_split_modes_are_not_advised_to_run_longer"),
    Mutant("any two chains of bits are copies", CHAIN, "if in_half > num_pairs:", "if False:", BITS + ":shape0"),
    Mutant("few chains of bits are copies", CHAIN, "if chance > CHANCE:", "if False:", BITS + ":shape1"),
    Mutant("no chains of bits are copies", CHAIN, "if in_half > num_pairs:", "if True:", "test_summary:test_copied_chains_of_bits_are_named"),
    Mutant("exchanged axes pass", CHAIN, "if chains < 30 or chains <= steps:", "if True:", "test_summary:test_exchanged_axes_are_reported"),
    Mutant("heavy tails are angles", DRAW, "and is_many and share < 0.5", "and is_many", "test_summary:test_unwrapped_angles_are_reported"),
    Mutant("wide draws are angles", DRAW, "abs(centre) > 0.2 and is_many", "is_many", "test_summary:test_unwrapped_angles_are_reported"),
    Mutant("the widest gap without a scale", SAMPLER, "> max(8 * spread, LEAST_GAP)", "> 0", "test_summary:test_chains_far_above_the_others_are_named"),
    Mutant("chains below are named", SAMPLER, "np.sort(order[widest + 1 :]), order[: widest + 1]", "np.sort(order[: widest + 1]), order[widest + 1 :]", "test_summary:test_chains_far_above_the_others_are_named"),
    Mutant("a hard boundary counts as a divergence", "diagnostics/_chain_health.py", "& (info.num_nonfinite == 0)", "& (info.num_nonfinite < 0)", "test_summary:test_a_hard_boundary_is_not_a_divergence"),
    Mutant("NaN counts as a hard boundary", SAMPLER, "& (num_nonfinite == 0)", "& (num_nonfinite >= 0)", "test_summary:test_hard_boundaries_and_divergences_step_by_step"),
    Mutant("E-BFMI of short chains one by one", SAMPLER, "if len(h) >= BFMI_STEPS:", "if True:", "test_summary:test_bfmi_of_few_draws_raises_no_false_alarm"),
    Mutant("E-BFMI of few draws", SAMPLER, "if h.size < BFMI_DRAWS:", "if False:", "test_summary:test_bfmi_of_few_draws_raises_no_false_alarm"),
    Mutant("full trees not counted", SAMPLER, "if full > FULL_SHARE:", "if False:", "test_summary:test_trees_of_maximal_depth_are_counted"),
    # export and files
    Mutant("a name that is taken loses its leaf", ARVIZ, "while new in taken or new in found:", "while False:", "test_arviz:test_colliding_names_lose_no_leaf", "(ValueError|AssertionError)"),
    Mutant("rejections without momenta diverge", ARVIZ, "np.asarray(is_divergent(info)) & np.any(info.hamiltonian)", "np.asarray(is_divergent(info))", "test_arviz:test_hard_boundaries_of_a_kernel_without_momenta_are_not_diverging"),
    Mutant("bfloat16 as raw bytes", ARVIZ, 'if array.dtype.kind == "V":', "if False:", "test_arviz:test_bfloat16_is_written_as_float32:.npz", "(ValueError|TypeError|AssertionError)"),
    Mutant("a part of a file is left", FILES, "        with contextlib.suppress(OSError):\n            aside.unlink(missing_ok=True)", "", "test_arviz:test_text_files_are_replaced_at_once"),
    Mutant("files written in place", FILES, 'aside = path.with_name(f".{path.stem}.tmp{path.suffix}")', "aside = path", "test_arviz:test_text_files_are_replaced_at_once", "(FileNotFoundError|AssertionError)"),
    Mutant("links in place of temporary files are followed", FILES, "aside.unlink(missing_ok=True)  # left by a killed process; or a link", "pass", "test_checkpoint:test_the_target_of_a_link_is_not_overwritten", ".*CheckpointError|CheckpointError"),
    Mutant("the size that a header claims is not checked", ARCHIVE, "or claimed > there:", "or False:", "test_checkpoint:test_a_leaf_that_claims_ten_gigabytes_allocates_nothing"),
    Mutant("compressed members are unpacked", ARCHIVE, "if member.compress_type != zipfile.ZIP_STORED:", "if False:", "test_checkpoint:test_a_leaf_that_claims_ten_gigabytes_allocates_nothing"),
    Mutant("leaves read before names are compared", CHECKPOINT, "        serialization.check_same(path, stored, wanted)\n", "        archive.read(file)\n        serialization.check_same(path, stored, wanted)\n", "test_checkpoint:test_names_are_compared_before_any_leaf_is_read"),
    Mutant("a manifest of any kind", "io/serialization.py", "if not isinstance(manifest, dict) or not isinstance(manifest.get(name), kind):", "if False:", "test_checkpoint:test_manifests_with_a_right_digest_are_checked:no format", "KeyError"),
    Mutant("links out of the folder are read", FOLDER, "if not is_inside(path, path.parent):", "if False:", "test_checkpoint:test_a_link_out_of_the_folder_is_refused"),
    Mutant("keys of the default kind only are loaded", "io/serialization.py", 'f"key<{impl[0]}>"', 'f"key<{jax.config.jax_default_prng_impl}>"', "test_checkpoint:test_keys_of_every_kind_are_restored:rbg", ".*CheckpointError"),
    Mutant("rbg keys pass without a warning", "sampling/devices.py", 'if "rbg" in impl:', "if False:", "test_devices:test_keys_whose_numbers_depend_on_how_many_are_drawn_are_warned_of"),
    Mutant("markup in the text of a bar", "sampling/progress.py", 'TextColumn("{task.fields[text]}", markup=False)', 'TextColumn("{task.fields[text]}")', "test_progress:test_brackets_in_a_text_are_no_markup", ".*MarkupError"),
]  # fmt: skip
