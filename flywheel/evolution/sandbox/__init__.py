"""The sandbox: the one place where Python that a model wrote is run.

Code and arguments in, an answer or one sentence out; where there is no sandbox, nothing is run.
"""
