"""The bundled sample: 300 conversations written for this project, and a reviewer's decisions on each."""
