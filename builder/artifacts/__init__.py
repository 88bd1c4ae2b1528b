"""What goes out of the door beside a raw image: compressed images, maps, and papers about them."""
