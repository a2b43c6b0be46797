"""What goes stale around a model, and is improved by proposals that people approve.

Traces, labels and scores in; proposals with measured evidence out. The one idea is that a program
may propose anything and decide nothing.
"""
