"""Evaluation of trained energies: likelihood, classification, image samples."""
