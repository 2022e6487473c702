//! Labels of security modules: AppArmor profiles and SELinux contexts.

use crate::error::{Acts, Error, On, Result};
use crate::spec::Treatment;
use crate::steps;
use nix::unistd::getpid;
use skiff_sys::inroot::open_beneath;
use skiff_sys::mount::Context;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// Refuses the labels of a process, which stands at `field`, that this kernel could not keep.
///
/// # Errors
/// By field path.
pub(crate) fn check(field: &str, treatment: &Treatment) -> Result<()> {
    if treatment.apparmor_profile.is_some() && !has_apparmor() {
        return Err(Error::refused(format!("{field}.apparmorProfile"), "this kernel has no AppArmor, or has it off"));
    }
    if treatment.selinux_label.is_some() && !has_selinux() {
        return Err(Error::refused(format!("{field}.selinuxLabel"), "this kernel has no SELinux, or has it off"));
    }
    Ok(())
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// The filesystem is registered only when the module is on (selinux(8)).
pub(crate) fn has_selinux() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("selinuxfs"))
}

/// Says which labels this process gets on its next execve(2).
///
/// # Errors
/// The profile is not loaded; the policy does not let us.
pub(super) fn set(acts: &Acts, treatment: &Treatment) -> Result<()> {
    let profile = treatment.apparmor_profile.as_ref().map(|profile| [b"exec ", profile.as_bytes()].concat());
    let label = treatment.selinux_label.as_ref().map(|label| label.as_bytes().to_vec());
    for (file, text) in [("attr/apparmor/exec", profile), ("attr/exec", label)] {
        let Some(text) = text else { continue };
        // Through a procfs of our own: the container's could be anything (CVE-2019-16884, CVE-2025-52881).
        let procfs = Context::open(c"proc").and_then(|context| context.mount(0)).on("mount", "private procfs")?;
        let path = Path::new(&getpid().to_string()).join(file);
        acts.step_io(&steps::LABEL_SET, String::from_utf8_lossy(&text), || {
            let file = open_beneath(procfs.as_fd(), &path, nix::fcntl::OFlag::O_WRONLY)?;
            File::from(file).write_all(&text)
        })?;
    }
    Ok(())
}
