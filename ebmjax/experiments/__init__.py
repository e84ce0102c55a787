"""What a run of the command line is made of: methods with their defaults, its folder, its report."""
