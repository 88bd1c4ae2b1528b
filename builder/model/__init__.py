"""Frozen values that the other rooms share. Nothing here reads or writes files, or runs programs."""
