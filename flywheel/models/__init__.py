"""Models that several stages use, loaded once a process and named by their weights."""
