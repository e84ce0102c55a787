"""A whole run of many chains in one launch of a GPU: :func:`ebmjax.fused.run.run`."""
