"""The cache of products, under keys that follow from everything a product is made from."""
