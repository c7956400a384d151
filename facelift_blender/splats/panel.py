"""The *Splats* panel in the FaceLift tab of the sidebar, for the active object."""

from __future__ import annotations

import bpy

from ..jobs import bar
from ..layout import paragraphs
from ..sidebar import Sidebar
from . import conversion, editing, loading, native, nodes, objects, scene_settings
from .viewport import state

_AMOUNTS = {"Minimum Opacity": "Min. Opacity", "Viewport Amount": "In Viewport", "Render Amount": "In Render"}
"""Shorter names of inputs, which fit beside their values."""


class FACELIFT_PT_splats(Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_splats"
    bl_label = "Splats"

    @classmethod
    def poll(cls, context):
        item = context.object
        return (
            objects.active_splats(context) is not None
            or bool(objects.instanced_splats(item))
            or native.made_by_nodes(item)
            or bool(loading.active or loading.failed)
        )

    def draw(self, context):
        layout = self.layout
        loading.draw(layout)
        bar.draw_latest(layout, conversion.KIND, context)
        item = objects.active_splats(context)
        if item is None and native.made_by_nodes(context.object):
            layout.label(text="Splats made by geometry nodes", icon="GEOMETRY_NODES")
            layout.operator("facelift.splats_from_nodes", icon="POINTCLOUD_DATA")
            layout.operator("facelift.export_splats", icon="EXPORT")
            return
        if item is None:
            _draw_instances(layout, [context.object], objects.instanced_splats(context.object))
            return
        modifier = nodes.find_modifier(item)
        layout.label(text=f"{len(item.data.points):,} splats", icon="POINTCLOUD_DATA")
        if native.available():
            shown = native.is_native(item)
            layout.operator("facelift.splats_native", depress=shown).on = not shown
            if shown:
                layout.label(text="Fast viewport, for huge scenes", icon="INFO")
                layout.label(text="Less exact in renders; no edits", icon="BLANK1")
                layout.operator("facelift.export_splats", icon="EXPORT")
                return
        if modifier is None:
            layout.operator("facelift.splats_show_as", text="Show as Splats", icon="ADD")
            return
        _draw_missing(layout, context)
        layout.use_property_split = True
        layout.use_property_decorate = False
        for label, name, key in (("Render", "Render As", "render"), ("Viewport", "Viewport As", "viewport")):
            shown = nodes.get_input(modifier, name)
            split = layout.split(factor=0.4)
            split.label(text=label)
            menu = split.operator_menu_enum("facelift.splats_show_as", "mode", text=shown)
            menu.render, menu.viewport = key == "render", key == "viewport"
        if nodes.get_input(modifier, "Viewport As") == nodes.ANY_VIEW:
            if reason := state.problem():
                layout.label(text=f"Cannot draw sorted: {reason}", icon="ERROR")
            else:
                layout.prop(context.scene, state.ENABLED)
        _draw_instances(layout, editing.instancers(context.scene, item), [item])
        matches = bool(nodes.get_input(modifier, "Match Viewers"))
        layout.operator("facelift.splats_match_viewers", depress=matches, icon="COLOR").on = not matches

        column = layout.column(align=True)
        for name in ("Size", "Density", "Opacity"):
            nodes.draw_input(column, modifier, name)
        column = layout.column(align=True)
        for name in ("Tint", "Exposure", "Hue", "Saturation", "Value"):
            nodes.draw_input(column, modifier, name)
        column = layout.column(align=True)
        for name, text in _AMOUNTS.items():
            nodes.draw_input(column, modifier, name, text)

        if nodes.get_input(modifier, "Crop"):
            nodes.draw_input(layout, modifier, "Crop Box")
            nodes.draw_input(layout, modifier, "Crop Inside")
            layout.operator("facelift.splats_uncrop", icon="X")
        else:
            layout.operator("facelift.splats_crop", icon="MESH_CUBE")
        if editing.SELECTION in item.data.attributes:
            layout.operator("facelift.splats_delete_selected", icon="TRASH")
        if editing.attributes.DELETED in item.data.attributes:
            layout.operator("facelift.splats_restore_deleted", icon="LOOP_BACK")
        layout.operator("facelift.splats_duplicate", icon="DUPLICATE")
        if len(objects.splat_objects(context.selected_objects)) > 1:
            layout.operator("facelift.splats_join", icon="AUTOMERGE_ON")
        if item.asset_data is None:
            layout.operator("facelift.splats_mark_asset", icon="ASSET_MANAGER")
        layout.operator("facelift.export_splats", icon="EXPORT")
        paragraphs(layout, "Blender's own exporters leave splats out.", context, icon="INFO")


def _draw_missing(layout: bpy.types.UILayout, context) -> None:
    """Say what the scene's settings will do to the splats, and offer to change them."""
    if missing := scene_settings.missing_settings(context.scene):
        box = layout.box()
        for setting in missing:
            paragraphs(box, f"{setting.consequence}.", context, icon="ERROR")
        box.operator("facelift.apply_render_settings")


def _draw_instances(layout: bpy.types.UILayout, instances: list, items: list) -> None:
    """Warn about camera-facing splats in collection instances, which face the wrong way, and offer two fixes."""
    modifiers = filter(None, map(nodes.find_modifier, items))
    if instances and any(nodes.get_input(modifier, "Render As") == nodes.CAMERA_FACING for modifier in modifiers):
        box = layout.box()
        box.label(text="Instances do not face the camera", icon="ERROR")
        box.operator("facelift.apply_render_settings", text="Render as Any View")
        box.operator("facelift.splats_instances_real")


CLASSES = (FACELIFT_PT_splats,)
