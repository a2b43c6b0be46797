"""One file a stage, of the stage's name, which is also the group in the UI."""
