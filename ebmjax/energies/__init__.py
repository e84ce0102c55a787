"""Energies: functions of energies, networks, flows, and models of discrete variables
with exact sums."""
