"""Whether a cached verdict of the gate still stands: it was given on a champion that the cache's keys do not show."""

from pathlib import Path

from infra import registry
from infra.storage import open_store
from inkloop.gate import Decision
from pipeline.cache import LOOK_AROUND, Values


def stands(step: str, inputs: Values, outputs: Values) -> bool:
    """Whether a cached result of the step may be used, looking at the champion now; for `ContentCache`.

    The gate's holds while the champion is the one it compared with, or the challenger that it promoted; that of
    `package` while a challenger to be promoted is the champion. Neither outlives a rollback of the challenger, nor its
    readmission.
    """
    if step not in LOOK_AROUND:
        return True
    decision_artifact = outputs["decision"] if step == "gate" else inputs["decision"]
    decision = Decision.model_validate_json(Path(decision_artifact.path).read_text())
    champion = registry.champion(open_store(inputs["store"]))
    digest = champion.digest if champion else None
    if decision.barred != (champion is not None and champion.bars(decision.challenger) is not None):
        return False
    carried_out = decision.promoted and digest == decision.challenger
    if step == "gate":
        return carried_out or digest == decision.champion
    return carried_out or not decision.promoted
