//! On a folder that stands for a resctrl filesystem: this project has no machine with one. What the kernel does with what is
//! written there is therefore not tested.

use super::*;
use skiff_step::Engine;
use std::cell::Cell;

const ALL: &str = "    L3:0=fffff\n    MB:0=100\n";

/// Directories get their files, and end with them, as the kernel does it.
struct Fake {
    folder: tempfile::TempDir,
    refuses_monitors: Cell<bool>,
}

impl Directories for Fake {
    fn make(&self, path: &Path) -> io::Result<()> {
        let is_monitor = path.parent().is_some_and(|parent| parent.ends_with("mon_groups"));
        if is_monitor && self.refuses_monitors.get() {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        fs::create_dir(path)?;
        fill(path);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

fn fill(path: &Path) {
    fs::write(path.join("tasks"), "").unwrap();
    fs::write(path.join("schemata"), ALL).unwrap();
    fs::create_dir(path.join("mon_groups")).unwrap();
}

fn fake() -> Fake {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    fs::create_dir(folder.path().join("info")).unwrap();
    fs::write(folder.path().join("info/last_cmd_status"), "ok\n").unwrap();
    Fake { folder, refuses_monitors: Cell::new(false) }
}

impl Fake {
    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    fn create(&self, rdt: &Rdt) -> Result<Membership> {
        Membership::create(&acts(), self.folder.path(), self, "web", rdt)
    }
}

fn acts() -> Acts {
    Acts::new(Engine::off())
}

fn rdt(class: Class, schemata: &[&str], is_monitored: bool) -> Rdt {
    Rdt { class, schemata: schemata.iter().map(|line| (*line).to_owned()).collect(), is_monitored }
}

fn gold() -> Class {
    Class::Named("gold".to_owned())
}

#[test]
fn a_class_of_its_own_lives_as_long_as_the_container() {
    let fake = fake();
    let member = fake.create(&rdt(Class::Own, &["L3:0=f", "MB:0=50"], true)).unwrap();
    assert!(fake.read("web/schemata").starts_with("L3:0=f\nMB:0=50\n"));
    member.join(&acts(), 42).unwrap();
    assert_eq!((fake.read("web/tasks").as_str(), fake.read("web/mon_groups/web/tasks").as_str()), ("42", "42"));
    member.write(&acts(), &["L3:0=3".to_owned()]).unwrap();
    assert!(fake.read("web/schemata").starts_with("L3:0=3\n"));
    member.remove(&acts(), &fake).unwrap();
    assert!(!fake.has("web"));
    member.remove(&acts(), &fake).unwrap();
}

#[test]
fn a_named_class_outlives_the_container_and_what_is_counted_does_not() {
    let fake = fake();
    let member = fake.create(&rdt(gold(), &["L3:0=f"], true)).unwrap();
    member.remove(&acts(), &fake).unwrap();
    assert!(fake.has("gold") && !fake.has("gold/mon_groups/web"));
    // The second container finds it as the first one made it.
    fake.create(&rdt(gold(), &["L3:0=0000f"], false)).unwrap();
    let said = fake.create(&rdt(gold(), &["L3:0=1"], false)).unwrap_err().to_string();
    assert!(said.starts_with("linux.intelRdt.closID: "), "{said}");
}

#[test]
fn everybodys_class_is_joined_and_never_removed() {
    let fake = fake();
    let member = fake.create(&rdt(Class::Default, &[], true)).unwrap();
    member.join(&acts(), 7).unwrap();
    assert_eq!((fake.read("tasks").as_str(), fake.read("mon_groups/web/tasks").as_str()), ("7", "7"));
    member.undo(&acts(), &fake).unwrap();
    assert!(fake.has("schemata") && !fake.has("mon_groups/web"));
}

#[test]
fn a_failure_leaves_nothing_and_tells_the_kernels_words() {
    let fake = fake();
    fake.refuses_monitors.set(true);
    fs::write(fake.folder.path().join("info/last_cmd_status"), "Out of RMIDs\n").unwrap();
    for (class, name) in [(Class::Own, "web"), (gold(), "gold")] {
        let said = fake.create(&rdt(class, &["L3:0=f"], true)).unwrap_err().to_string();
        assert!(said.contains("mon_groups/web: ") && said.ends_with("(Out of RMIDs)"), "{said}");
        assert!(!fake.has(name));
    }
}

#[test]
fn an_undone_class_stays_with_those_who_have_joined_it() {
    let fake = fake();
    let member = fake.create(&rdt(gold(), &["L3:0=f"], false)).unwrap();
    fs::write(fake.folder.path().join("gold/tasks"), "99\n").unwrap();
    member.undo(&acts(), &fake).unwrap();
    assert!(fake.has("gold"));
}

#[test]
fn what_a_killed_creation_left_is_found_by_config_json_alone() {
    let fake = fake();
    let asked = rdt(Class::Own, &["L3:0=f"], true);
    fake.create(&asked).unwrap();
    Membership::left(fake.folder.path(), "web", &asked).remove(&acts(), &fake).unwrap();
    assert!(!fake.has("web"));
    let asked = rdt(gold(), &["L3:0=f"], true);
    fake.create(&asked).unwrap();
    Membership::left(fake.folder.path(), "web", &asked).remove(&acts(), &fake).unwrap();
    assert!(fake.has("gold") && !fake.has("gold/mon_groups/web"));
}

#[test]
fn the_filesystem_is_found_where_it_is_mounted_whole() {
    let other = "35 30 0:28 /a /mnt/bound rw - resctrl resctrl rw\n30 1 0:2 / / rw - ext4 /dev/vda rw\n";
    assert_eq!(parse(other), None);
    let mounted = format!("{other}40 30 0:41 / /sys/fs/resctrl rw,nosuid shared:9 - resctrl resctrl rw,cdp\n");
    assert_eq!(parse(&mounted).as_deref(), Some(Path::new("/sys/fs/resctrl")));
}
