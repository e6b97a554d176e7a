"""Small recognizers of every shape there is."""

from hypothesis import strategies as st

from inkloop.model import ModelSettings
from inkloop.readings import Reading

READINGS = (Reading(kind="rows", size=4), Reading(kind="patches", size=9))
SWEPT = (Reading(kind="sweeps", size=5, margin=1), Reading(kind="patches", size=9, margin=2))


def shapes(**fixed: st.SearchStrategy) -> st.SearchStrategy[ModelSettings]:
    """Any shape, but for what is fixed."""
    choices = {
        "readings": st.just(READINGS),
        "cell": st.sampled_from(["lstm", "gru", "rnn"]),
        "bidirectional": st.booleans(),
        "hidden_size": st.integers(1, 8),
        "upper_sizes": st.lists(st.integers(1, 8), max_size=2).map(tuple),
        "highway": st.booleans(),
        "orthogonal": st.booleans(),
        "attention_size": st.integers(0, 4),
        "topology": st.booleans(),
        "remove_background": st.booleans(),
        "fc_size": st.integers(1, 8),
    }
    swept = {
        "readings": st.just(SWEPT),
        "upper_sizes": st.sampled_from([1, 3]).flatmap(lambda layers: st.tuples(*[st.integers(1, 8)] * layers)),
        "attention_size": st.integers(1, 4),
    }
    return st.one_of(
        st.builds(ModelSettings, **{**choices, **fixed}), st.builds(ModelSettings, **{**choices, **swept, **fixed})
    )
