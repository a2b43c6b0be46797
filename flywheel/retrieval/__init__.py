"""Corrections in; the examples most worth showing to a judge or an application out.

The index is published in generations (`index`), follows the labels (`update`), and is asked for a
day or a single conversation (`few_shots`); `ranking` holds the formula.
"""

from flywheel.retrieval.few_shots import few_shots_for_day, find_examples
from flywheel.retrieval.generation import CorrectionIndex
from flywheel.retrieval.index import read_current
from flywheel.retrieval.keys import key_turns, key_vectors, query_turns
from flywheel.retrieval.ranking import Policy, nearest_label_feature, rank_examples
from flywheel.retrieval.update import IndexesReport, IndexReport, update_index, update_indexes

__all__ = [
    "CorrectionIndex",
    "IndexReport",
    "IndexesReport",
    "Policy",
    "few_shots_for_day",
    "find_examples",
    "key_turns",
    "key_vectors",
    "nearest_label_feature",
    "query_turns",
    "rank_examples",
    "read_current",
    "update_index",
    "update_indexes",
]
