"""The OpenAPI document of the server: what may be asked; what is answered is in docs/how-to/serve.md."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ddim_jax
from ddim_jax.sampling_options import SamplingOptions, option_type
from ddim_jax.serve.fields import EXAMPLES, OPTIONS
from ddim_jax.serve.limits import Limits

_NUMBER, _TEXT, _WHOLE, _FLAG = ({"type": kind} for kind in ("number", "string", "integer", "boolean"))
_REFUSED = {"default": {
    "description": 'A refusal, {"status": 422, "error": "one sentence"}; docs/how-to/serve.md has the statuses',
    "content": {"application/json": {"schema": {"type": "object", "properties": {"status": _WHOLE, "error": _TEXT}}}},
}}  # fmt: skip


def document(root_path: str, limits: Limits, most: Mapping[str, int]) -> dict[str, Any]:
    """The document as JSON has it.

    Args:
      root_path: where a proxy shows the server.
      limits: of the server.
      most: steps and samples, as `ddim_jax.serve.fields.most` has them.
    """
    asked = _fields(most)
    form = {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}, **asked}
    body = {
        "required": False,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": form}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    result_id = _parameter("id", "path", _TEXT, "of the result", required=True)
    upload = {
        "summary": "Segments one image, a DICOM file or series, or a NIfTI file",
        "description": f"At most {limits.upload_bytes} bytes and {limits.picture_pixels} pixels an image. "
        "Fields may stand in the form or in the address. "
        f"A result is kept for {limits.kept_seconds:g} seconds at most. Not for clinical use.",
        "parameters": [_parameter(name, "query", {k: v for k, v in one.items() if k != "description"},
                                  one["description"]) for name, one in asked.items()],
        "requestBody": body,
        "responses": {
            "200": _json("The result"),
            "202": _json("With wait=false: the job, to be asked for at its Location"),
            **_REFUSED,
        },
    }  # fmt: skip
    png = {"200": {"description": "An image", "content": {"image/png": {}}}}
    file = {"200": {"description": "The file", "content": {"*/*": {}}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ddim_jax",
            "version": ddim_jax.__version__,
            "description": "Segmentation of medical images. Not a medical device, not for clinical use.",
        },
        "servers": [{"url": root_path or "/"}],
        "security": [{}, {"token": []}],
        "paths": {
            "/segment": {"post": upload},
            "/results/{id}": {
                "get": {
                    "summary": "A job or its result",
                    "parameters": [result_id],
                    "responses": {"200": _json("It"), **_REFUSED},
                },
                "delete": {
                    "summary": "Removes a result and all of its files",
                    "parameters": [result_id],
                    "responses": {"204": {"description": "It is removed"}, **_REFUSED},
                },
            },
            "/results/{id}/files/{name}": {
                "get": {
                    "summary": "A file of a result, as its links have it",
                    "parameters": [result_id, _parameter("name", "path", _TEXT, "such as 1/1/mask.png", True)],
                    "responses": file | _REFUSED,
                }
            },
            "/results/{id}/picture": {
                "get": {
                    "summary": "A slice of a DICOM or NIfTI source with another window",
                    "parameters": [
                        result_id,
                        _parameter("slice", "query", _WHOLE, "from 1"),
                        _parameter("window", "query", _TEXT, "centre and width, as in 40,400", required=True),
                    ],
                    "responses": png | _REFUSED,
                }
            },
            "/about": {"get": {"summary": "The checkpoints and the limits", "responses": {
                "200": _json("They"), **_REFUSED}}},
            "/healthz": {"get": {"summary": "Whether the server is ready", "security": [], "responses": {
                "200": _json("status is ok"),
                "503": _json("status is starting: programs are compiled")}}},
            "/openapi.json": {"get": {"summary": "This document", "security": [], "responses": {
                "200": _json("It")}}},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }  # fmt: skip


def _fields(most: Mapping[str, int]) -> dict[str, Any]:
    kinds = {int: _WHOLE, float: _NUMBER, bool: _FLAG}
    bounds = {name: {"minimum": 1, "maximum": bound} for name, bound in most.items()}
    about = {field.name: field.metadata["help"] for field in dataclasses.fields(SamplingOptions)}
    return {
        name: kinds.get(option_type(name), _TEXT) | bounds.get(name, {}) | {"description": about[name]}
        for name in OPTIONS
    } | {
        "example": _WHOLE | {"description": f"a phantom in place of a file, 0 to {EXAMPLES - 1}"},
        "wait": {"type": "boolean", "description": "false: answer at once, with the address of the result"},
    }


def _parameter(name: str, place: str, schema: dict[str, Any], about: str, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema, "description": about}


def _json(about: str) -> dict[str, Any]:
    """An answer; what is in it is in docs/how-to/serve.md."""
    return {"description": about, "content": {"application/json": {"schema": {"type": "object"}}}}
