"""From a photo to a head in the scene: settings, panel, operators, and import of finished heads.

settings             scene properties: photos, quality, seed, advanced settings
session              submits reconstructions and imports finished heads
operators            operators for reconstruction and finished heads
photo_operators      operators that choose photos
cutout_operators     operators that show, edit and reset the cut-out
cutouts              cached cut-outs, and which one to make next
edits, image_editor  hand-painted cut-outs, and the Image Editor to paint them in
insert_head          adds a finished head to the scene
readiness            what is missing before reconstructing or rendering, and the operator that fixes it
results              what became of reconstructions, in the panel
panel                the sidebar panel
pictures, png        thumbnails in panels; writing PNG files
camera               adds a camera
"""

from __future__ import annotations


def attach() -> None:
    """Add the scene properties and the handlers."""
    from . import edits, session, settings

    settings.attach()
    edits.attach()
    session.attach()


def detach() -> None:
    """Remove the handlers, timers, thumbnails and scene properties."""
    from . import edits, image_editor, pictures, session, settings

    session.detach()
    image_editor.detach()
    edits.detach()
    pictures.clear()
    settings.detach()


def __getattr__(name: str):
    if name == "CLASSES":
        from ..setup import operators as setup_operators
        from . import cutout_operators, operators, panel, photo_operators, results, settings

        parts = (settings, operators, results, photo_operators, cutout_operators, setup_operators, panel)
        return tuple(cls for part in parts for cls in part.CLASSES)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
