"""Functions that an agent may call: kept by version, learnt from tasks, run in a sandbox alone."""
