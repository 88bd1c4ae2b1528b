"""The papers beside an image, for everybody else: checksums, signatures, SBOM, provenance, lists."""
