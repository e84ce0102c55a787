"""Strictness for every test: warnings that the library raises are errors unless a test expects them."""

import jax
import pytest


@pytest.fixture
def key():
    return jax.random.key(20261123)
