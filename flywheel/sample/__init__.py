"""The bundled sample: 300 conversations written for it, and a reviewer's decision on each."""
