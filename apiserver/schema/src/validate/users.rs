//! Pods with users of their own (`hostUsers: false`): what of the host they cannot have besides.

use super::errors::Errors;
use crate::path::Path;
use crate::view::list;
use serde_json::Value;

const WHEN: &str = "when `hostUsers` is false";

/// A pod's spec. Two of the paths begin with a capital letter, as Kubernetes writes them.
pub(super) fn host_users(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if spec["hostUsers"] != false {
        return;
    }
    for (field, written) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec[field] == true {
            errors.forbidden(&path.field(written), WHEN);
        }
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = path.field(field);
        for (index, container) in list(spec, field).iter().enumerate() {
            if !list(container, "volumeDevices").is_empty() {
                errors.forbidden(&containers.index(index).field("volumeDevices"), WHEN);
            }
        }
    }
}

/// The whole of procfs is shown to those only whose root is nobody on the host.
pub(super) fn proc_mount(context: &Value, host_users: bool, path: &Path<'_>, errors: &mut Errors) {
    if host_users && context["procMount"] == "Unmasked" {
        errors.invalid(&path.field("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_the_hosts_is_forbidden_by_name() {
        let devices = json!([{"name": "v", "devicePath": "/dev/v"}]);
        let mut spec = json!({"hostUsers": false, "hostNetwork": true, "hostPID": true, "hostIPC": true,
            "containers": [{"name": "a", "volumeDevices": devices}]});
        let texts = |spec: &Value| {
            let mut errors = Errors::default();
            host_users(spec, &Path::Root.field("spec"), &mut errors);
            errors.into_inner().into_iter().map(|error| error.to_string()).collect::<Vec<_>>()
        };
        let expected = [
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
            "spec.HostIPC: Forbidden: when `hostUsers` is false",
            "spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false",
        ];
        assert_eq!(texts(&spec), expected);
        spec["hostUsers"] = json!(true);
        assert!(texts(&spec).is_empty());
    }
}
