"""The metric set: what is measured, and proposals to measure it better."""
