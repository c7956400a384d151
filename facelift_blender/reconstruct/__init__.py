"""From the click to the head: settings, panel, operators, and the timer that brings results into the scene.

settings       what belongs to a scene: photos, seed, advanced settings
session        the running jobs of this Blender, the timer, the import of what is finished
operators      buttons around a run; each only calls a function
photo_operators, cutout_operators, setup_operators: the buttons that come before it
edits, image_editor: the portrait as cut out, painted in by hand
pace           how often the panel is drawn meanwhile
readiness      what is missing before a run, with what fixes it
panel          how it looks
"""

from __future__ import annotations


def attach() -> None:
    """Hang the settings on scenes and listen to files being loaded."""
    from . import edits, session, settings

    settings.attach()
    edits.attach()
    session.attach()


def detach() -> None:
    """Stop every job, end the worker, let go of everything."""
    from . import edits, image_editor, pictures, session, settings

    session.detach()
    image_editor.detach()
    edits.detach()
    pictures.clear()
    settings.detach()


def __getattr__(name: str):
    if name == "CLASSES":
        from ..setup import operators as setup_operators
        from . import cutout_operators, operators, panel, photo_operators, settings

        parts = (settings, operators, photo_operators, cutout_operators, setup_operators, panel)
        return tuple(cls for part in parts for cls in part.CLASSES)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
