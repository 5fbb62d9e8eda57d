"""Lines of an index as it writes them."""

import json


def line(name, **fields):
    return json.dumps({"name": name, "file": f"/in/{name}.png", "status": "ok", "doubt": 0.0, **fields}) + "\n"
