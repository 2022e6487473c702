//! Process 1 of a guest: makes a machine out of a bare kernel, runs the suite, reports, switches off.
//!
//! The files of the guest are the kernel's initramfs. What it may not do: decide anything about the suite. It has no
//! memory of earlier boots and no way to be asked again; a trouble is reported and ends the machine.

mod cgroups; // version 1, version 2, or both
mod machine; // filesystems, modules, loopback, the end
mod reports; // the serial port to the host
mod suite; // the commands, and the processes they leave

use reports::Reports;
use skiff_vm_init::plan::Plan;
use skiff_vm_init::report::Report;
use std::fmt::Display;

/// A sentence for the host: what was tried, on what, and the kernel's reason.
type Result<T> = std::result::Result<T, String>;

/// Names the operation of a failure.
trait On<T> {
    fn on(self, operation: &str, operand: impl Display) -> Result<T>;
}

impl<T, E: Display> On<T> for std::result::Result<T, E> {
    fn on(self, operation: &str, operand: impl Display) -> Result<T> {
        self.map_err(|error| format!("{operation} {operand}: {error}"))
    }
}

fn main() {
    if std::process::id() != 1 {
        eprintln!("skiff-vm-init: this is process 1 of a guest; run `skiff-vm` instead");
        std::process::exit(2);
    }
    if let Err(trouble) = live() {
        // Without reports there is only the console; the host shows its last lines.
        eprintln!("skiff-vm-init: {trouble}");
    }
    machine::switch_off();
}

fn live() -> Result<()> {
    machine::enter_root()?;
    machine::mount_filesystems()?;
    let reports = Reports::open()?;
    let result = work(&reports);
    if let Err(trouble) = &result {
        reports.send(&Report::Trouble(trouble.clone()))?;
    }
    reports.drain();
    result
}

fn work(reports: &Reports) -> Result<()> {
    let bytes = std::fs::read(skiff_vm_init::PLAN).on("read", skiff_vm_init::PLAN)?;
    let plan = Plan::decode(&bytes).map_err(|_| format!("{}: not a plan", skiff_vm_init::PLAN))?;
    for module in &plan.modules {
        machine::load_module(module)?;
    }
    if let Some(disk) = &plan.disk {
        machine::mount_disk(disk)?;
    }
    cgroups::mount_all(plan.layout)?;
    machine::bring_up_loopback()?;
    reports.send(&Report::Ready { release: machine::release()? })?;
    for (index, command) in (0..).zip(&plan.commands) {
        let code = suite::run(index, command, &plan.environment, reports)?;
        reports.send(&Report::Ended(index, code))?;
    }
    for path in &plan.bring {
        reports.send_file(path)?;
    }
    reports.send(&Report::Done)
}
