//! Where the API has what.

/// A list of the core group in all namespaces, or of what has none.
pub(crate) fn all(plural: &str) -> String {
    format!("/api/v1/{plural}")
}

/// A list of the core group in a namespace.
pub(crate) fn within(namespace: &str, plural: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{plural}")
}

/// An object of the core group.
pub(crate) fn one(namespace: &str, plural: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{plural}/{name}")
}

/// An object of the core group without a namespace.
pub(crate) fn global(plural: &str, name: &str) -> String {
    format!("/api/v1/{plural}/{name}")
}

/// A list of a named group, `apps/v1`, in a namespace.
pub(crate) fn of_group(group: &str, namespace: &str, plural: &str) -> String {
    format!("/apis/{group}/namespaces/{namespace}/{plural}")
}

/// What the kubelet of `node` says at `path`.
pub(crate) fn kubelet(node: &str, path: &str) -> String {
    format!("/api/v1/nodes/{node}/proxy/{path}")
}

/// The end of a container's log, of its previous run or of this one.
pub(crate) fn log(namespace: &str, pod: &str, container: &str, previous: bool) -> String {
    format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={previous}&tailLines=20&limitBytes=16384"
    )
}

/// What a node of ours knows beside what every kubelet says.
pub(crate) const KNOWN: &str = "skiff/known";
