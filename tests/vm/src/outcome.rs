//! What a suite did.

use skiff_vm_init::plan::Command;
use skiff_vm_init::report::Report;
use std::collections::BTreeMap;

/// One command after its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Its exit code; 128 plus its number for a signal; 127 when it could not be started.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// Its stdout as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its stderr as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// What came out of a machine that ran its suite to the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The kernel's version, as uname(2) says it.
    pub release: String,
    /// How often the machine was started until it booted.
    pub boots: u32,
    /// The commands, in order.
    pub commands: Vec<Ran>,
    /// The files that were asked for and exist, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// All of the kernel's console.
    pub console: String,
}

impl Outcome {
    pub(crate) fn of(commands: &[Command], boots: u32) -> Self {
        let ran = commands.iter().map(|command| Ran { words: command.words.clone(), ..Ran::default() });
        Self { boots, commands: ran.collect(), ..Self::default() }
    }

    /// The first exit code that is not 0, or 0.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.commands.iter().map(|ran| ran.code).find(|code| *code != 0).unwrap_or(0)
    }

    /// Notes what `report` says about the suite.
    pub(crate) fn take(&mut self, report: Report) {
        let ran = |commands: &mut Vec<Ran>, index: u32, note: &dyn Fn(&mut Ran)| {
            usize::try_from(index).ok().and_then(|index| commands.get_mut(index)).map(note);
        };
        match report {
            Report::Out(index, bytes) => ran(&mut self.commands, index, &|ran| ran.stdout.extend(&bytes)),
            Report::Err(index, bytes) => ran(&mut self.commands, index, &|ran| ran.stderr.extend(&bytes)),
            Report::Ended(index, code) => ran(&mut self.commands, index, &|ran| ran.code = code),
            Report::File { path, bytes } => self.files.entry(path).or_default().extend(bytes),
            Report::Ready { .. } | Report::Trouble(_) | Report::Done => (),
        }
    }
}
