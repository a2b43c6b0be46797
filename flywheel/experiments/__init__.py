"""Experiments: prompts, few-shot policies, judges or adapters compared on production's sessions.

Plans in, arms out for who asks; exposures, scores and labels in, a difference out that may be
looked at every day.

experiment   what an experiment is, and whose session is given which arm
running      begun, listed and ended, in the ledger and its audit log
assigning    arms for applications that ask, and who was given which
outcomes     what became of the sessions of each arm
looks        what that says by now: an interval that holds at every look
publishing   the day's look, and what the page shows of it
"""
