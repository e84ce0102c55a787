"""Tempering: sampling along paths between densities."""
