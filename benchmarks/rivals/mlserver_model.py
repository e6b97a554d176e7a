"""An MLServer runtime: `mlserver start FOLDER`, where the folder has the settings that `benchmarks.servers` writes."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_session import load


class Reader(MLModel):
    """Reads digits."""

    async def load(self) -> bool:
        """Load the model."""
        self.session = load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One digit or many: (n, 28, 28)."""
        images = self.decode(payload.inputs[0], default_codec=NumpyCodec).astype(np.uint8)
        probabilities = self.session.run(["probabilities"], {"images": images})[0]
        outputs = [NumpyCodec.encode_output("probabilities", probabilities)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
