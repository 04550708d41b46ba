"""What runs: the worker and its tasks, the command line, the demo."""
