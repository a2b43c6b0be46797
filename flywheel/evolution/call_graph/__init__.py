"""The application as a graph of calls: what calls what, where errors start, what to look at next.

Spans and messages of recent traces in; a graph, a risk of each node and probes of a known chance
out. The one idea is that a step is known by its kind and its name, so that the same graph comes out
of whatever recorded it.

runs         traces as steps, and how they ended
tally        steps as nodes, edges, loops, dead ends and retries
walks        from the first step to the last below it, and how errors grow along it
risk         how often a node fails, how sure that is, and what depends on it
attribution  which step of a failed trace the error started at
origin       the same of one trace
probed       what probes say of all traces by a node
graph        what all of these say together
layout       the graph on a plane
publishing   for the page
probes       the judge's budget where the risk is, with known chances
probing      a day's probes, drawn and read
"""
