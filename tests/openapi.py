"""Whether a JSON document is what Kubeflow's API says of its type, by the models generated from its OpenAPI."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import kfp_server_api

SIMPLE: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}
FILE = "kfp_api_single_file.swagger.json"


def complaints(document: Any, kind: str, at: str = "") -> list[str]:
    """What is wrong with it: unknown fields, other types, values that an enumeration has not."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(document, list):
            return [f"{at}: {document!r} is no list"]
        return [each for n, item in enumerate(document) for each in complaints(item, listed[1], f"{at}[{n}]")]
    if mapped := re.fullmatch(r"dict\(str, (.+)\)", kind):
        if not isinstance(document, dict):
            return [f"{at}: {document!r} is no mapping"]
        return [each for key, item in document.items() for each in complaints(item, mapped[1], f"{at}.{key}")]
    if kind == "object":
        return []
    if kind == "datetime":
        return [] if _is_time(document) else [f"{at}: {document!r} is no time"]
    if kind in SIMPLE:
        # A bool is an int to Python, not to JSON.
        is_right = isinstance(document, SIMPLE[kind]) and (kind == "bool") == isinstance(document, bool)
        return [] if is_right else [f"{at}: {document!r} is no {kind}"]
    return _of_model(document, getattr(kfp_server_api, kind), at)


def _of_model(document: Any, model: Any, at: str) -> list[str]:
    if values := getattr(model, "allowable_values", None):
        return [] if document in values else [f"{at}: {document!r} is none of {values}"]
    if not isinstance(document, dict):
        return [f"{at}: {document!r} is no {model.__name__}"]
    kinds = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    unknown = [f"{at}.{key}: not a field of {model.__name__}" for key in document if key not in kinds]
    known = {key: value for key, value in document.items() if key in kinds}
    return unknown + [each for key, value in known.items() for each in complaints(value, kinds[key], f"{at}.{key}")]


def _is_time(document: Any) -> bool:
    try:
        datetime.fromisoformat(document)
    except (TypeError, ValueError):
        return False
    return True


class Swagger:
    """The OpenAPI document itself, in which a field that is not declared is an error."""

    def __init__(self, folder: Path) -> None:
        self._document = json.loads((folder / FILE).read_text())
        for definition in self._document["definitions"].values():
            if "properties" in definition:
                definition.setdefault("additionalProperties", False)

    def complaints(
        self, method: str, path: str, query: dict[str, list[str]], body: bytes, is_upload: bool, answer: Any
    ) -> list[str]:
        """What is wrong with a call and its answer."""
        operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {path}: no such operation"]
        asked = {each["name"]: each for each in operation.get("parameters", [])}
        wrong = [f"{method} {path}: no parameter {name}" for name in query if name not in asked]
        required = [name for name, each in asked.items() if each["in"] == "query" and each.get("required")]
        wrong += [f"{method} {path}: {name} is missing" for name in required if name not in query]
        wanted = next((each["schema"] for each in asked.values() if each["in"] == "body"), None)
        if wanted is not None:
            wrong += self._against(json.loads(body), wanted, f"{method} {path}, asked")
        elif body and not (is_upload and any(each["in"] == "formData" for each in asked.values())):
            wrong.append(f"{method} {path}: has no body")
        return wrong + self._against(answer, operation["responses"]["200"]["schema"], f"{method} {path}, answered")

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for template, operations in self._document["paths"].items():
            pattern = re.sub(r"\\\{[^}]+\\\}", "[^/:]+", re.escape(template))
            if re.fullmatch(pattern, path) and method.lower() in operations:
                found: dict[str, Any] = operations[method.lower()]
                return found
        return None

    def _against(self, document: Any, schema: dict[str, Any], what: str) -> list[str]:
        whole = {**schema, "definitions": self._document["definitions"]}
        return [
            f"{what}: {'.'.join(str(part) for part in error.absolute_path)}: {error.message}"
            for error in jsonschema.Draft4Validator(whole).iter_errors(document)
        ]
