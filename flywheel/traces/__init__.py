"""Traces: imported files in; traces, messages and a sample with known probabilities out."""
