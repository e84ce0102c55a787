"""A run of many chains in two launches of a GPU: :func:`ebmjax.fused.run.run`."""
