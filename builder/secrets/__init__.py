"""References to secrets, resolved last and never printed."""
