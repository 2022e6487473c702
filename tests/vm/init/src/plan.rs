//! What the guest shall do, as a file that the host writes and process 1 reads.

use crate::frame::{Decoder, Frame, Garbled};

/// How the cgroup controllers are laid out (cgroups(7), systemd's names for the layouts).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy of version 2 with every controller, each enabled for the root's children.
    #[default]
    V2,
    /// One hierarchy of version 1 for each controller.
    V1,
    /// As [`Layout::V1`], and one of version 2 without controllers at `/sys/fs/cgroup/unified`.
    Hybrid,
}

impl Layout {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 3] = [("v2", Self::V2), ("v1", Self::V1), ("hybrid", Self::Hybrid)];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, layout)| *layout == self).map_or("v2", |(name, _)| name)
    }

    /// The layout of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|(_, layout)| *layout)
    }
}

/// One command of the suite. Its stdin is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Where it starts; `/` when empty.
    pub directory: String,
    /// `NAME=VALUE` on top of [`Plan::environment`].
    pub environment: Vec<String>,
}

impl Command {
    /// A command in `/`.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Where it starts.
    #[must_use]
    pub fn within(mut self, directory: impl Into<String>) -> Self {
        self.directory = directory.into();
        self
    }

    /// One variable more.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }
}

/// Everything that process 1 is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// How cgroups are mounted.
    pub layout: Layout,
    /// Files of kernel modules, each after those it needs.
    pub modules: Vec<String>,
    /// A block device with a filesystem (ext4) to mount at [`crate::SCRATCH`].
    pub disk: Option<String>,
    /// `NAME=VALUE` for every command.
    pub environment: Vec<String>,
    /// The suite, in order.
    pub commands: Vec<Command>,
    /// Files to send back at the end; those that do not exist are left out.
    pub bring: Vec<String>,
}

const LAYOUT: u8 = b'L';
const MODULE: u8 = b'M';
const DISK: u8 = b'D';
const ENVIRONMENT: u8 = b'E';
const COMMAND: u8 = b'C';
const BRING: u8 = b'B';

impl Plan {
    /// The plan as a file's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut frames = vec![Frame::new(LAYOUT, [self.layout.name()])];
        frames.extend(self.modules.iter().map(|path| Frame::new(MODULE, [path])));
        frames.extend(self.disk.iter().map(|path| Frame::new(DISK, [path])));
        frames.extend(self.environment.iter().map(|pair| Frame::new(ENVIRONMENT, [pair])));
        for command in &self.commands {
            // How many variables there are tells where the words begin.
            let count = command.environment.len().to_string();
            let head = [&command.directory, &count];
            let fields = head.into_iter().chain(&command.environment).chain(&command.words);
            frames.push(Frame::new(COMMAND, fields));
        }
        frames.extend(self.bring.iter().map(|path| Frame::new(BRING, [path])));
        frames.iter().flat_map(Frame::encode).collect()
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// It is not a plan of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Garbled> {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        let mut plan = Self::default();
        while let Some(frame) = decoder.next_frame()? {
            let fields: Result<Vec<_>, _> = frame.fields.into_iter().map(String::from_utf8).collect();
            plan.take(frame.tag, fields.map_err(|_| Garbled)?)?;
        }
        Ok(plan)
    }

    fn take(&mut self, tag: u8, mut fields: Vec<String>) -> Result<(), Garbled> {
        if tag == COMMAND {
            self.commands.push(command(fields)?);
            return Ok(());
        }
        let (Some(one), true) = (fields.pop(), fields.is_empty()) else { return Err(Garbled) };
        match tag {
            LAYOUT => self.layout = Layout::named(&one).ok_or(Garbled)?,
            MODULE => self.modules.push(one),
            DISK => self.disk = Some(one),
            ENVIRONMENT => self.environment.push(one),
            BRING => self.bring.push(one),
            _ => return Err(Garbled),
        }
        Ok(())
    }
}

fn command(fields: Vec<String>) -> Result<Command, Garbled> {
    let mut fields = fields.into_iter();
    let directory = fields.next().ok_or(Garbled)?;
    let count: usize = fields.next().and_then(|count| count.parse().ok()).ok_or(Garbled)?;
    let environment = fields.by_ref().take(count).collect();
    Ok(Command { directory, environment, words: fields.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_arrives_as_it_was_sent() {
        let plan = Plan {
            layout: Layout::Hybrid,
            modules: vec!["/a.ko".to_owned(), "/b.ko".to_owned()],
            disk: Some("/dev/vda".to_owned()),
            environment: vec!["A=b".to_owned()],
            commands: vec![
                Command::new(["sh", "-c", "exit 1"]).within("/tmp").env("X", "y z").env("Y", ""),
                Command::new(["true"]),
            ],
            bring: vec!["/tmp/trace".to_owned()],
        };
        assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
    }

    #[test]
    fn another_programs_file_is_refused() {
        assert_eq!(Plan::decode(&Frame::new(b'?', ["x"]).encode()), Err(Garbled));
        assert_eq!(Plan::decode(&Frame::new(COMMAND, ["/", "many"]).encode()), Err(Garbled));
    }
}
