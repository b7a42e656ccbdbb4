"""The nouns of smiler: organs, ledger, geometry, evidence, provenance and errors. No torch, no voxels on disk."""
