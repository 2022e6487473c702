//! What came of a claim: which devices it has, who uses them, and what their drivers say.

use super::claim::{CONFIGURATIONS_MOST, Names};
use super::shared::{
    REQUESTS_MOST, binding_conditions, configuration, driver_name, each, each_once, itself, object, pool_name,
};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{conditions, node_selector, update};
use crate::view::{list, text};
use serde_json::Value;

/// Most users of a claim.
const USERS_MOST: usize = 256;
const CONDITIONS_MOST: usize = 8;
const DATA_BYTES_MOST: usize = 10 << 10;
const ADDRESSES_MOST: usize = 16;
const INTERFACE_BYTES_MOST: usize = 256;
const HARDWARE_BYTES_MOST: usize = 128;

/// What tells a device from all others: driver, pool, name, and the share of it.
pub(super) fn device(one: &Value) -> String {
    let share = text(one, "shareID");
    let name = ["driver", "pool", "device"].map(|field| text(one, field)).join("/");
    if share.is_empty() { name } else { format!("{name}/{share}") }
}

/// The devices that a status says are allocated.
pub(super) fn devices(status: &Value) -> Vec<String> {
    list(&status["allocation"]["devices"], "results").iter().map(device).collect()
}

/// What is wrong with a new status of a claim.
pub(super) fn status(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (status, before) = (&new["status"], &old["status"]);
    let key = |one| text(one, "uid");
    each_once(status, "reservedFor", USERS_MOST, path, errors, key, |one, path, errors| {
        for field in ["resource", "name", "uid"].into_iter().filter(|field| text(one, field).is_empty()) {
            errors.required(&path.field(field), "");
        }
    });
    let allocated = devices(status);
    each_once(status, "devices", usize::MAX, path, errors, device, |one, path, errors| {
        of_device(one, &allocated, path, errors);
    });
    let users = list(status, "reservedFor");
    if !users.is_empty() && status["allocation"].is_null() {
        errors.forbidden(&path.field("reservedFor"), "may not be specified when `allocated` is not set");
    } else if !new["metadata"]["deletionTimestamp"].is_null()
        && users.iter().any(|user| !list(before, "reservedFor").contains(user))
    {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(&path.field("reservedFor"), detail);
    }
    match (before["allocation"].is_null(), status["allocation"].is_null()) {
        (false, false) => update::same("allocation", status, before, path, errors),
        (true, false) => result(&status["allocation"], &Names::of(&new["spec"]), &path.field("allocation"), errors),
        _ => {}
    }
}

fn result(allocation: &Value, names: &Names<'_>, path: &Path<'_>, errors: &mut Errors) {
    let (devices, at) = (&allocation["devices"], path.field("devices"));
    each(devices, "results", REQUESTS_MOST, &at, errors, |one, path, errors| {
        names.require(text(one, "request"), &path.field("request"), errors);
        of_name(one, path, errors);
        binding_conditions(one, path, errors);
        if one["adminAccess"] == true {
            let detail = "access to devices that are in use is not implemented by Skiff";
            errors.forbidden(&path.field("adminAccess"), detail);
        }
    });
    each(devices, "config", 2 * CONFIGURATIONS_MOST, &at, errors, |one, path, errors| {
        let sources = ["FromClaim", "FromClass"];
        errors.required_one_of(&path.field("source"), text(one, "source"), &sources);
        names.require_all(one, path, errors);
        configuration(one, false, path, errors);
    });
    if !allocation["nodeSelector"].is_null() {
        node_selector::check(&allocation["nodeSelector"], &path.field("nodeSelector"), errors);
    }
}

fn of_name(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    driver_name(text(one, "driver"), &path.field("driver"), errors);
    pool_name(text(one, "pool"), &path.field("pool"), errors);
    Format::Label.require(text(one, "device"), &path.field("device"), errors);
    if let Some(share) = one["shareID"].as_str()
        && !is_uid(share)
    {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal \
                      characters";
        errors.invalid(&path.field("shareID"), share, detail);
    }
}

fn is_uid(text: &str) -> bool {
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || hexadecimal(byte))
}

fn of_device(one: &Value, allocated: &[String], path: &Path<'_>, errors: &mut Errors) {
    of_name(one, path, errors);
    if !allocated.contains(&device(one)) {
        errors.invalid(path, device(one), "must be an allocated device in the claim");
    }
    let (all, at) = (list(one, "conditions"), path.field("conditions"));
    if all.len() > CONDITIONS_MOST {
        errors.too_many(&at, all.len(), CONDITIONS_MOST);
    }
    conditions::check(all, &at, errors);
    if !one["data"].is_null() {
        object(&one["data"], DATA_BYTES_MOST, &path.field("data"), errors);
    }
    let (network, path) = (&one["networkData"], path.field("networkData"));
    for (field, most) in [("interfaceName", INTERFACE_BYTES_MOST), ("hardwareAddress", HARDWARE_BYTES_MOST)] {
        if text(network, field).len() > most {
            errors.too_long(&path.field(field), most);
        }
    }
    each_once(network, "ips", ADDRESSES_MOST, &path, errors, itself, |one, path, errors| {
        interface_address(itself(one), path, errors);
    });
}

/// An address with the length of its network's prefix, `192.0.2.5/24`, in its shortest form.
fn interface_address(text: &str, path: &Path<'_>, errors: &mut Errors) {
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let address: std::net::IpAddr = address.parse().ok()?;
        let bits: u8 = prefix.parse().ok()?;
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then(|| format!("{address}/{bits}"))
    });
    match parsed {
        None => {
            errors.invalid(path, text, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)")
        }
        Some(canonical) if canonical != text => {
            errors.invalid(path, text, format!("must be in canonical form ({canonical:?})"));
        }
        Some(_) => {}
    }
}
