"""Runs of the command line: objectives and defaults, data, folders, reports."""
