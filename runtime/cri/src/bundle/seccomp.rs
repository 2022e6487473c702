//! Which system calls a container may make.
//!
//! `RuntimeDefault` is a list of what is refused: calls that change the machine rather than the container, and doors that
//! most kernel exploits came through. Everything else passes. (An allow list is stricter and comes with the runtime's
//! own seccomp work.)

use super::Request;
use crate::error::CriError;
use serde_json::{Value, json};
use skiff_proto::cri::v1::security_profile::ProfileType;
use std::collections::BTreeSet;

/// Refused with EPERM, unless the container has the capability whose point the call is.
const REFUSED: [(&str, &[&str]); 10] = [
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "pivot_root",
            "quotactl",
            "quotactl_fd",
            "setns",
            "swapoff",
            "swapon",
            "umount2",
            "unshare",
        ],
    ),
    ("CAP_SYS_MODULE", &["create_module", "delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_TIME", &["clock_adjtime", "clock_settime"]),
    ("CAP_SYS_BOOT", &["kexec_file_load", "kexec_load", "reboot"]),
    ("CAP_SYS_PTRACE", &["kcmp"]),
    ("CAP_SYS_NICE", &["move_pages"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    (
        NOBODY,
        &[
            "add_key",
            "io_uring_enter",
            "io_uring_register",
            "io_uring_setup",
            "keyctl",
            "nfsservctl",
            "request_key",
            "userfaultfd",
        ],
    ),
];

/// No capability: these share state with the whole machine, or are the favourite doors of exploits.
const NOBODY: &str = "";

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Every namespace flag of clone(2), CLONE_NEWCGROUP to CLONE_NEWNET.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
/// socket(2) families with a history of holes and no use in containers: AF_ALG and AF_VSOCK.
const FAMILIES: [u64; 2] = [38, 40];
/// What the kernel looks at of an `int` in a register. A filter sees all 64 bits, and whoever sets one of the others would pass
/// a comparison of the whole.
const INT: u64 = 0xffff_ffff;

pub(super) fn profile(request: &Request<'_>, capabilities: &BTreeSet<String>) -> Result<Option<Value>, CriError> {
    let security = request.security();
    let Some(profile) = security.seccomp.filter(|_| !security.privileged) else { return Ok(None) };
    match ProfileType::try_from(profile.profile_type) {
        Ok(ProfileType::Unconfined) => Ok(None),
        Ok(ProfileType::RuntimeDefault) => Ok(Some(runtime_default(capabilities))),
        Ok(ProfileType::Localhost) => {
            let text = request.seccomp_file.as_deref().unwrap_or_default();
            let value: Value = serde_json::from_str(text)
                .map_err(|error| CriError::Invalid(format!("seccomp profile {}: {error}", profile.localhost_ref)))?;
            Ok(Some(value))
        }
        Err(_) => Err(CriError::Invalid(format!("seccomp profile type {} is not known", profile.profile_type))),
    }
}

fn runtime_default(capabilities: &BTreeSet<String>) -> Value {
    let masked =
        |mask: u64, bits: u64| json!({"index": 0, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ"});
    let refused = REFUSED.iter().filter(|(capability, _)| !capabilities.contains(*capability));
    let refused: Vec<&str> = refused.flat_map(|(_, names)| names.iter().copied()).collect();
    let mut syscalls = vec![json!({"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM})];
    if !capabilities.contains("CAP_SYS_ADMIN") {
        // Its flags are behind a pointer that a filter cannot follow; with ENOSYS, libc falls back to clone.
        syscalls.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
        // One rule for each flag: a masked comparison is true only if all bits of its mask are as given.
        let flags = (0..64).map(|bit| 1_u64 << bit).filter(|flag| CLONE_NAMESPACES & flag != 0);
        syscalls.extend(flags.map(
            |flag| json!({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": [masked(flag, flag)]}),
        ));
    }
    syscalls.extend(FAMILIES.map(|family| {
        json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": [masked(INT, family)]})
    }));
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": syscalls,
    })
}
