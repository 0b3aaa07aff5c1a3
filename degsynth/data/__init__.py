"""Images, pairs, patches, output names and the manifest: everything that touches the disk except checkpoints."""
