"""Markov kernels: the one accept, proposals after the lecture's sections, and kernels made of kernels."""
