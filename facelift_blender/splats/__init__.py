"""Gaussians as Blender objects: made, drawn, edited, read and written.

attributes      how Gaussians lie in a point cloud
objects         new objects
nodes           the Geometry Nodes group that draws them, in camera_facing or any_view; gaussian_nodes, color_nodes and
                camera_nodes what these share, builder how trees are written
material        the material; lighting its part for the scene's light, lit_nodes what the group stores for that
native          Blender's own splats, where it has them
scene_settings  what a scene needs
placement       boxes of objects, and free places beside them
heads           recognized in files, and put where they stand
importing       from files
loading         large files, in the background
previews        a picture of a file that is about to be imported
web_page        splats as an HTML file
conversion      files of formats that only the runtime can read or write
exporting       to files, with everything applied
assets          heads for the asset browser
editing         what artists do to them
following       Gaussians follow their points, whatever moves these
operators       buttons; each only calls a function; file_operators those that read and write files
panel           how it looks
viewport        how splats look in the viewport

From scripts: ``bpy.ops.facelift.import_splats(filepath=…)``, ``bpy.ops.facelift.export_splats(filepath=…)``.
"""

from __future__ import annotations


def register_menus() -> None:
    """Add to File > Import and Export; adopt the types of newer Blenders when a file is loaded."""
    from . import menus, viewport

    menus.attach()
    viewport.attach()


def unregister_menus() -> None:
    from . import loading, menus, previews, viewport

    loading.detach()
    previews.detach()
    viewport.detach()
    menus.detach()


def __getattr__(name: str):
    if name == "CLASSES":
        from . import file_operators, operators, panel
        from .viewport import operators as viewport_operators

        return (*file_operators.CLASSES, *operators.CLASSES, *viewport_operators.CLASSES, *panel.CLASSES)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
