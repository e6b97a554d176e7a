"""The OpenAPI 3.1 description of the routes."""

from typing import Any

from inkloop.pen.strokes import FARTHEST
from serving import consent
from serving.feedback import Feedback
from serving.inputs import FORM_FIELD, FRAME, MAX_BODY_BYTES, PIXELS

Json = dict[str, Any]

SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}
PIXEL: Json = {"type": "number", "minimum": 0, "maximum": 255}
FLAT: Json = {
    "type": "array",
    "title": f"{PIXELS} pixels, row by row",
    "items": PIXEL,
    "minItems": PIXELS,
    "maxItems": PIXELS,
}
ROWS: Json = {
    "type": "array",
    "title": f"{FRAME} rows of {FRAME} pixels",
    "items": {"type": "array", "items": PIXEL, "minItems": FRAME, "maxItems": FRAME},
    "minItems": FRAME,
    "maxItems": FRAME,
}


def _only(key: str, value: Json) -> Json:
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


PREDICTION_ID: Json = {
    "type": "string",
    "format": "uuid",
    "description": "under which the answer is kept, and can be labeled later",
}
PROBABILITIES: Json = {
    "type": "array",
    "description": "of each digit from 0 to 9; together they make 1",
    "items": SHARE,
    "minItems": 10,
    "maxItems": 10,
}
LABEL: Json = {"type": "integer", "minimum": 0, "maximum": 9}
SCHEMAS: Json = {
    "Pixels": {
        "description": "One digit in the model's frame: 0 is black paper, 255 is white ink; refused without ink.",
        "anyOf": [FLAT, ROWS],
    },
    "Base64": {
        "type": "string",
        "contentEncoding": "base64",
        "description": "a PNG, a JPEG, or 784 bytes row by row; `data:image/png;base64,` may stand before it",
    },
    "Picture": {"anyOf": [{"$ref": "#/components/schemas/Pixels"}, {"$ref": "#/components/schemas/Base64"}]},
    "PictureUnderKey": _only("image", {"$ref": "#/components/schemas/Picture"}),
    "Pictures": {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Pixels"},
        "minItems": 1,
    },
    "PicturesUnderKey": _only("images", {"$ref": "#/components/schemas/Pictures"}),
    "Upload": {
        "type": "object",
        "properties": {FORM_FIELD: {"type": "string", "format": "binary", "description": "a PNG or JPEG"}},
        "required": [FORM_FIELD],
    },
    "Answer": {
        "type": "object",
        "properties": {
            "label": LABEL,
            "probabilities": PROBABILITIES,
            "model_version": {"type": "string", "description": "of the one that answered: the start of its SHA-256"},
            "attention": {
                "type": "object",
                "description": "if asked for: for each reading, such as `rows2` or `pen`, how much each step counted",
                "additionalProperties": {"type": "array", "items": SHARE},
            },
            "picture": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "if attention is asked for: the 784 bytes that the model saw",
            },
            "prediction_id": PREDICTION_ID,
        },
        "required": ["label", "probabilities", "model_version", "prediction_id"],
    },
    "Answers": {
        "type": "object",
        "properties": {
            "labels": {"type": "array", "items": LABEL},
            "probabilities": {"type": "array", "items": PROBABILITIES},
            "model_version": {"type": "string"},
            "prediction_ids": {"type": "array", "items": PREDICTION_ID},
        },
        "required": ["labels", "probabilities", "model_version", "prediction_ids"],
    },
    "Strokes": {
        "type": "array",
        "description": "from pen down to pen up each, in any unit, y downward; refused without a point",
        "items": {
            "type": "array",
            "items": {
                "type": "array",
                "description": "x, y and maybe a time",
                "items": {"type": "number", "minimum": -FARTHEST, "maximum": FARTHEST},
                "minItems": 2,
                "maxItems": 3,
            },
        },
    },
    "StrokesUnderKey": _only("strokes", {"$ref": "#/components/schemas/Strokes"}),
    "PictureFile": {
        "type": "string",
        "contentEncoding": "base64",
        "description": "a PNG or a JPEG; `data:image/png;base64,` may stand before it",
    },
    "PictureFileUnderKey": _only("image", {"$ref": "#/components/schemas/PictureFile"}),
    "Line": {
        "type": "object",
        "properties": {
            "digits": {
                "type": "string",
                "pattern": "^[0-9]*$",
                "description": "left to right, or none",
            },
            "confidence": {**SHARE, "description": "how likely it is to the model that it is just these digits"},
            "alignment": {
                "type": "array",
                "description": "of each digit, left to right",
                "items": {
                    "type": "object",
                    "properties": {
                        "digit": LABEL,
                        "probability": {**SHARE, "description": "where the model is surest of it"},
                        "start": {
                            **SHARE,
                            "description": "from where it says so, as a share of the ink's width",
                        },
                        "stop": {**SHARE, "description": "to where"},
                    },
                    "required": ["digit", "probability", "start", "stop"],
                },
            },
            "model_version": {"type": "string", "description": "of the one that answered: the start of its SHA-256"},
        },
        "required": ["digits", "confidence", "alignment", "model_version"],
    },
    "Feedback": Feedback.model_json_schema(),
    "Kept": {
        "type": "object",
        "properties": {"prediction_id": PREDICTION_ID, "label": LABEL},
        "required": ["prediction_id", "label"],
    },
    "Model": {
        "type": "object",
        "properties": {
            "model_version": {"type": "string"},
            "digest": {"type": "string", "description": "SHA-256 of the model directory"},
            "kind": {"enum": ["teacher", "student", "pruned", "int8"]},
            "architecture": {"type": "object"},
            "parameters": {"type": "integer"},
            "size_bytes": {"type": "integer"},
            "metrics": {"type": "object", "additionalProperties": {"type": "number"}},
            "lineage": {"type": "object", "additionalProperties": {"type": "string"}},
            "challenger": {"anyOf": [{"$ref": "#/components/schemas/Challenger"}, {"type": "null"}]},
        },
        "required": ["model_version", "digest", "kind", "architecture", "parameters", "size_bytes", "challenger"],
    },
    "Challenger": {
        "type": "object",
        "description": "A model that is tried beside the champion.",
        "properties": {
            "model_version": {"type": "string"},
            "digest": {"type": "string"},
            "mode": {"enum": ["shadow", "canary"], "description": "compared in silence, or answers a share"},
            "share": {**SHARE, "description": "of those who ask"},
            "since": {"type": "string", "format": "date-time"},
        },
        "required": ["model_version", "digest", "mode", "share", "since"],
    },
    "Problem": {
        "type": "object",
        "description": "Problem details (RFC 9457): `detail` says in one sentence what is wrong.",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    },
}


def _ref(name: str) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _bare_or_under_key(name: str) -> Json:
    """The content of a JSON body that is such a value, or an object that has it under its key."""
    return {"schema": {"anyOf": [_ref(each)["schema"] for each in (name, f"{name}UnderKey")]}}


def _problem(description: str) -> Json:
    return {"description": description, "content": {"application/problem+json": _ref("Problem")}}


def _answered(description: str, schema: str) -> Json:
    captured = {
        "description": "where the request asked to wait: whether picture and answer are on the disk",
        "schema": {"enum": ["yes", "no"]},
    }
    headers = {consent.CAPTURED_HEADER: captured}
    return {"description": description, "headers": headers, "content": {"application/json": _ref(schema)}}


def _read(summary: str, content: Json, others: Json | None = None) -> Json:
    """A GET route: what it says with status 200, and its other answers by status."""
    answers = {"200": {"description": summary, "content": content}, **(others or {})}
    return {"get": {"summary": summary, "responses": answers}}


PICTURE: Json = {"schema": {"type": "string", "format": "binary", "maxLength": MAX_BODY_BYTES}}
ATTENTION: Json = {
    "name": "attention",
    "in": "query",
    "description": "1: say where the model looked, and on what",
    "schema": {"type": "string"},
}
KEEPING: list[Json] = [
    {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
    for name, description in consent.HEADERS.items()
]
REFUSALS: Json = {
    "400": _problem("The body is empty, or not the JSON or form it says it is"),
    "413": _problem(f"The body is over {MAX_BODY_BYTES // 2**20} MiB"),
    "415": _problem("The content type is none of those accepted"),
    "422": _problem("There is no readable digit in the body: not a picture, blank, of a wrong size, out of range"),
    "429": _problem("Too many requests from this address, where the server limits them"),
    "503": _problem("Other clients' bodies take all the memory there is for them; come again in a second"),
}
PREDICT: Json = {
    "summary": "Read one digit",
    "description": "A photograph or drawing of any size, or pixels that are in the model's frame already.",
    "parameters": [ATTENTION, *KEEPING],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _ref("Upload"),
            "image/png": PICTURE,
            "image/jpeg": PICTURE,
            "application/json": _bare_or_under_key("Picture"),
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": f"{PIXELS} bytes, row by row",
                    "minLength": PIXELS,
                    "maxLength": PIXELS,
                }
            },
        },
    },
    "responses": {"200": _answered("The answer", "Answer"), **REFUSALS},
}
BATCH: Json = {
    "summary": "Read many digits",
    "description": "Pixels that are in the model's frame already. INT8 models round a batch's activations together, so "
    "that a probability may differ by about 0.01 from that of the picture alone.",
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": f"{PIXELS} bytes a picture, one picture after another",
                    "minLength": PIXELS,
                }
            },
            "application/json": _bare_or_under_key("Pictures"),
        },
    },
    "responses": {"200": {"description": "The answers", "content": {"application/json": _ref("Answers")}}, **REFUSALS},
}
STROKES: Json = {
    "summary": "Read one digit from pen strokes",
    "description": "By a model that reads strokes as sequences where one is appointed, else drawn as a picture.",
    "parameters": [ATTENTION, *KEEPING],
    "requestBody": {
        "required": True,
        "content": {"application/json": _bare_or_under_key("Strokes")},
    },
    "responses": {"200": _answered("The answer", "Answer"), **REFUSALS},
}
LINE: Json = {
    "summary": "Read a line of digits",
    "description": "A photograph or drawing of one line, of any width. Neither the picture nor the answer is kept.",
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _ref("Upload"),
            "image/png": PICTURE,
            "image/jpeg": PICTURE,
            "application/json": _bare_or_under_key("PictureFile"),
        },
    },
    "responses": {
        "200": {"description": "The answer", "content": {"application/json": _ref("Line")}},
        **REFUSALS,
        "404": _problem("No model reads lines here"),
    },
}
FEEDBACK: Json = {
    "summary": "Say what a prediction should have been",
    "description": "Needs an API key, but for callers on the server's own machine where no key was ever made.",
    "security": [{}, {"key": []}],
    "parameters": [KEEPING[1]],
    "requestBody": {"required": True, "content": {"application/json": _ref("Feedback")}},
    "responses": {
        "200": {"description": "It is on the disk", "content": {"application/json": _ref("Kept")}},
        **REFUSALS,
        "401": _problem("No API key, or one that is not known"),
        "503": _problem("This server keeps nothing"),
        "507": _problem("The server's disk is full"),
    },
}
TEXT: Json = {"text/plain": {"schema": {"type": "string"}}}

DOCUMENT: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "Inkloop",
        "version": "1",
        "description": "Reads handwritten digits.",
    },
    "paths": {
        "/predict": {"post": PREDICT},
        "/predict/batch": {"post": BATCH},
        "/predict/strokes": {"post": STROKES},
        "/predict/line": {"post": LINE},
        "/feedback": {"post": FEEDBACK},
        "/model": _read(
            "What is known about the champion, and the challenger if one is tried", {"application/json": _ref("Model")}
        ),
        "/healthz": _read("The process is alive", TEXT),
        "/livez": _read("The process is alive", TEXT),
        "/readyz": _read("The model is loaded", TEXT, {"503": _problem("The model is not loaded yet")}),
        "/metrics": _read("Metrics for Prometheus", TEXT),
    },
    "components": {"schemas": SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
}
