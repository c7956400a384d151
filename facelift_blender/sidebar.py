"""The FaceLift tab of the 3D viewport's sidebar."""

from __future__ import annotations


class Sidebar:
    """Mixin for panels in the tab."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "FaceLift"
