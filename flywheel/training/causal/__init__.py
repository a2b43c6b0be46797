"""Causal models: examples of an arm in, a LoRA adapter with its card out.

rows         examples as tokens, and which of them are learnt
sizes        the rank by the data's size, and what a training will hold in memory
learner      the loss of what the assistant has to write
base         a base loaded for training, and a fresh adapter on it
beginning    all that is settled before the first step
fit          the learning rate by short runs, the whole run, and the folder
preferences  the arms dpo and kto, by TRL
"""
