//! What a kind decides stands in the file of that kind, or in a plugin of admission that Kubernetes has under the same name.

use crate::words::product;
use crate::{root, shown, sources};
use std::collections::BTreeSet;

/// Where kinds may be named.
const HOME: &[&str] = &["apiserver/schema/src/kinds/", "apiserver/src/admission/"];

/// Lines that name one all the same: file, part of the line, and why.
const MEANT: &[(&str, &str, &str)] = &[
    ("apiserver/schema/src/table/core.rs", "list(it, \"endpoints\")", "a field of endpoint slices"),
    ("apiserver/schema/src/validate/affinity.rs", "\"namespaces\"", "a field of affinity terms"),
    ("apiserver/schema/src/validate/core.rs", "field(\"endpoints\")", "a field of endpoint slices"),
    ("apiserver/schema/src/validate/resources.rs", "\"pods\" =>", "a resource that nodes have and quotas count"),
    ("apiserver/schema/src/validate/volume.rs", "\"endpoints\"", "a field of a Gluster volume"),
    ("apiserver/src/aggregation/availability.rs", "\"apiservices\"", "the task of this one kind looks it up"),
    ("apiserver/src/aggregation/path.rs", "[\"namespaces\", namespace", "a word of paths"),
    (
        "apiserver/src/aggregation/published.rs",
        "\"configmaps\"",
        "the one config map that servers behind this one read",
    ),
    ("apiserver/src/bootstrap/servers.rs", "[\"endpoints\"]", "a field of endpoint slices"),
    ("apiserver/src/caller/accounts.rs", "(registry, \"", "a token names objects, and ends with them"),
    ("apiserver/src/caller/accounts.rs", "built_in(\"\", \"secrets\")", "a token in a secret is used"),
    ("apiserver/src/caller/joining.rs", "built_in(\"\", \"secrets\")", "a token in a secret is used"),
    ("apiserver/src/caller/tokens.rs", "\"", "a token is asked for an account, and bound to an object"),
    ("apiserver/src/caller/impersonate.rs", "\"serviceaccounts\"", "what a user's name makes it: what is asked for"),
    ("apiserver/src/definitions.rs", "\"customresourcedefinitions\"", "the task of this one kind looks it up"),
    ("apiserver/src/encryption/options.rs", "\"secrets\"", "what a store of ours encrypts unless it is told otherwise"),
    ("apiserver/src/eviction.rs", "built_in(\"policy\"", "budgets decide about evictions"),
    ("apiserver/src/grpc/pods.rs", "built_in(\"\", \"pods\")", "the service of this one kind says what is asked for"),
    ("apiserver/src/grpc/pods.rs", "resource: \"pods\"", "the service of this one kind says what is asked for"),
    ("apiserver/src/kubelet/place.rs", "built_in(\"", "a pod and its node lead to a kubelet"),
    ("apiserver/src/metrics.rs", "objects_of(app, \"", "figures are of nodes and pods"),
    ("apiserver/src/metrics/document.rs", "\"pods\"", "resources of a group of their own"),
    ("apiserver/src/rest/metrics.rs", "\"", "words of paths of a group of their own"),
    ("apiserver/src/proxy/path.rs", "[\"namespaces\", asked.namespace", "a word of paths"),
    ("apiserver/src/proxy/place.rs", "\"", "a name leads to a pod, to a kubelet, or to one of a service's pods"),
    ("apiserver/src/registrations.rs", "\"apiservices\"", "the task of this one kind looks it up"),
    ("apiserver/src/registrations.rs", "\"customresourcedefinitions\"", "definitions bring versions to be registered"),
    ("apiserver/src/registry/components.rs", "\"leases\"", "a lease says whether its holder runs"),
    ("apiserver/src/remote/place.rs", "\"", "a service leads to one of its endpoints"),
    ("apiserver/src/rest/path.rs", "[\"namespaces\", namespace", "a word of paths"),
    ("apiserver/src/rest/path.rs", "\"namespaces\", _", "a word of paths"),
    ("apiserver/src/server.rs", "object: \"", "a word of an error"),
    ("apiserver/src/server.rs", "unlisted(\"", "a word of an error"),
];

/// The plural of each row below `kinds/`.
fn plurals() -> BTreeSet<String> {
    let rows = sources().into_iter().filter(|path| shown(path).starts_with(HOME[0]));
    let texts: Vec<String> = rows.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let rows = texts.iter().flat_map(|text| {
        let namespaced = text.split("Row::namespaced(").skip(1);
        namespaced.chain(text.split("Row::cluster(").skip(1))
    });
    // Plural and singular, `["pods", "pod"]`; before them stand group, version and kind, or a name for the three.
    let names = rows.filter_map(|row| {
        let lists = row.split('[').skip(1).filter_map(|list| list.split_once(']')).map(|(list, _)| list);
        let words = lists.map(|list| list.split('"').skip(1).step_by(2).collect::<Vec<&str>>());
        words.filter(|words| words.len() == 2).map(|words| words[0]).next()
    });
    names.map(str::to_owned).collect()
}

fn named<'a>(line: &'a str, plurals: &'a BTreeSet<String>) -> Option<&'a str> {
    let asks = line.contains(".is(\"").then_some(".is(\"");
    asks.or_else(|| line.split('"').skip(1).step_by(2).find(|word| plurals.contains(*word)))
}

/// Fault of the first redesign: rules that matched a bare plural met every custom resource of that name.
#[test]
fn kinds_decide_in_their_own_files() {
    let plurals = plurals();
    assert!(plurals.len() >= 50 && plurals.contains("pods"), "the rows have another form: {plurals:?}");
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let of_server = |name: &str| name.starts_with("apiserver/src/") || name.starts_with("apiserver/schema/src/");
    for (name, lines) in product().filter(|(name, _)| of_server(name)) {
        if HOME.iter().any(|home| name.starts_with(home)) || name == "apiserver/src/admission.rs" {
            continue;
        }
        for (number, line) in lines {
            let Some(word) = named(&line, &plurals) else { continue };
            match MEANT.iter().position(|(file, part, _)| *file == name && line.contains(part)) {
                Some(at) => drop(used.insert(at)),
                None => wrong.push(format!("{name}:{number} says {word}")),
            }
        }
    }
    assert!(wrong.is_empty(), "give the kind a rule in its file, or admission a plugin:\n{}", wrong.join("\n"));
    let unused: Vec<_> = MEANT.iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, row)| row).collect();
    assert!(unused.is_empty(), "nothing says this any more: {unused:?}");
    assert!(root().join("apiserver/src/admission.rs").exists(), "admission has moved");
}
