//! A connection to systemd: its private socket, at whose other end is systemd itself, or the system's message bus.

use super::message::{self, Argument, Came, PREFIX_BYTES};
use crate::error::{Acts, Error, On, Result};
use crate::plan::is_below_host;
use crate::steps;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where the sockets are.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM: &str = "/run/dbus/system_bus_socket";
/// How long an answer may take: what a busy boot makes systemd need.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// More than any answer to our calls; a signal of that size is not for us either.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What systemd said to a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// The error's name, and its text.
    Refused(String, String),
}

/// A connection over which calls can be made.
#[derive(Debug)]
pub(super) struct Bus<S> {
    stream: S,
    serial: u32,
}

/// Connects to systemd.
///
/// # Errors
/// It does not run here.
pub(super) fn connect() -> Result<Bus<UnixStream>> {
    let absent = |places: &str| Error::Usage(format!("--systemd-cgroup: systemd cannot be reached at {places}"));
    if is_below_host() {
        // An ordinary user has a manager of their own.
        let folder = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
        let socket = Path::new(&folder).join("systemd/private");
        let stream = open(&socket).map_err(|_| absent(&socket.display().to_string()))?;
        return Bus::over(stream, With::Systemd);
    }
    match open(Path::new(PRIVATE)) {
        Ok(stream) => Bus::over(stream, With::Systemd),
        Err(_) => {
            let stream = open(Path::new(SYSTEM)).map_err(|_| absent(&format!("{PRIVATE} or {SYSTEM}")))?;
            Bus::over(stream, With::Bus)
        }
    }
}

fn open(path: &Path) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    Ok(stream)
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    Systemd,
    Bus,
}

impl<S: Read + Write> Bus<S> {
    /// Introduces us over `stream` (D-Bus Specification, Authentication Protocol: EXTERNAL, our uid in hexadecimal digits of
    /// its decimal ones).
    ///
    /// # Errors
    /// We are not welcome.
    pub(super) fn over(stream: S, with: With) -> Result<Self> {
        let mut bus = Self { stream, serial: 0 };
        let uid = nix::unistd::geteuid().to_string();
        let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        // In one piece, and nothing after it before the answer: systemd (252) lets a message lie that arrives together with
        // BEGIN, until something else arrives or the connection ends.
        bus.send(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes())?;
        let said = bus.line()?;
        if !said.starts_with("OK ") {
            return Err(Error::Said(format!("systemd does not accept this user: {}", said.escape_debug())));
        }
        if with == With::Bus {
            bus.serial += 1;
            let serial = bus.serial;
            bus.send(&message::hello(serial))?;
            if let Answer::Refused(_, text) = bus.answer(serial)? {
                return Err(Error::Said(format!("the message bus does not accept this user: {text}")));
            }
        }
        Ok(bus)
    }

    /// Calls `member` about `unit`.
    ///
    /// # Errors
    /// The connection broke; a refusal is an answer.
    pub(super) fn call(&mut self, acts: &Acts, unit: &str, member: &str, more: Vec<Argument>) -> Result<Answer> {
        let arguments: Vec<_> = [Argument::Text(unit.to_owned())].into_iter().chain(more).collect();
        self.serial += 1;
        let bytes = message::call(self.serial, member, &arguments);
        let sent = format!("{member} {unit}");
        acts.step_io(&steps::CGROUP_UNIT, sent, || self.stream.write_all(&bytes))?;
        self.answer(self.serial)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).on("write", "systemd's socket")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < MESSAGE_BYTES_MAX {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).on("read", "systemd's socket")?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Reads until the answer to `serial` comes; systemd tells of its other doings in between.
    fn answer(&mut self, serial: u32) -> Result<Answer> {
        loop {
            let mut prefix = [0; PREFIX_BYTES];
            self.read(&mut prefix)?;
            let unreadable = || Error::Said("systemd's socket: not a message that we can read".to_owned());
            let count = message::rest_bytes(&prefix).filter(|count| *count <= MESSAGE_BYTES_MAX);
            let mut rest = vec![0; count.ok_or_else(unreadable)?];
            self.read(&mut rest)?;
            match message::read(&prefix, &rest).ok_or_else(unreadable)? {
                Came::Done(done) if done == serial => return Ok(Answer::Done),
                Came::Failed(failed, name, text) if failed == serial => return Ok(Answer::Refused(name, text)),
                _ => (),
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.stream.read_exact(bytes) {
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                Err(Error::Said(format!("systemd did not answer within {} s", ANSWER_TIME_MAX.as_secs())))
            }
            result => result.on("read", "systemd's socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_step::Engine;

    /// A systemd on paper: says `answers`, keeps what it is told.
    struct Paper {
        answers: std::io::Cursor<Vec<u8>>,
        told: Vec<u8>,
    }

    impl Read for Paper {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            self.answers.read(bytes)
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.told.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn paper(answers: &[&[u8]]) -> Paper {
        Paper { answers: std::io::Cursor::new(answers.concat()), told: Vec::new() }
    }

    /// A signal without arguments, and answers to call 1, by hand from the specification.
    const SIGNAL: &[u8] = b"l\x04\x01\x01\0\0\0\0\x09\0\0\0\x0c\0\0\0\x03\x01s\0\x03\0\0\0New\0\0\0\0\0";
    const DONE: &[u8] = b"l\x02\x01\x01\0\0\0\0\x0a\0\0\0\x08\0\0\0\x05\x01u\0\x01\0\0\0";
    const NO: &[u8] =
        b"l\x03\x01\x01\x09\0\0\0\x0b\0\0\0\x1d\0\0\0\x05\x01u\0\x01\0\0\0\x04\x01s\0\x0c\0\0\0org.UnitGone\0\0\0\0\
        \x04\0\0\0gone\0";

    #[test]
    fn it_introduces_itself_and_waits_for_its_own_answer() {
        let mut bus = Bus::over(paper(&[b"OK 0123\r\n", SIGNAL, DONE]), With::Systemd).unwrap();
        let acts = Acts::new(Engine::off());
        assert_eq!(bus.call(&acts, "a.scope", "ResetFailedUnit", Vec::new()).unwrap(), Answer::Done);
        let told = String::from_utf8_lossy(&bus.stream.told).into_owned();
        assert!(told.starts_with("\0AUTH EXTERNAL ") && told.contains("\r\nBEGIN\r\nl\x01"), "{told:?}");
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_not() {
        let acts = Acts::new(Engine::off());
        let mut bus = Bus::over(paper(&[b"OK 0123\r\n", NO]), With::Systemd).unwrap();
        let refused = Answer::Refused("org.UnitGone".to_owned(), "gone".to_owned());
        assert_eq!(bus.call(&acts, "a.scope", "StopUnit", Vec::new()).unwrap(), refused);
        assert!(bus.call(&acts, "a.scope", "StopUnit", Vec::new()).is_err());
        assert!(Bus::over(paper(&[b"REJECTED\r\n"]), With::Systemd).is_err());
    }

    #[test]
    fn a_bus_is_greeted_first() {
        let bus = Bus::over(paper(&[b"OK 0123\r\n", DONE]), With::Bus).unwrap();
        assert!(String::from_utf8_lossy(&bus.stream.told).contains("Hello"));
    }
}
