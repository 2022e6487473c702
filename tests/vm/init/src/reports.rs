//! The serial port to the host.

use crate::{On, Result};
use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};
use skiff_vm_init::REPORTS;
use skiff_vm_init::report::Report;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a file in one report: small enough that the host sees progress while a large file comes.
const PIECE_BYTES: usize = 64 << 10;

/// Where reports go. Clones write to the same port, a whole report at a time.
#[derive(Clone)]
pub(crate) struct Reports(Arc<Mutex<File>>);

impl Reports {
    /// Opens the port and stops the terminal layer from changing what goes through it.
    pub(crate) fn open() -> Result<Self> {
        let port = OpenOptions::new().read(true).write(true).open(REPORTS).on("open", REPORTS)?;
        let mut settings = tcgetattr(&port).on("tcgetattr", REPORTS)?;
        cfmakeraw(&mut settings);
        tcsetattr(&port, SetArg::TCSANOW, &settings).on("tcsetattr", REPORTS)?;
        Ok(Self(Arc::new(Mutex::new(port))))
    }

    /// Sends one report.
    pub(crate) fn send(&self, report: &Report) -> Result<()> {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        port.write_all(&report.frame().encode()).on("write", REPORTS)
    }

    /// Sends the file at `path`, if there is one.
    pub(crate) fn send_file(&self, path: &str) -> Result<()> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).on("open", path),
        };
        let mut piece = vec![0; PIECE_BYTES];
        let mut pieces = 0;
        loop {
            let length = file.read(&mut piece).on("read", path)?;
            if length == 0 && pieces > 0 {
                return Ok(());
            }
            self.send(&Report::File { path: path.to_owned(), bytes: piece[..length].to_vec() })?;
            pieces += 1;
        }
    }

    /// Waits until everything has left.
    pub(crate) fn drain(&self) {
        let port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tcdrain(&*port) {
            eprintln!("skiff-vm-init: tcdrain {REPORTS}: {error}");
        }
    }
}
