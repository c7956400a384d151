"""Entries in Blender's menus, and the handler for loaded files."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent
from facelift_core.gaussians.files import SUFFIXES

from . import following, native, objects
from .viewport import rendering

_LABEL = f"Gaussian Splats ({'/'.join(SUFFIXES)})"


def _draw_import(menu, context) -> None:
    menu.layout.operator("facelift.import_splats", text=_LABEL)


def _draw_export_first(menu, context) -> None:
    """On top of Blender's own exporters, which write nothing for splats, where splats are selected."""
    if objects.splat_objects(context.selected_objects):
        _draw_export(menu, context)
        menu.layout.separator()


def _draw_export_last(menu, context) -> None:
    if not objects.splat_objects(context.selected_objects):
        _draw_export(menu, context)


def _draw_convert(menu, context) -> None:
    """Beside Blender's own conversion, which leaves loose vertices of splats."""
    if objects.is_splat_object(context.object):
        menu.layout.separator()
        menu.layout.operator("facelift.make_mesh", icon="MESH_MONKEY")


def _draw_export(menu, context) -> None:
    menu.layout.operator("facelift.export_splats", text=_LABEL)
    menu.layout.operator("facelift.export_web_page", text="Gaussian Splats as Web Page (.html)")


def _draw_view(menu, context) -> None:
    if rendering.is_ours(context):
        menu.layout.separator()
        name = "facelift.viewport_render"
        menu.layout.operator(name, text="Viewport Render Image with Splats", icon="RENDER_STILL").animation = False
        film = menu.layout.operator(name, text="Viewport Render Animation with Splats", icon="RENDER_ANIMATION")
        film.animation = True


@persistent
def _file_loaded(*_) -> None:
    native.adopt()
    following.follow_all()


def attach() -> None:
    bpy.types.TOPBAR_MT_file_import.append(_draw_import)
    bpy.types.TOPBAR_MT_file_export.prepend(_draw_export_first)
    bpy.types.TOPBAR_MT_file_export.append(_draw_export_last)
    bpy.types.VIEW3D_MT_object_convert.append(_draw_convert)
    bpy.types.VIEW3D_MT_view.append(_draw_view)
    bpy.app.handlers.load_post.append(_file_loaded)
    following.attach()


def detach() -> None:
    following.detach()
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import)
    bpy.types.TOPBAR_MT_file_export.remove(_draw_export_first)
    bpy.types.TOPBAR_MT_file_export.remove(_draw_export_last)
    bpy.types.VIEW3D_MT_object_convert.remove(_draw_convert)
    bpy.types.VIEW3D_MT_view.remove(_draw_view)
    if _file_loaded in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_file_loaded)
