"""The project folder: the only room that reads profiles/, overlays/ and cloud-init/."""

from builder.project.folder import Project

__all__ = ["Project"]
