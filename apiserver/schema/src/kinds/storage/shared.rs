//! What kinds of storage have in common.

use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::entries;
use serde_json::Value;

/// The name of a CSI driver.
pub(crate) fn driver_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > 63 {
        errors.too_long(path, 63);
    }
    if let Some(detail) = Format::Subdomain.check(&name.to_lowercase()) {
        errors.invalid(path, name, detail);
    }
}

/// Who provides volumes: a qualified name.
pub(super) fn provisioner(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
    } else {
        Format::QualifiedName.require(&name.to_lowercase(), path, errors);
    }
}

/// Most parameters of a class.
const PARAMETERS_MOST: usize = 512;
/// Most bytes of all keys and values of a map for a driver.
pub(super) const MAP_BYTES_MOST: usize = 256 << 10;

/// Parameters for a driver in `parameters` of `holder`.
pub(super) fn parameters(holder: &Value, errors: &mut Errors) {
    let path = Path::Root.field("parameters");
    if entries(holder, "parameters").count() > PARAMETERS_MOST {
        return errors.too_long(&path, PARAMETERS_MOST);
    }
    if entries(holder, "parameters").any(|(key, _)| key.is_empty()) {
        errors.invalid(&path, "", "field can not be empty.");
    }
    if size(holder, "parameters") > MAP_BYTES_MOST {
        errors.too_long(&path, MAP_BYTES_MOST);
    }
}

/// Bytes of all keys and values of a map.
pub(super) fn size(holder: &Value, field: &str) -> usize {
    entries(holder, field).map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}
