"""Faces that move: a mesh with shape keys and bones on a head, and Gaussians that follow it.

names         of objects, bones and attributes
face_mesh     the mesh with its shape keys, and the armature
binding       what the Gaussians follow, as attributes of their point cloud
motion_nodes  the Geometry Nodes group by which they follow
rigs          a rig inserted into the scene
model_space   where the model has a head, and where the scene has it
rigging       rigs from the worker
poses         ready-made expressions; posing shows them, and inserts keyframes
gallery       their pictures, to choose from
gaze          eyes that look at an object; lids that follow the eyes
takes         face captures as F-curves
capturing     face captures from files, and from videos by the worker
operators     buttons; each only calls a function
panel         how it looks

From scripts: ``bpy.ops.facelift.rig_face()``, ``bpy.ops.facelift.import_face_capture(filepath=…)``.
"""

from __future__ import annotations


def attach() -> None:
    """Add the pictures of expressions."""
    from . import gallery

    gallery.attach()


def detach() -> None:
    from . import gallery

    gallery.detach()


def __getattr__(name: str):
    if name == "CLASSES":
        from . import operators, panel

        return (*operators.CLASSES, *panel.CLASSES)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
