"""What is in a feature: kNN, linear and retrieval probes as pure functions, and the machinery that tasks share."""
