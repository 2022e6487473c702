//! `skiff audit`: what an operator does with audit logs.

use crate::cli::{AuditCommand, AuditVerifyArgs};
use crate::out::{show, tell};
use anyhow::{Context, bail};
use skiff_audit::Verifier;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// How many findings are told of one by one.
const TOLD_MAX: u64 = 20;

pub(crate) fn run(command: AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::Verify(args) => verify(&args),
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn verify(args: &AuditVerifyArgs) -> anyhow::Result<()> {
    let (mut verifier, mut faults) = (Verifier::default(), 0_u64);
    let mut expected = args.expect.is_none();
    for path in &args.files {
        for (number, line) in (1_u64..).zip(open(path)?.split(b'\n')) {
            let line = line.with_context(|| format!("read {}", path.display()))?;
            if let Err(found) = verifier.next(&String::from_utf8_lossy(&line)) {
                faults += 1;
                if faults <= TOLD_MAX {
                    tell!("{}:{number} {}", path.display(), found.fault);
                }
            }
            expected |= args.expect.is_some() && verifier.end() == args.expect;
        }
    }
    let end = verifier.end().unwrap_or_else(|| "none".to_owned());
    show!("{} lines, {faults} faults; the last event and its mark: {end}", verifier.lines())?;
    if !expected {
        bail!("the event and mark that --expect names are not there: the log was cut off or made anew");
    }
    if faults > 0 {
        bail!("the log is not as it was written");
    }
    Ok(())
}
