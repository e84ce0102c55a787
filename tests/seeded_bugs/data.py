"""Seeded bugs in what reads data, keeps runs and answers the command line."""

from killing import Mutant

D = "experiments/data/"
UNITS = "test_standardize:test_any_scale_and_offset_in_standard_deviations"
CONSTANT = "test_standardize:test_constant_columns_are_left_out_named_and_come_back"
TABLE = "test_text_tables:test_each_format_of_tables_is_read"
BAD_TABLE = "test_text_tables:test_a_bad_table_is_refused_with_line_and_column"
LABELS = "test_text_tables:test_a_column_of_labels_is_found_wherever_it_is"
CHOSEN = "test_text_tables:test_labels_without_a_heading_are_not_guessed"
BYTES = "test_data:test_bytes_are_scaled_as_images_and_kept_as_bits_or_numbers"
AXES = "test_data:test_the_meaning_of_axes_is_decided_and_reported"
FILES = "test_data:test_bad_files_are_named"
MAPPED = (
    "test_data:test_labels_of_any_kind_become_numbers_from_0_and_the_mapping_is_kept"
)
ALONE = "test_runs:test_a_run_is_loaded_where_its_data_are_not"
SIGNAL = "test_cli_energy:test_a_signal_ends_the_chains_early_and_keeps_the_draws"
HELD = "test_labelled_runs:test_what_is_held_out_is_never_trained_on"
UNUSED = "test_cli:test_the_table_of_unused_options_is_that_of_the_objectives"
MISTAKE = "test_cli:test_a_mistake_is_one_clear_line_and_exit_code_2"

MUTANTS = [
    # units
    Mutant("deviations from the mean in float32", "experiments/standardize.py", "apart = x - center", "apart = np.float64(x.astype(np.float32) - np.float32(center))", UNITS + ":-1000000.0-1.0"),
    Mutant("data rounded to float32 before they are centred", "experiments/standardize.py", "(np.asarray(x, np.float64) - self.center)", "(np.asarray(x, np.float32) - np.float32(self.center))", UNITS + ":-1000000.0-1.0"),
    Mutant("an absolute floor of the spread", "experiments/standardize.py", "return center + shift, size *", "return center + shift, 1e-6 + size *", UNITS + ":0.0-1e-09"),
    Mutant("an absolute bound of what is constant", "experiments/standardize.py", "spread > SMALLEST_SPREAD * np.abs(center)", "spread > 1e-8", UNITS + ":0.0-1e-09", "DataError"),
    Mutant("constant columns come back as zero", "experiments/standardize.py", "np.broadcast_to(self.constants,", "np.broadcast_to(0 * self.constants,", CONSTANT),
    # tables
    Mutant("a first row with NA taken for a heading", D + "dialect.py", "if is_word(c) and not _LIKE.match(c)]", "if not is_number(c)]", BAD_TABLE + ":first row missing"),
    Mutant("a byte-order mark is part of the first cell", D + "dialect.py", '"utf-8-sig"', '"utf-8"', TABLE + ":byte-order mark", "DataError"),
    Mutant("the index of pandas is a coordinate", D + "table.py", 'if width > 1 and 0 not in left_out and name in ("", "unnamed: 0"):', "if False:", TABLE + ":pandas, a shuffled index"),
    Mutant("the header of pandas is a point", D + "dialect.py", "is_header = has_fractions or beyond", "is_header = False", TABLE + ":pandas, its header"),
    Mutant("a counter of rows is a coordinate", D + "table.py", "if not any(counts) or", "if True or", TABLE + ":pandas, its index"),
    Mutant("y beside x taken for labels", D + "table.py", 'if [names[i] for i in found] == ["y"] and "x" in names:', "if False:", "test_text_tables:test_a_column_of_labels_is_chosen_or_refused"),
    Mutant("labels without a heading taken for a coordinate", D + "table.py", 'raise DataError(f"{rows.path}: {what}, all other', 'str(f"{rows.path}: {what}, all other', CHOSEN + ":True"),
    Mutant("only the last column may have labels", D + "table.py", "found = [i for i, n in enumerate(names) if n in LABELS and i not in left_out]", "found = [i for i, n in enumerate(names) if n in LABELS and i == width - 1]", LABELS + ":label in front"),
    Mutant("cells that are too many are skipped", D + "cells.py", "if x is None or not _is_rectangular(rows, width):", "if x is None:", BAD_TABLE + ":too long"),
    Mutant("thousands taken for decimals", D + "dialect.py", 'if with_point or (rows.delimiter == "," and is_thousands):', "if with_point:", BAD_TABLE + ":thousands"),
    # arrays, labels, layouts
    Mutant("a header of whole numbers is always a header", D + "arrays.py", "if claimed != size:", "if claimed < size:", FILES + ":claims.npy", "DataError|MemoryError|ValueError"),
    Mutant("bytes of 0 and 1 divided by 255", D + "files.py", "if x.max() <= 1:", "if x.max() < 1:", BYTES + ":bits"),
    Mutant("bytes of points divided by 255", D + "files.py", "if not is_image:", "if False:", BYTES + ":numbers of points"),
    Mutant("labels as they are in the file", D + "labels.py", "codes.reshape(num).astype(np.int32)", "labels.astype(np.int32)", MAPPED + ":primes"),
    Mutant("channels first reshaped in place of moved", D + "layout.py", "np.ascontiguousarray(np.moveaxis(x, 1, 3))", "x.reshape(len(x), *shape[1:], shape[0])", AXES + ":channels first"),
    Mutant("a series is an image", D + "layout.py", "is_near = max(shape) <= 2 * min(shape)", "is_near = True", AXES + ":a series"),
    Mutant("digits beyond float32 rounded on reading", D + "files.py", "narrow if (narrow == x).all() else x.astype(np.float64)", "narrow", "test_data:test_digits_beyond_float32_survive_reading"),
    # runs and the command line
    Mutant("the last points held out of a sorted file", "experiments/classes.py", "np.random.default_rng(0).permutation(len(dataset.x))", "np.arange(len(dataset.x))[::-1]", HELD),
    Mutant("a part of the data makes other constants of classes", "experiments/experiment.py", "(x[: self.facts.num_reference] for x in self.batches)", "(x for x in self.batches)", ALONE),
    Mutant("fresh chains around the points that are there", "experiments/experiment.py", "draw = _fresh_chains(config, facts)", "draw = _fresh_chains(config, facts.of(config, dataset, points.kept, points.held, facts.standard, facts.num_classes))", ALONE),
    Mutant("a configuration changed by hand goes on", "experiments/facts.py", "_plain(now.get(name)) != _plain(began)", "False", "test_runs:test_a_configuration_changed_by_hand_is_named"),
    Mutant("an option without effect is accepted", "experiments/options.py", 'found["regularisation"] = f"{objective} has', 'found["nothing"] = f"{objective} has', UNUSED),
    Mutant("a run that goes on ignores its options", "cli/train.py", "is_training=True, **other)", "is_training=True)", "test_runs:test_options_of_a_continued_run_are_applied_or_refused"),
    Mutant("chains that a signal ended are lost", "cli/stoppable.py", "while done < num_steps and not (pieces and is_signalled()):", "while done < num_steps:", SIGNAL + ":SIGINT"),
    Mutant("chunks that all begin at step 0", "cli/stoppable.py", '"start": done}', '"start": 0}', SIGNAL + ":SIGTERM", "ValueError"),
    Mutant("a hangup is not postponed", "io/run_directory.py", "numbers.append(hangup)", "pass", "test_cli_energy:test_a_hangup_is_postponed"),
    Mutant("an ignored hangup stops the chains", "io/run_directory.py", "signal.getsignal(hangup) != signal.SIG_IGN", "True", "test_cli_energy:test_an_ignored_hangup_stays_ignored"),
    Mutant("an error in an energy without file and line", "cli/app.py", "if where := in_user_code(error):", 'if where := "":', "test_cli_energy:test_an_error_names_the_frames_of_the_user"),
    Mutant("markup in what is printed", "cli/app.py", "console.print(Text(str(text), style), soft_wrap=True)", "console.print(str(text), style=style, soft_wrap=True)", "test_cli:test_a_path_with_brackets_is_printed_as_it_is"),
    Mutant("a dense layer on the whole image", "energies/networks.py", "while (side := -(-side // 2)) > FINAL_SIDE:", "while (side := -(-side // 2)) > 10 * FINAL_SIDE:", "test_networks:test_default_convolutions_have_a_sensible_number_of_parameters:shape1"),
    Mutant("rows of the table in standardised units", "experiments/chain_summary.py", "columns[name] = columns[name] + shift", "pass", "test_report:test_the_table_of_chains_is_in_units_of_the_data"),
]  # fmt: skip
