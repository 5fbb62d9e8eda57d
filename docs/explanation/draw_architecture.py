"""Draws architecture.svg beside this file: the floors of the package, and two walks through them.

    python docs/explanation/draw_architecture.py

tests/unit/test_architecture.py holds the package to these floors and walks.
"""

from pathlib import Path

FLOORS = (
    ("cli",),
    ("evaluation", "export", "serve"),
    ("training", "inference"),
    ("config.py",),
    ("unused_fields.py",),
    ("schema.py",),
    ("models", "data"),
    ("diffusion",),
    ("preprocessing.py", "sampling_options.py"),
    ("imageio", "aggregation", "metrics", "checkpoints"),
    ("registry.py", "fields.py", "labels.py", "ops", "pretrained"),
    ("runtime",),
)
"""From the top to the bottom. A room imports from itself and from lower floors only."""

ABOUT = {
    "cli": "the commands",
    "evaluation": "a data set scored",
    "export": "ONNX, StableHLO, OpenVINO",
    "serve": "a page, REST",
    "training": "loop, step, input, validation",
    "inference": "Segmenter, folders of files",
    "config.py": "made, checked, compared",
    "unused_fields.py": "what does nothing",
    "schema.py": "every field, once",
    "models": "one file for each network",
    "data": "datasets/, splits, augmentation",
    "diffusion": "process, schedule, samplers/",
    "preprocessing.py": "normalise, resize, pad, flip",
    "sampling_options.py": "how to segment, one value",
    "imageio": "readers/, writers/",
    "aggregation": "fusion",
    "metrics": "one file each",
    "checkpoints": "verified",
    "registry.py": "names",
    "fields.py": "values",
    "labels.py": "classes",
    "ops": "kernels",
    "pretrained": "nets",
    "runtime": "signals, processes, locks, errors: knows nothing of images",
}

TO_LOSS = (
    "training/setup.py",
    "data/datasets/folder.py",
    "imageio/readers/pillow.py",
    "data/arrays.py",
    "preprocessing.py",
    "training/input_pipeline.py",
    "training/step.py",
    "data/augmentation.py",
    "diffusion/process.py",
    "diffusion/forward.py",
    "models/trunk_ddim.py",
    "diffusion/mask_losses/bce_dice.py",
)
TO_MASK = (
    "cli/sample.py",
    "inference/files.py",
    "inference/stream.py",
    "imageio/readers/pillow.py",
    "inference/device.py",
    "preprocessing.py",
    "inference/segmentation.py",
    "diffusion/process.py",
    "diffusion/samplers/ddim.py",
    "models/trunk_ddim.py",
    "imageio/writers/mask.py",
)

WIDTH, FLOOR, GAP, MARGIN = 920, 66, 12, 10
BLUE, ORANGE = "#2a6fb0", "#c8691c"


def draw() -> str:
    """The diagram as the text of an SVG file."""
    height = MARGIN + len(FLOORS) * (FLOOR + GAP) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, rooms in enumerate(FLOORS):
        y = MARGIN + number * (FLOOR + GAP)
        width = (WIDTH - 2 * MARGIN - (len(rooms) - 1) * GAP) / len(rooms)
        for place, room in enumerate(rooms):
            parts += _room(room, MARGIN + place * (width + GAP), y, width)
    y = height - 16
    for x, colour, text in (
        (MARGIN + 10, BLUE, "an image to the loss"),
        (MARGIN + 220, ORANGE, "an image to its mask"),
    ):
        parts.append(f'<circle cx="{x}" cy="{y - 5}" r="9" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{y}" font-size="14" fill="#333333">{text}</text>')
    parts.append(
        f'<text x="{WIDTH - MARGIN}" y="{y}" font-size="14" fill="#333333" text-anchor="end">'
        "imports go down, never up</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


def _room(room: str, x: float, y: float, width: float) -> list[str]:
    name = room if room.endswith(".py") else f"{room}/"
    parts = [
        f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{FLOOR}" rx="6" fill="#f4f6f8" stroke="#b8c2cc"/>',
        f'<text x="{x + 12:.0f}" y="{y + 23}" font-size="16" font-weight="bold" fill="#1d2733">{name}'
        f'<tspan dx="10" font-size="12" font-weight="normal" fill="#5a6672">{ABOUT[room]}</tspan></text>',
    ]
    stops = [(BLUE, i) for i, file in enumerate(TO_LOSS, 1) if _in(file, room)]
    stops += [(ORANGE, i) for i, file in enumerate(TO_MASK, 1) if _in(file, room)]
    for place, (colour, number) in enumerate(stops):
        cx, cy = x + 24 + 25 * place, y + 46
        parts.append(f'<circle cx="{cx:.0f}" cy="{cy}" r="11" fill="{colour}"/>')
        parts.append(
            f'<text x="{cx:.0f}" y="{cy + 4}" font-size="12" fill="#ffffff" text-anchor="middle">{number}</text>'
        )
    return parts


def _in(file: str, room: str) -> bool:
    return file == room or file.startswith(f"{room}/")


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text(draw(), encoding="utf-8")
