//! Which class is made, what is written to it, and whether one that exists is what was asked for: decided on paper.

use crate::error::{Error, Result};
use crate::spec::{Class, Rdt, resource};
use std::path::{Path, PathBuf};

/// Where a container belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The class's directory.
    pub(super) class: PathBuf,
    /// A directory to count in.
    pub(super) monitor: Option<PathBuf>,
}

impl Places {
    /// Those that `rdt` asks for, for the container `id`, in the resctrl filesystem at `root`.
    pub(super) fn of(rdt: &Rdt, id: &str, root: &Path) -> Self {
        let class = match &rdt.class {
            Class::Own => root.join(id),
            Class::Named(name) => root.join(name),
            Class::Default => root.to_owned(),
        };
        let monitor = rdt.is_monitored.then(|| class.join("mon_groups").join(id));
        Self { class, monitor }
    }
}

/// What is done for one container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where it goes.
    pub(super) places: Places,
    /// Whether the class has to be made.
    pub(super) makes: bool,
    /// What its file `schemata` is told.
    pub(super) schemata: Vec<String>,
}

/// Decides for the container `id` of the resctrl filesystem at `root`; `present` reads the file `schemata` of a directory, if
/// there is one.
///
/// # Errors
/// A class must exist and does not, or exists and gives something else; by field path.
pub(super) fn plan(rdt: &Rdt, id: &str, root: &Path, present: impl Fn(&Path) -> Option<String>) -> Result<Plan> {
    let places = Places::of(rdt, id, root);
    let class = &places.class;
    let present = present(class);
    match (&rdt.class, &present) {
        (Class::Own, Some(_)) => {
            return Err(Error::refused("linux.intelRdt", format!("there is a class {} already", class.display())));
        }
        (Class::Named(_), None) if rdt.schemata.is_empty() => {
            let reason = format!("there is no class {}, and no schema says what it would be", class.display());
            return Err(Error::refused("linux.intelRdt.closID", reason));
        }
        (_, Some(present)) => agree(rdt, class, present)?,
        _ => (),
    }
    let makes = present.is_none();
    let schemata = if makes { rdt.schemata.clone() } else { Vec::new() };
    Ok(Plan { places, makes, schemata })
}

/// A class that exists must be what was asked for: it is not ours to change.
fn agree(rdt: &Rdt, class: &Path, present: &str) -> Result<()> {
    let differs = |asked: &&String| !present.lines().any(|line| gives(line, asked));
    match rdt.schemata.iter().find(differs) {
        None => Ok(()),
        Some(asked) => {
            let there = present.lines().find(|line| resource(line) == resource(asked)).unwrap_or("no such line").trim();
            let reason =
                format!("the class {} exists and differs: {asked} is asked for, {there} is there", class.display());
            Err(Error::refused("linux.intelRdt.closID", reason))
        }
    }
}

/// Whether `line`, as the kernel prints it, gives every domain what `asked` does.
fn gives(line: &str, asked: &str) -> bool {
    let name = resource(asked);
    let domains = |line: &str| -> Vec<(String, Value)> {
        let list = line.split_once(':').map_or("", |(_, domains)| domains);
        let pairs = list.split(';').filter_map(|domain| domain.split_once('='));
        pairs.map(|(id, value)| (id.trim().to_owned(), Value::read(name, value))).collect()
    };
    let there = domains(line);
    resource(line) == name && domains(asked).iter().all(|domain| there.contains(domain))
}

/// Masks of caches are hexadecimal, and the kernel pads them with zeros; all else is decimal.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Word(String),
}

impl Value {
    fn read(resource: &str, text: &str) -> Self {
        let text = text.trim();
        let radix = if resource.starts_with('L') { 16 } else { 10 };
        let digits = if radix == 16 { text.trim_start_matches("0x") } else { text };
        u64::from_str_radix(digits, radix).map_or_else(|_| Self::Word(text.to_owned()), Self::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESENT: &str = "    L3:0=0000f;1=fffff\n    MB:0= 20;1=100\n";

    fn rdt(class: Class, schemata: &[&str]) -> Rdt {
        Rdt { class, schemata: schemata.iter().map(|line| (*line).to_owned()).collect(), is_monitored: true }
    }

    fn planned(rdt: &Rdt, present: Option<&str>) -> Result<Plan> {
        plan(rdt, "web", Path::new("/r"), |_| present.map(str::to_owned))
    }

    fn gold() -> Class {
        Class::Named("gold".to_owned())
    }

    #[test]
    fn a_class_of_its_own_is_made_whatever_it_gives() {
        let made = planned(&rdt(Class::Own, &["L3:0=f"]), None).unwrap();
        let expected = Plan {
            places: Places { class: "/r/web".into(), monitor: Some("/r/web/mon_groups/web".into()) },
            makes: true,
            schemata: vec!["L3:0=f".to_owned()],
        };
        assert_eq!(made, expected);
        assert!(planned(&rdt(Class::Own, &[]), None).unwrap().makes);
        let said = planned(&rdt(Class::Own, &[]), Some(PRESENT)).unwrap_err().to_string();
        assert_eq!(said, "linux.intelRdt: there is a class /r/web already");
    }

    #[test]
    fn a_named_class_is_made_from_schemas_and_must_exist_without() {
        assert!(planned(&rdt(gold(), &["L3:0=f"]), None).unwrap().makes);
        let said = planned(&rdt(gold(), &[]), None).unwrap_err().to_string();
        assert!(said.starts_with("linux.intelRdt.closID: there is no class /r/gold"), "{said}");
        let there = planned(&rdt(gold(), &[]), Some(PRESENT)).unwrap();
        assert!(!there.makes && there.schemata.is_empty() && there.places.class == Path::new("/r/gold"));
    }

    #[test]
    fn one_that_exists_must_give_what_is_asked() {
        for agreed in [vec!["L3:0=f"], vec!["L3:0=00f;1=FFFFF", "MB:1=100;0=20"], vec!["MB:0=020"]] {
            let there = planned(&rdt(gold(), &agreed), Some(PRESENT)).unwrap();
            assert!(!there.makes && there.schemata.is_empty(), "{agreed:?}");
        }
        for differing in ["L3:0=ff", "L3:2=f", "MB:0=32", "L2:0=1"] {
            for class in [gold(), Class::Default] {
                let said = planned(&rdt(class, &["MB:0=20", differing]), Some(PRESENT)).unwrap_err().to_string();
                assert!(said.starts_with("linux.intelRdt.closID: ") && said.contains(differing), "{said}");
            }
        }
    }
}
