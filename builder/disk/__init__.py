"""Whole-disk images without loop devices, mounts or root: sfdisk, mke2fs and debugfs, mkfs.fat and mtools."""
