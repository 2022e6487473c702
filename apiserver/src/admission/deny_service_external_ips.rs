//! DenyServiceExternalIPs: no service takes traffic for addresses that it is given by whoever writes it.

use super::reading::items;
use super::{Admitted, Attributes, Operation, Plugin, known};
use serde_json::Value;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "DenyServiceExternalIPs",
    handles: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(validate),
};

fn validate<'a>(seen: &'a Attributes<'a>, service: &'a Value) -> Admitted<'a> {
    let before = seen.old.map_or(&[][..], |old| items(&old["spec"], "externalIPs"));
    let is_new = |address: &Value| !before.contains(address);
    let refused = seen.is_about("", "services") && items(&service["spec"], "externalIPs").iter().any(is_new);
    let why = "Use of external IPs is denied by admission control";
    known(if refused { Err(seen.forbidden(why)) } else { Ok(()) })
}
