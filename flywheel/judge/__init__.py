"""The judge of perceived errors: conversations in, verdicts with a reason and a probability out.

reactions   what is judged: a user turn after an assistant turn, with the turns around it
prototypes  example turns of each reason code: the judge before there are labels
lexical     tier 1, hashed n-grams: every eligible trace
encoder     tier 2 and 3, embeddings of the turns, frozen and with a LoRA adapter
judge       the tiers together, calibrated, saved and loaded as one folder
scoring     a day of traces through the judge into the warehouse
"""
