"""The metadata of exported files, read as `docs/how-to/export.md` reads it."""

import json
import zipfile


def read_about(path):
    """The metadata that the file of any format holds."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("metadata.json"))
    if path.suffix == ".xml":
        import openvino

        return json.loads(openvino.Core().read_model(str(path)).get_rt_info(["ddim_jax"]).astype(str))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return json.loads(session.get_modelmeta().custom_metadata_map["ddim_jax"])
