//! ServiceCIDR: addresses for services.

use super::cidr::{self, Cidr};
use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::view::list;
use serde_json::Value;

const GVK: [&str; 3] = ["networking.k8s.io", "v1", "ServiceCIDR"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    subresources: &[status(GVK)],
    rules: Rules { validate, printer: &PRINTER, status_keeps: crate::kinds::METADATA, ..Rules::PLAIN },
    ..Row::cluster(GVK, ["servicecidrs", "servicecidr"], "io.k8s.api.networking.v1.ServiceCIDR")
};

static PRINTER: Printer = Printer {
    columns: &[NAME, Column::text("CIDRs", "Blocks of addresses, one a family."), AGE],
    cells: |it, now| {
        let cidrs: Vec<_> = list(&it["spec"], "cidrs").iter().filter_map(Value::as_str).collect();
        vec![name(it), cidrs.join(",").into(), age(it, now)]
    },
};

const IMMUTABLE: &str = "field is immutable";

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if change.part == "status" {
        return;
    }
    let spec = Path::Root.field("spec");
    let (new, path) = (list(&change.new["spec"], "cidrs"), spec.field("cidrs"));
    let Some(old) = change.old.map(|old| list(&old["spec"], "cidrs")) else {
        return cidrs(&change.new["spec"], &path, errors);
    };
    let grown = old.len() == 1 && new.len() == 2;
    if old.len() != new.len() && !grown {
        return errors.invalid(&path, new, IMMUTABLE);
    }
    for (index, (after, _)) in new.iter().zip(old).enumerate().filter(|(_, (after, before))| after != before) {
        errors.invalid(&path.index(index), after.clone(), IMMUTABLE);
    }
    if grown {
        cidrs(&change.new["spec"], &path, errors);
    }
}

fn cidrs(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let cidrs = list(spec, "cidrs");
    match cidrs.len() {
        0 => return errors.required(path, "at least one CIDR required"),
        1 | 2 => {}
        _ => return errors.invalid(path, spec.clone(), "may only hold up to 2 values"),
    }
    for (index, one) in cidrs.iter().enumerate() {
        cidr::strict(one.as_str().unwrap_or_default(), &path.index(index), errors);
    }
    let families: Vec<_> =
        cidrs.iter().filter_map(|one| Cidr::parse(one.as_str()?)).map(|it| it.address.is_ipv4()).collect();
    if let [one, other] = families[..]
        && one == other
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(path, cidrs, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ingress_class, ip_address};
    use crate::kinds::testing::{errors, update_errors};
    use serde_json::{Value, json};

    #[test]
    fn blocks_are_one_a_family_and_stay() {
        let with = |cidrs: Value| json!({"metadata": {"name": "a"}, "spec": {"cidrs": cidrs}});
        let of = |cidrs: Value| errors(&super::ROW, &with(cidrs));
        assert_eq!(of(json!(["10.0.0.0/24", "2001:db8::/64"])), [""; 0]);
        assert_eq!(of(json!([])), ["spec.cidrs: Required"]);
        assert_eq!(of(json!(["10.0.0.1/24"])), ["spec.cidrs[0]: Invalid"]);
        assert_eq!(of(json!(["10.0.0.0/24", "10.1.0.0/24"])), ["spec.cidrs: Invalid"]);
        let change = |new: Value| update_errors(&super::ROW, &with(new), &with(json!(["10.0.0.0/24"])));
        assert_eq!(change(json!(["10.0.0.0/24", "2001:db8::/64"])), [""; 0]);
        assert_eq!(change(json!(["10.1.0.0/24"])), ["spec.cidrs[0]: Invalid"]);
    }

    #[test]
    fn classes_and_addresses() {
        let class = |controller: &str| json!({"metadata": {"name": "a"}, "spec": {"controller": controller}});
        assert_eq!(errors(&ingress_class::ROW, &class("x.example/y")), [""; 0]);
        assert_eq!(errors(&ingress_class::ROW, &class("x.example")), ["spec.controller: Invalid"]);
        let changed = update_errors(&ingress_class::ROW, &class("x.example/z"), &class("x.example/y"));
        assert_eq!(changed, ["spec.controller: Invalid"]);
        let parent = json!({"resource": "services", "namespace": "a", "name": "s"});
        let address = |name: &str| json!({"metadata": {"name": name}, "spec": {"parentRef": parent}});
        assert_eq!(errors(&ip_address::ROW, &address("192.0.2.9")), [""; 0]);
        assert_eq!(errors(&ip_address::ROW, &address("192.0.2.999")), ["metadata.name: Invalid"]);
        assert_eq!(errors(&ip_address::ROW, &address("2001:DB8::1")), ["metadata.name: Invalid"]);
    }
}
