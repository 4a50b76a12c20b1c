"""Report: pictures of runs and results."""
