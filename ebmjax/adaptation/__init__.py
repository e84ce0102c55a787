"""Adaptation: step size, mass matrix and trajectory length, learned in a warm-up and
then fixed."""
