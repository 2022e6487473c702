//! Images: references, blobs, manifests, unpacking, overlay snapshots.
