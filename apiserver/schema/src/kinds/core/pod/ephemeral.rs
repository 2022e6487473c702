//! The part `ephemeralcontainers`: containers for looking into a pod that runs. They come and stay as they are.

use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::{list, text};
use serde_json::Value;

/// Everything but the ephemeral containers stays as it was.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let wanted = new.get("spec").and_then(|spec| spec.get("ephemeralContainers")).cloned();
    let mut next = old.clone();
    if let Some(spec) = next.get_mut("spec").and_then(Value::as_object_mut) {
        match wanted.filter(|wanted| !wanted.is_null()) {
            Some(wanted) => spec.insert("ephemeralContainers".to_owned(), wanted),
            None => spec.remove("ephemeralContainers"),
        };
    }
    *new = next;
}

/// What was there stays.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::Root.field("spec");
    let (path, now) = (spec.field("ephemeralContainers"), list(&new["spec"], "ephemeralContainers"));
    if super::is_mirror(old) {
        return errors.forbidden(&Path::Root, "static pods do not support ephemeral containers");
    }
    for before in list(&old["spec"], "ephemeralContainers") {
        let name = text(before, "name");
        match now.iter().find(|container| text(container, "name") == name) {
            None => errors.forbidden(&path, format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(after) if !update::equal(after, before) => {
                errors.forbidden(&path, format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}
