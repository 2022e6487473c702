//! What our components send and what our API server serves: the two lists, and the components' sources.

use skiff_client::{USES, Use};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Fault N8: whatever our own components send is served, or is said to be missing.
#[test]
fn what_our_components_send_is_served() {
    for one in USES.iter().filter(|one| one.group != "*") {
        let (plural, part) = one.resource.split_once('/').unwrap_or((one.resource, ""));
        let resource = skiff_schema::find(one.group, one.version, plural);
        let verbs = match resource {
            Some(resource) if part.is_empty() => resource.verbs,
            Some(resource) => resource.subresource(part).map(|part| part.verbs).unwrap_or_default(),
            None => &[],
        };
        let served = one.verbs.iter().all(|verb| verbs.contains(verb));
        assert_eq!(served, one.unserved.is_empty(), "{one:?}: the server has {verbs:?}");
        if let Some(resource) = resource {
            assert_eq!(resource.kind, one.kind, "{one:?}");
        }
    }
}

/// The files of a component, without tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of a component").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// The words after each `before` in `text`.
fn words_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    let rest = text.match_indices(before).map(move |(at, _)| &text[at + before.len()..]);
    rest.map(|rest| rest.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default())
}

/// Fault N8: a kind that a component's source names as an API has its line in the list, and so has a subresource.
#[test]
fn the_list_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Names of parameters, and kinds that are whatever discovery says.
    const NO_KINDS: [&str; 4] = ["C", "K", "DynamicObject", "PartialObjectMeta"];
    for (by, folder) in [
        ("scheduler", root.join("scheduler/src")),
        ("controllers", root.join("controllers/src")),
        ("kubelet", root.join("../kubelet/src")),
        ("proxy", root.join("../kubelet/proxy/src")),
        ("dns", root.join("../kubelet/dns/src")),
        ("netpol", root.join("../kubelet/netpol/src")),
        ("ingress", root.join("../kubelet/ingress/src")),
    ] {
        let listed: Vec<&Use> = USES.iter().filter(|one| one.by == by).collect();
        let kinds: BTreeSet<&str> = listed.iter().map(|one| one.kind).chain(NO_KINDS).collect();
        let parts: BTreeSet<&str> = listed.iter().filter_map(|one| Some(one.resource.split_once('/')?.1)).collect();
        for file in sources(&folder) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let doors = ["Api<", "Api::<", ".all::<", ".within::<", ".chosen::<", ".one::<", ".over::<"];
            for kind in doors.into_iter().flat_map(|door| words_after(text, door)) {
                assert!(
                    kind.is_empty() || kinds.contains(kind),
                    "{}: {kind} is not in the list of uses",
                    file.display()
                );
            }
            for part in words_after(text, "_subresource(\"") {
                assert!(parts.contains(part), "{}: {part} is not in the list of uses", file.display());
            }
            for (call, part) in [("patch_status(", "status"), ("create_token_request(", "token")] {
                assert!(!text.contains(call) || parts.contains(part), "{}: {call} needs a use", file.display());
            }
            // kube's recorder writes events.k8s.io, which is not served.
            assert!(!text.contains("kube::runtime::events"), "{}: skiff_client::record writes events", file.display());
        }
    }
}

/// Fault N26: what a real kubelet needs before its node is Ready.
#[test]
fn what_a_real_kubelet_follows_is_served() {
    let followed = [
        ("", "configmaps"),
        ("", "nodes"),
        ("", "pods"),
        ("", "secrets"),
        ("", "services"),
        ("coordination.k8s.io", "leases"),
        ("node.k8s.io", "runtimeclasses"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
    ];
    let missing: Vec<_> =
        followed.into_iter().filter(|(group, plural)| skiff_schema::find(group, "v1", plural).is_none()).collect();
    assert!(missing.is_empty(), "a real kubelet also follows {missing:?}");
}
