"""Examples: what a causal model is trained on, out of what people decided.

example     one conversation, with the turns in it that are learnt
replies     examples of an application's replies and tool calls
verdicts    examples of a judge's replies
gates       what of them may be learnt from
replay      which old ones are learnt again, where not all fit in
snapshot    all of them, frozen under a hash
arms        what of the examples is learnt in which way, and how each is tagged
"""
