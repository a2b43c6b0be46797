"""Traces that arrive as spans: read in any tool's shape, kept, and assembled into conversations."""
