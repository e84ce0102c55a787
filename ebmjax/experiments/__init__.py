"""What a run of the command line is made of: objectives with their defaults, a run, its folder, its report."""
