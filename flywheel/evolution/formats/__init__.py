"""Formats: how rows and traces are written for a model to read, as cheaply as it reads them right.

Rows or labelled traces in, proposals with a certificate out.
"""
