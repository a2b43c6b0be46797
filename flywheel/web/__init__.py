"""The web pages for people and the HTTP API: ledger and artifacts in, HTML and JSON out.

The one idea is that a page is a plain form over a library function: it decides nothing, never opens
the warehouse, and shows text from traces as text.
"""
