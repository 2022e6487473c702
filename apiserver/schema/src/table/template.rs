//! The row of a table, made once and written often: all of it stands but ages, which grow.

use super::text::{age, duration, seconds};
use super::{TableOptions, row};
use crate::Resource;
use jiff::{Span, Timestamp};
use serde_json::Value;

/// A row of which only the object's age is open.
#[derive(Debug)]
pub struct RowTemplate {
    json: Box<[u8]>,
    /// Where the age stands.
    ages: Box<[usize]>,
    /// When the object was made, in seconds since the epoch.
    made: i64,
}

impl RowTemplate {
    /// The row of `item`, without regard to what `options` say about now. `None`: something else in it grows, such as the time since a
    /// container was started again, so that the row has to be made anew each time.
    #[must_use]
    pub fn of(resource: &Resource, item: &Value, options: &TableOptions) -> Option<Self> {
        let printed = resource.rules.printer;
        let later = options.now.checked_add(Span::new().hours(24 * 365 * 300)).ok()?;
        let mut now = row(resource, printed, item, options);
        let then = row(resource, printed, item, &TableOptions { now: later, ..*options });
        let cells = now.as_object_mut()?.remove("cells")?;
        let mut template = Open { json: br#"{"cells":["#.to_vec(), ages: Vec::new() };
        for (at, (cell, then)) in cells.as_array()?.iter().zip(then["cells"].as_array()?).enumerate() {
            if at > 0 {
                template.json.push(b',');
            }
            template.cell(cell, then, [age(item, options.now), age(item, later)])?;
        }
        template.json.push(b']');
        let rest = serde_json::to_vec(&now).ok()?;
        // Behind its opening brace.
        let rest = rest.get(1..)?;
        if rest.len() > 1 {
            template.json.push(b',');
        }
        template.json.extend_from_slice(rest);
        let made = seconds(&item["metadata"]["creationTimestamp"]).unwrap_or_default();
        Some(Self { json: template.json.into(), ages: template.ages.into(), made })
    }

    /// Appends the row as it is now.
    pub fn write(&self, now: Timestamp, out: &mut Vec<u8>) {
        let mut begin = 0;
        for end in &self.ages {
            out.extend_from_slice(&self.json[begin..*end]);
            out.extend_from_slice(duration(now.as_second() - self.made).as_bytes());
            begin = *end;
        }
        out.extend_from_slice(&self.json[begin..]);
    }

    /// Bytes in memory.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.json.len() + size_of_val(&*self.ages)
    }
}

/// A template that is being made.
struct Open {
    json: Vec<u8>,
    ages: Vec<usize>,
}

impl Open {
    /// Adds a cell that reads so now and so at another time; `None`: it is no age, and changes.
    fn cell(&mut self, now: &Value, then: &Value, ages: [Value; 2]) -> Option<()> {
        if now == then {
            return serde_json::to_writer(&mut self.json, now).ok();
        }
        if [now, then] != [&ages[0], &ages[1]] {
            return None;
        }
        self.json.push(b'"');
        self.ages.push(self.json.len());
        self.json.push(b'"');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IncludeObject, TableVersion, table};
    use serde_json::json;

    fn options(now: &str, include_object: IncludeObject) -> TableOptions {
        let now = now.parse().expect("a time");
        TableOptions { include_object, version: TableVersion::V1, no_headers: true, now }
    }

    /// The row of a template made at one time and written at another, and the row that is made then.
    fn rows(group: &str, plural: &str, item: &Value, include: IncludeObject) -> Option<[Value; 2]> {
        let resource = crate::find(group, "v1", plural).expect("served");
        let template = RowTemplate::of(resource, item, &options("2026-01-01T00:00:09Z", include))?;
        let now = options("2026-01-03T02:00:00Z", include);
        let mut written = Vec::new();
        template.write(now.now, &mut written);
        let made = table(resource, std::slice::from_ref(item), &Value::Null, &now)["rows"][0].take();
        assert_eq!(String::from_utf8_lossy(&written), made.to_string());
        Some([serde_json::from_slice(&written).expect("JSON"), made])
    }

    #[test]
    fn a_row_from_a_template_is_the_row_that_is_made_then() {
        let metadata = json!({"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "\"9s\""}});
        let pod = json!({"metadata": metadata, "spec": {"containers": [{}]}, "status": {"phase": "Succeeded"}});
        for include in [IncludeObject::None, IncludeObject::Metadata, IncludeObject::Object] {
            for (group, plural) in [("", "pods"), ("", "configmaps"), ("apps", "deployments"), ("", "nodes")] {
                let [written, made] = rows(group, plural, &pod, include).expect("only its age grows");
                assert_eq!(written, made);
            }
        }
        let [without_age, _] =
            rows("", "pods", &json!({"metadata": {"name": "y"}}), IncludeObject::None).expect("a row");
        assert_eq!(without_age["cells"][4], "<unknown>");
    }

    #[test]
    fn a_row_in_which_something_else_grows_has_no_template() {
        let ended = json!({"terminated": {"finishedAt": "2026-01-01T00:00:05Z"}});
        let container = json!({"name": "c", "restartCount": 1, "state": {"running": {}}, "lastState": ended});
        let pod = json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running", "containerStatuses": [container]}});
        assert!(rows("", "pods", &pod, IncludeObject::None).is_none());
    }
}
