"""ebmjax: functional sampling for energy-based models in JAX."""
