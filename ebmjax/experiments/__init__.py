"""Runs of the command line: objectives and defaults, data, folders, reports.

    configuration, presets      all options of a run, and their defaults
    config_checks, options      options that go together; options without effect
    registry, objectives        objectives by name, made for a configuration
    data/, points, facts        data sets, the points of a run, and what is kept of them
    build, trainer, experiment  the functions of a run, made from all of these
    runs, metrics               a run on disk
    chains, conditional         chains of a trained run, alone or at conditions
    report, figures             its table and pictures

A report takes its parts from ``likelihood``, ``chain_summary``, ``conditional_report``,
``labelled``, ``ood`` and ``inpainting``.
"""
