"""A model's reference: held-out digits with its answers to them, which production is compared with."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra import captured
from infra.registry import reference_key
from infra.storage import Missing, Store
from inkloop import digits
from inkloop.runtime import Recognizer, probabilities_of

BATCH_SIZE = 256
# Of digits that production sent: with so many in validation the newer half of them, and no fewer than these, are the
# reference; with fewer all of validation is.
ENOUGH = 200


def reference_of(model: Recognizer, table: pa.Table) -> pa.Table:
    """The validation digits of a table of digits, with the model's answers, of `captured.SCHEMA`.

    If production's digits are among them (they have a `seen_at`), the newer ones alone: the model was made for them.
    """
    held_out = table.filter(pc.equal(table.column("split"), "validation"))
    seen = held_out.filter(pc.is_valid(held_out.column("seen_at")))
    newest = seen.sort_by([("seen_at", "descending")]).slice(0, max(ENOUGH, seen.num_rows // 2))
    chosen = newest if seen.num_rows >= ENOUGH else held_out
    images = np.stack(list(digits.images_of(chosen)))
    probabilities = probabilities_of(model.probabilities, images, BATCH_SIZE)
    answered: dict[str, pa.Array] = {
        "prediction_id": chosen.column("id"),
        "answer": pa.array(probabilities.argmax(1), pa.int8()),
        "probabilities": pa.array(list(probabilities), pa.list_(pa.float32())),
        "model_version": pa.repeat(model.version, len(images)),
    }
    for name, column in answered.items():
        chosen = chosen.append_column(name, column)
    return chosen.select(captured.SCHEMA.names).cast(captured.SCHEMA)


def publish(store: Store, model: Recognizer, table: pa.Table) -> None:
    """Keep the model's reference, made of a table of digits; the same table gives the same bytes."""
    store.put(reference_key(model.digest), captured.to_parquet(reference_of(model, table)))


def read(store: Store, digest: str) -> pa.Table:
    """The reference of a published model, of `captured.SCHEMA`. Raises Missing if it has none."""
    try:
        return captured.from_parquet(store.get(reference_key(digest)))
    except Missing as missing:
        raise Missing(f"model {digest[:12]}: no reference in {store}. Run the pipeline again to make one.") from missing
