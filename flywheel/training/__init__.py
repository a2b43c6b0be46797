"""Training: corrections in, a challenger out; from the base each time, never on the holdout.

dataset     the training set, snapshotted under its hash, with the leak check
fit         the tiers of a judge, each chosen by grouped cross-validation
lora        the LoRA adapter of the encoder
challenger  a fitted judge, saved, registered and aliased
"""
