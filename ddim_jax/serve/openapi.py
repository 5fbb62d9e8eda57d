"""The OpenAPI document of the server."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ddim_jax
from ddim_jax.imageio.writers import declared, media_type
from ddim_jax.registry import WRITERS
from ddim_jax.sampling_options import SamplingOptions, option_type
from ddim_jax.serve.fields import EXAMPLES, OPTIONS
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import MEANINGS

_NUMBER, _TEXT, _WHOLE, _FLAG = ({"type": kind} for kind in ("number", "string", "integer", "boolean"))
_HEALTH = {"type": "object", "properties": {"status": _TEXT}}


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
    result_id = _parameter("id", "path", _TEXT, "of the result")
    upload = {
        "summary": "Segments one image, a DICOM file or series, or a NIfTI file",
        "description": f"At most {limits.upload_bytes} bytes, {limits.picture_pixels} pixels an image and "
        f"{limits.source_pixels} in all slices. Fields may stand in the form or in the address. A result is kept for "
        f"{limits.kept_seconds:g} seconds at most. Not for clinical use.",
        "parameters": [_parameter(name, "query", {k: v for k, v in one.items() if k != "description"},
                                  one["description"]) for name, one in asked.items()],
        "requestBody": body,
        "responses": {
            "200": _answer("The result", _ref("Result")),
            "202": _answer("With wait=false: the job, to be asked for at its Location", _ref("Result")),
            **_refusals(400, 403, 408, 410, 413, 415, 422, 503),
        },
    }  # fmt: skip
    png = {"200": {"description": "An image", "content": {"image/png": {}}}}
    of_files = {media_type(writer) for _, writer in WRITERS.items() if declared(writer, "on_page")}
    files = {"200": {"description": "The file", "content": {kind: {} for kind in sorted({"image/png", *of_files})}}}
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
                    "responses": {"200": _answer("It", _ref("Result")), **_refusals(404)},
                },
                "delete": {
                    "summary": "Removes a result and all of its files",
                    "parameters": [result_id],
                    "responses": {"204": {"description": "It is removed"}, **_refusals(403, 404)},
                },
            },
            "/results/{id}/files/{name}": {
                "get": {
                    "summary": "A file of a result, as its links have it",
                    "parameters": [result_id, _parameter("name", "path", _TEXT, "such as 1/1/mask.png")],
                    "responses": files | _refusals(404),
                }
            },
            "/results/{id}/picture": {
                "get": {
                    "summary": "A slice of a DICOM or NIfTI source with another window",
                    "parameters": [
                        result_id,
                        _parameter("slice", "query", _WHOLE, "from 1"),
                        _parameter("window", "query", _TEXT, "centre and width, as in 40,400"),
                        _parameter("invert", "query", _FLAG, "white as the smallest value; that of the result"),
                    ],
                    "responses": png | _refusals(404, 422),
                }
            },
            "/about": {"get": {"summary": "The checkpoints and the limits", "responses": {
                "200": _answer("They", {"type": "object"}), **_refusals(401)}}},
            "/healthz": {"get": {"summary": "Whether the server is ready", "security": [], "responses": {
                "200": _answer("status is ok", _HEALTH),
                "503": _answer("status is starting: programs are compiled", _HEALTH)}}},
            "/openapi.json": {"get": {"summary": "This document", "security": [], "responses": {
                "200": _answer("It", {"type": "object"})}}},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
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


def _schemas() -> dict[str, Any]:
    of_class = {name: _NUMBER for name in ("area", "area_low", "area_high", "dice_low")}
    of_class |= {f"{name}_mm2": _NUMBER for name in ("area", "area_low", "area_high")}
    unlike = "true: the image is unlike those of the calibration, and its bounds are not made to hold; null: not judged"
    of_class["unlike"] = {"type": ["boolean", "null"], "description": unlike}
    links = {"type": "object", "additionalProperties": _TEXT}
    pair = {"type": ["array", "null"], "items": _NUMBER, "minItems": 2, "maxItems": 2}
    letters = {side: _TEXT for side in ("top", "right", "bottom", "left")}
    volume = {
        "type": ["number", "null"],
        "description": "of the masks of all slices; null of one slice, or without spacing in three dimensions",
    }
    one_slice = {
        "height": _WHOLE,
        "width": _WHOLE,
        "pixel_mm2": {"type": ["number", "null"]},
        "area_at": {
            "type": ["string", "null"],
            "description": "detector: lengths are not corrected for the magnification of a projection",
        },
        "aspect": {"type": ["number", "null"], "description": "height of a pixel divided by its width"},
        "pixel_mm": pair | {"description": "from row to row and from column to column"},
        "window": pair | {"description": "centre and width that the slice is shown with"},
        "edges": {
            **_object(letters),
            "type": ["object", "null"],
            "description": "which of R, L, A, P, H and F (right, left, front, back, head, feet) lies there",
        },
        "mean_uncertainty": _NUMBER,
        "doubt": _NUMBER,
        "unlikeness": {"type": ["number", "null"]},
        "warning": {"type": ["string", "null"]},
        "classes": _list(_object({"name": _TEXT} | of_class, required=("name", "area"))),
        "files": links,
    }
    network = {
        **dict.fromkeys(("name", "sha256", "note", "terms"), _TEXT),
        "step": _WHOLE,
        "classes": _list(_object({"name": _TEXT, "colour": _list(_WHOLE), "volume_ml": volume})),
        "exclusive": _FLAG | {"description": "true where a pixel is of one class at most"},
        "options": {"type": "object"},
        "calibration": {"type": ["string", "null"]},
        "not_calibrated": {"type": ["string", "null"], "description": "why there are no intervals"},
        "coverage": {"type": ["number", "null"]},
        "not_judged": {"type": ["string", "null"]},
        "window": pair | {"description": "of the middle slice"},
        "window_inverted": {"type": "boolean", "description": "true where larger values are shown darker"},
        "notes": _list(_TEXT),
        "slices": _list(_object(one_slice)),
        "files": links,
        "formats": links | {"description": "what a person calls each kind of file"},
        "unavailable": links | {"description": "why there is no file of a kind"},
    }
    progress = _object(dict.fromkeys(("before", "done", "of"), _WHOLE))
    status = {"type": "string", "enum": ["receiving", "waiting", "running", "done", "failed"]}
    result = {
        "id": _TEXT,
        "status": status,
        "progress": progress,
        "links": links,
        "refusal": _ref("Refusal"),
        "networks": _list(_object(network)),
        "not_for_clinical_use": {"const": True},
    }
    return {
        "Result": _object(result, required=("id", "status", "progress", "links")),
        "Refusal": _object({"status": _WHOLE, "error": _TEXT}),
    }


def _object(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """An object of these properties and no others; all are required, or those that are named."""
    required = list(properties if required is None else required)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str, place: str, schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": about}


def _answer(about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: int) -> dict[str, Any]:
    """The refusals of an address: these, and those that every one has."""
    every = () if not statuses else (401, 405, 421, 500)
    return {str(status): _answer(MEANINGS[status], _ref("Refusal")) for status in sorted({*statuses, *every})}
