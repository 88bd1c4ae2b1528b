"""Write files about a project's nodes, for people and for other tools."""
