"""Files that looking at a folder leaves there: nobody's results, and no sign of damage."""

_NAMES = {".DS_Store", "Thumbs.db", "desktop.ini"}
_ATTRIBUTES = "._"  # macOS, before the name of each file on a share without its attributes


def is_from_file_browser(name: str) -> bool:
    """Returns True for the name of such a file."""
    return name in _NAMES or name.startswith(_ATTRIBUTES)
