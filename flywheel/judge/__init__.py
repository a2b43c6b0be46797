"""The judge of perceived errors: conversations in, verdicts with a reason and a probability out.

reactions   what is judged: a user turn after an assistant turn, with the turns around it
prototypes  example turns of each reason code: the judge before there are labels
lexical     tier 1, hashed n-grams: every eligible trace
encoder     tier 2 and 3, embeddings of the turns, frozen and with a LoRA adapter
judge       the tiers together, calibrated, saved and loaded as one folder
prompts     the rubric, cases and a conversation as a prompt, whose text stays text
replies     a model's reply, checked
prompted    a generative judge: a rubric, put to a chat model
configured  the generative judges that the settings name
cache       what was judged before, so that nothing is paid for twice
cascade     from where on a tier decides by itself
evaluation  a judge against labels: how well it fits, what it costs, how fast it is
reading     one judge over its part of a day
scoring     a day of traces through the judges in use into the warehouse
shadows     a judge that reads beside the champion, and that nobody acts on
rubric_metrics  a day's sample under the project's own rubrics
panel       two panels of generative judges, whose labels train and measure nothing
attacks     text in a trace that orders a judge about, and how many verdicts it turns
"""
