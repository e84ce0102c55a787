"""What is kept on disk and stays readable after a crash: arrays in a file, files in a folder, a journal."""
