//! Which sandbox has which address: one file per address, so that a crash at any moment leaves each address either
//! free or taken, never both.
//!
//! A record is written to a file of its own name and then linked to the name of the address; link(2) fails when the
//! name is taken, also by another process.

use crate::plan::Range;
use crate::{NetError, PodNetwork, PortMapping};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Start of the names of files that are not records yet.
const UNFINISHED: &str = ".new-";

/// What is known about an address that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) sandbox_id: String,
    pub(crate) ports: Vec<PortMapping>,
}

/// All records, in memory and in files.
#[derive(Debug)]
pub(crate) struct Addresses {
    // Fixed.
    folder: PathBuf,
    range: Range,
    // Files and memory change together under the lock.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Ipv4Addr, Record>,
    last: Option<Ipv4Addr>,
}

/// Whether a sandbox had its address before it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    New(Ipv4Addr),
    Kept(Ipv4Addr),
}

impl Addresses {
    /// Reads the records in `folder`, which is made if needed.
    pub(crate) fn open(folder: PathBuf, range: Range) -> Result<Self, NetError> {
        crate::config::make_folder(&folder)?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(NetError::file("read folder", &folder))? {
            let path = entry.map_err(NetError::file("read folder", &folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(UNFINISHED) {
                fs::remove_file(&path).map_err(NetError::file("remove unfinished address file", &path))?;
            } else if let Ok(address) = name.parse() {
                records.insert(address, read(&path)?);
            }
        }
        Ok(Self { folder, range, state: Mutex::new(State { records, last: None }) })
    }

    /// The sandbox's address; a new one if it has none.
    pub(crate) fn reserve(&self, pod: &PodNetwork) -> Result<Lease, NetError> {
        let mut state = self.lock();
        if let Some((address, _)) = state.records.iter().find(|(_, record)| record.sandbox_id == pod.sandbox_id) {
            return Ok(Lease::Kept(*address));
        }
        check_ports(pod, &state.records)?;
        let record = Record { sandbox_id: pod.sandbox_id.clone(), ports: pod.port_mappings.clone() };
        let mut taken: std::collections::BTreeSet<_> = state.records.keys().copied().collect();
        loop {
            let Some(address) = self.range.choose(&taken, state.last) else {
                let taken = taken.len();
                return Err(NetError::Exhausted { pod: pod_name(pod), range: self.range.to_string(), taken });
            };
            if self.write(address, &record)? {
                state.records.insert(address, record);
                state.last = Some(address);
                return Ok(Lease::New(address));
            }
            // Another process has taken it since we read the folder.
            taken.insert(address);
        }
    }

    /// Frees the sandbox's address; answers what it was.
    pub(crate) fn release(&self, sandbox_id: &str) -> Result<Option<(Ipv4Addr, Record)>, NetError> {
        let mut state = self.lock();
        let found = state.records.iter().find(|(_, record)| record.sandbox_id == sandbox_id);
        let Some((address, record)) = found.map(|(address, record)| (*address, record.clone())) else {
            return Ok(None);
        };
        remove(&self.folder.join(address.to_string()))?;
        state.records.remove(&address);
        Ok(Some((address, record)))
    }

    /// The sandbox's address and record.
    pub(crate) fn find(&self, sandbox_id: &str) -> Option<(Ipv4Addr, Record)> {
        self.records().into_iter().find(|(_, record)| record.sandbox_id == sandbox_id)
    }

    /// All records.
    pub(crate) fn records(&self) -> BTreeMap<Ipv4Addr, Record> {
        self.lock().records.clone()
    }

    fn write(&self, address: Ipv4Addr, record: &Record) -> Result<bool, NetError> {
        let unfinished = self.folder.join(format!("{UNFINISHED}{}-{address}", std::process::id()));
        let finished = self.folder.join(address.to_string());
        let text = serde_json::to_vec(record).expect("strings and numbers have a JSON form");
        fs::write(&unfinished, text).map_err(NetError::file("write address file", &unfinished))?;
        let linked = match fs::hard_link(&unfinished, &finished) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|()| true).map_err(NetError::file("write address file", &finished)),
        };
        remove(&unfinished)?;
        linked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Memory changes only after its file did, so a panic in between leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `namespace/name`, for errors.
pub(crate) fn pod_name(pod: &PodNetwork) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn check_ports(pod: &PodNetwork, records: &BTreeMap<Ipv4Addr, Record>) -> Result<(), NetError> {
    for (index, mapping) in pod.port_mappings.iter().enumerate() {
        let port = format!("{}/{}", mapping.host_port, mapping.protocol);
        if let Some(reason) = mapping.fault() {
            return Err(NetError::PortMapping { pod: pod_name(pod), port, reason });
        }
        if pod.port_mappings[..index].iter().any(|other| mapping.collides(other)) {
            return Err(NetError::PortMapping { pod: pod_name(pod), port, reason: "the pod asks for it twice" });
        }
        let holds = |record: &&Record| record.ports.iter().any(|other| mapping.collides(other));
        if let Some(record) = records.values().find(holds) {
            return Err(NetError::PortTaken { pod: pod_name(pod), port, holder: record.sandbox_id.clone() });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Record, NetError> {
    let bytes = fs::read(path).map_err(NetError::file("read address file", path))?;
    serde_json::from_slice(&bytes).map_err(|error| NetError::file("read address file", path)(error.into()))
}

fn remove(path: &Path) -> Result<(), NetError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(NetError::file("remove address file", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn pod(id: &str, host_port: Option<u16>) -> PodNetwork {
        let mapping = |host_port| PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip: None };
        PodNetwork {
            sandbox_id: id.to_owned(),
            namespace: "default".to_owned(),
            name: id.to_owned(),
            uid: id.to_owned(),
            netns: PathBuf::new(),
            port_mappings: host_port.map(mapping).into_iter().collect(),
        }
    }

    fn open(folder: &Path) -> Addresses {
        Addresses::open(folder.to_owned(), "10.9.0.0/29".parse().expect("a range")).expect("it opens")
    }

    #[test]
    fn addresses_survive_and_are_never_shared() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(folder.path());
        let Lease::New(one) = first.reserve(&pod("one", None)).expect("there is room") else { panic!("it is new") };
        // A second process that opened the folder before `two` came.
        let second = open(folder.path());
        let Lease::New(two) = first.reserve(&pod("two", None)).expect("there is room") else { panic!("it is new") };
        let Lease::New(three) = second.reserve(&pod("three", None)).expect("room") else { panic!("it is new") };
        assert!(one != two && two != three && one != three);
        assert_eq!(open(folder.path()).reserve(&pod("one", None)).expect("kept"), Lease::Kept(one));
        assert_eq!(open(folder.path()).records().len(), 3);
    }

    #[test]
    fn a_full_range_says_so_and_a_freed_address_returns() {
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = open(folder.path());
        for id in 0..5 {
            addresses.reserve(&pod(&id.to_string(), None)).expect("there is room for five");
        }
        let error = addresses.reserve(&pod("late", None)).expect_err("it is full").to_string();
        assert!(error.contains("default/late") && error.contains("10.9.0.0/29"), "{error}");
        assert!(addresses.release("3").expect("it was there").is_some());
        assert!(addresses.release("3").expect("repeating is fine").is_none());
        addresses.reserve(&pod("late", None)).expect("there is room again");
    }

    #[test]
    fn a_write_that_was_cut_off_takes_no_address() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(".new-1-10.9.0.2"), "{").expect("written");
        assert!(open(folder.path()).records().is_empty());
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn a_host_port_has_one_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = open(folder.path());
        addresses.reserve(&pod("one", Some(8080))).expect("free");
        let error = addresses.reserve(&pod("two", Some(8080))).expect_err("taken").to_string();
        assert!(error.contains("8080/TCP") && error.contains("sandbox one"), "{error}");
    }
}
