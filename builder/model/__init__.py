"""The nouns: frozen values that plan makes and apply obeys. Nothing here touches the world."""
