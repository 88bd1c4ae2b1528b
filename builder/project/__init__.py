"""The project folder. Only this room reads profiles/, overlays/ and cloud-init/."""

from builder.project.folder import Project

__all__ = ["Project"]
