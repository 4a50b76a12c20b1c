"""Report: one page about runs, and pictures of runs and results."""
