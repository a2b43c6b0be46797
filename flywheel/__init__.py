"""Flywheel: a self-hosted data flywheel for LLM applications.

The modules stand in the order of the data, and import only from those before them:

    errors, records, statistics, safety   leaves: what everything speaks of
    settings                              flywheel.toml and FLYWHEEL_*, read once
    store/, models/                       ledger, warehouse, artifacts; the embedder
    traces/ metrics/ judge/               traces in, scored by code and by a judge
    queue, review, corrections            what people should look at, and what they said
    quality, retrieval                    rates with intervals; corrections found again
    training/, gate, registry             a challenger, the evidence, the champion
    loop, demo, cli                       the stages in order, in one process
"""

__version__ = "0.1.0"
