"""Markov kernels: Metropolis-Hastings, its proposals, and combinations of kernels."""
