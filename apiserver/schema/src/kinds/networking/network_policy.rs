//! NetworkPolicy: who may talk to whom.

use super::cidr::{self, Cidr};
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name, selector};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::{meta, names};
use crate::view::{default, list, list_mut, object_mut, text};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["netpol"],
    rules: Rules { defaults, validate, printer: &PRINTER, generation: true, ..Rules::PLAIN },
    ..Row::namespaced(
        ["networking.k8s.io", "v1", "NetworkPolicy"],
        ["networkpolicies", "networkpolicy"],
        "io.k8s.api.networking.v1.NetworkPolicy",
    )
};

/// Each direction, and who is at its other end.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn defaults(it: &mut Value) {
    let Some(spec) = object_mut(it, "spec") else { return };
    for (direction, _) in DIRECTIONS {
        for rule in list_mut(spec, direction) {
            list_mut(rule, "ports").iter_mut().for_each(|port| default(port, "protocol", "TCP"));
        }
    }
    if list(spec, "policyTypes").is_empty() {
        let both = !list(spec, "egress").is_empty();
        spec["policyTypes"] = if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

static PRINTER: Printer = Printer {
    columns: &[NAME, Column::text("Pod-Selector", "The pods that it is about."), AGE],
    cells: |it, now| vec![name(it), selector(&it["spec"]["podSelector"]).into(), age(it, now)],
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    let before = change.old.map(|old| blocks(&old["spec"])).unwrap_or_default();
    meta::selector(&spec["podSelector"], &path.field("podSelector"), errors);
    for (direction, peers) in DIRECTIONS {
        let path = path.field(direction);
        for (index, rule) in list(spec, direction).iter().enumerate() {
            let path = path.index(index);
            let (ports, ends) = (path.field("ports"), path.field(peers));
            list(rule, "ports").iter().enumerate().for_each(|(at, one)| port(one, &ports.index(at), errors));
            list(rule, peers).iter().enumerate().for_each(|(at, one)| peer(one, &before, &ends.index(at), errors));
        }
    }
    let (types, path) = (list(spec, "policyTypes"), path.field("policyTypes"));
    if types.len() > 2 {
        return errors.invalid(&path, types, "may not specify more than two policyTypes");
    }
    for (index, one) in types.iter().enumerate() {
        errors.exactly_one_of(&path.index(index), one.as_str().unwrap_or_default(), &["Ingress", "Egress"]);
    }
}

/// All blocks of addresses; those that are there may stay, whatever they say.
fn blocks(spec: &Value) -> Vec<String> {
    let rules = DIRECTIONS.into_iter().flat_map(|(direction, peers)| {
        list(spec, direction).iter().flat_map(move |rule| list(rule, peers)).map(|peer| &peer["ipBlock"])
    });
    let texts = rules.flat_map(|block| std::iter::once(&block["cidr"]).chain(list(block, "except")));
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn port(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    errors.one_of(&path.field("protocol"), text(port, "protocol"), &["TCP", "UDP", "SCTP"]);
    let (end, at) = (port["endPort"].as_i64(), path.field("endPort"));
    if !port["port"].is_null() {
        names::port(&port["port"], &path.field("port"), errors);
    }
    match (&port["port"], end) {
        (_, None) => {}
        (Value::Number(start), Some(end)) => {
            if start.as_i64().is_some_and(|start| end < start) {
                errors.invalid(&at, port["port"].clone(), "must be greater than or equal to `port`");
            }
            errors.in_range(&at, &port["endPort"], names::PORTS);
        }
        (Value::String(_), Some(end)) => errors.invalid(&at, end, "may not be specified when `port` is non-numeric"),
        (_, Some(end)) => errors.invalid(&at, end, "may not be specified when `port` is not specified"),
    }
}

fn peer(peer: &Value, before: &[String], path: &Path<'_>, errors: &mut Errors) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if !peer[field].is_null() {
            count += 1;
            meta::selector(&peer[field], &path.field(field), errors);
        }
    }
    if !peer["ipBlock"].is_null() {
        block(&peer["ipBlock"], before, &path.field("ipBlock"), errors);
        if count > 0 {
            errors.forbidden(path, "may not specify both ipBlock and another peer");
        }
        count += 1;
    }
    if count == 0 {
        errors.required(path, "must specify a peer");
    }
}

fn block(block: &Value, before: &[String], path: &Path<'_>, errors: &mut Errors) {
    let whole = text(block, "cidr");
    if whole.is_empty() {
        return errors.required(&path.field("cidr"), "");
    }
    let mut read = |one: &str, path: &Path<'_>| match before.iter().any(|known| known == one) {
        true => Cidr::parse(one),
        false => cidr::lenient(one, path, errors),
    };
    let Some(outer) = read(whole, &path.field("cidr")) else { return };
    let except = path.field("except");
    let mut outside = Vec::new();
    for (index, part) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
        if let Some(inner) = read(part, &except.index(index))
            && !outer.holds(inner)
        {
            outside.push((index, part));
        }
    }
    for (index, part) in outside {
        errors.invalid(&except.index(index), part, "must be a strict subset of `cidr`");
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, update_errors};
    use serde_json::{Value, json};

    #[test]
    fn what_is_refused() {
        let policy = |rule: Value| json!({"metadata": {"name": "a"}, "spec": {"ingress": [rule]}});
        let of = |rule: Value| errors(&super::ROW, &policy(rule));
        assert_eq!(of(json!({"from": [{"podSelector": {}}], "ports": [{"port": 80, "endPort": 90}]})), [""; 0]);
        let from = |peer: Value| json!({"from": [peer]});
        assert_eq!(of(from(json!({}))), ["spec.ingress[0].from[0]: Required"]);
        assert_eq!(
            of(from(json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}))),
            ["spec.ingress[0].from[0]: Forbidden"]
        );
        assert_eq!(
            of(from(json!({"ipBlock": {"cidr": "10.0.0.0"}}))),
            ["spec.ingress[0].from[0].ipBlock.cidr: Invalid"]
        );
        let except = from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}));
        assert_eq!(of(except), ["spec.ingress[0].from[0].ipBlock.except[0]: Invalid"]);
        assert_eq!(of(json!({"ports": [{"port": 80, "endPort": 79}]})), ["spec.ingress[0].ports[0].endPort: Invalid"]);
        assert_eq!(of(json!({"ports": [{"endPort": 79}]})), ["spec.ingress[0].ports[0].endPort: Invalid"]);
        let old = policy(from(json!({"ipBlock": {"cidr": "10.0.0.0"}})));
        assert_eq!(update_errors(&super::ROW, &old, &old), [""; 0]);
    }
}
