"""Cases: questions with answers that code computes, so that what they test covers what can happen.

A file of dimensions in, proposed lines of `cases/NAME.jsonl` out.
"""
