"""Failure modes: the ways in which conversations go wrong, known again from week to week."""
