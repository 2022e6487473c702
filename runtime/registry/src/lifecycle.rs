//! Lifecycle policies in the form of Amazon ECR: which images go, because there are too many or they are too old. Pure.
//!
//! As there: every rule looks at all images; one that a rule's tags select is not expired by a later rule; and a manifest that an index
//! lists goes only after the index.

use crate::digest::Digest;
use crate::name::Tag;
use crate::rules::matches;
use crate::state::Repository;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const DAY_SECONDS: i64 = 24 * 3600;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// In the order of their priorities.
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    priority: u64,
    selects: Selection,
    keeps: Keeps,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    /// Images that have a tag for each of these patterns.
    Tagged(Vec<String>),
    Untagged,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// So many of the newest.
    Newest(usize),
    /// Those pushed within so many days.
    Days(i64),
}

/// An image that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Which.
    pub digest: Digest,
    /// By the rule of which priority.
    pub rule: u64,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// When it was pushed, in seconds since 1970.
    pub at: i64,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong with it, with the field.
    pub fn read(document: &Value) -> Result<Self, String> {
        only(document, "policy", &["rules"])?;
        let list = document["rules"].as_array().ok_or("rules: a list is needed")?;
        let mut rules = Vec::new();
        for (index, rule) in list.iter().enumerate() {
            let at = format!("rules[{index}]");
            rules.push(Rule::read(rule, &at)?);
        }
        rules.sort_by_key(|rule| rule.priority);
        if let Some(twice) = rules.windows(2).find(|two| two[0].priority == two[1].priority) {
            return Err(format!("rules: rulePriority {} stands twice", twice[0].priority));
        }
        let last = rules.iter().position(|rule| rule.selects == Selection::Any);
        if last.is_some_and(|at| at + 1 != rules.len()) {
            return Err("rules: a rule with tagStatus any must have the highest rulePriority".to_owned());
        }
        Ok(Self { rules })
    }

    /// Which images of a repository go, and by which rule; nothing is changed, so this is the preview as well.
    ///
    /// It is that at `now`, in seconds since 1970.
    #[must_use]
    pub fn expired(&self, held: &Repository, now: i64) -> Vec<Expired> {
        let images = images(held);
        let mut taken: BTreeSet<&Digest> = BTreeSet::new();
        let mut expired: BTreeMap<&Digest, (u64, &Image<'_>)> = BTreeMap::new();
        for rule in &self.rules {
            let mut selected: Vec<_> = images.iter().filter(|(_, image)| rule.selects.has(&image.tags)).collect();
            selected.sort_by(|one, other| other.1.pushed.cmp(&one.1.pushed).then_with(|| one.0.cmp(other.0)));
            let goes = |index: usize, at: i64| match rule.keeps {
                Keeps::Newest(count) => index >= count,
                Keeps::Days(days) => now - at > days * DAY_SECONDS,
            };
            for (index, (digest, image)) in selected.iter().enumerate() {
                if goes(index, image.pushed) && !taken.contains(*digest) {
                    expired.entry(digest).or_insert((rule.priority, image));
                }
            }
            if matches!(rule.selects, Selection::Tagged(_)) {
                taken.extend(selected.iter().map(|(digest, _)| **digest));
            }
        }
        let one = |(digest, (rule, image)): (&Digest, (u64, &Image<'_>))| Expired {
            digest: digest.clone(),
            rule,
            tags: image.tags.iter().copied().cloned().collect(),
            at: image.pushed,
        };
        expired.into_iter().map(one).collect()
    }
}

/// What rules ask of an image.
struct Image<'a> {
    tags: Vec<&'a Tag>,
    /// When it was pushed: the last time that a tag was given to it, or it came.
    pushed: i64,
}

/// The images that rules may select.
fn images(held: &Repository) -> BTreeMap<&Digest, Image<'_>> {
    let listed: BTreeSet<&Digest> =
        held.manifests.values().flat_map(|one| one.about.manifests.iter().map(|needed| &needed.digest)).collect();
    // What is about another image goes with it; what an index lists, after it.
    let own = held.manifests.iter().filter(|(digest, one)| one.about.subject.is_none() && !listed.contains(digest));
    let mut images: BTreeMap<_, _> =
        own.map(|(digest, one)| (digest, Image { tags: Vec::new(), pushed: one.at })).collect();
    // Once over the tags, not once for each image: nothing is pushed meanwhile.
    for (tag, to) in &held.tags {
        if let Some(image) = images.get_mut(&to.digest) {
            image.tags.push(tag);
            image.pushed = image.pushed.max(to.at);
        }
    }
    images
}

impl Selection {
    /// Whether it selects an image with these tags.
    fn has(&self, tags: &[&Tag]) -> bool {
        match self {
            Self::Any => true,
            Self::Untagged => tags.is_empty(),
            Self::Tagged(patterns) => {
                patterns.iter().all(|pattern| tags.iter().any(|tag| matches(pattern, tag.as_str())))
            }
        }
    }
}

fn only(value: &Value, at: &str, known: &[&str]) -> Result<(), String> {
    let fields = value.as_object().ok_or_else(|| format!("{at}: an object is needed"))?;
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(format!("{at}.{unknown}: there is no such field")),
        None => Ok(()),
    }
}

fn number(value: &Value, at: &str) -> Result<u64, String> {
    value
        .as_u64()
        .filter(|number| *number > 0 && *number < 1 << 31)
        .ok_or_else(|| format!("{at}: a positive number is needed"))
}

impl Rule {
    fn read(rule: &Value, at: &str) -> Result<Self, String> {
        only(rule, at, &["rulePriority", "description", "selection", "action"])?;
        let (selection, action) = (&rule["selection"], &rule["action"]);
        only(action, &format!("{at}.action"), &["type"])?;
        if action["type"] != "expire" {
            return Err(format!("{at}.action.type: only expire is known"));
        }
        let at_selection = format!("{at}.selection");
        Ok(Self {
            priority: number(&rule["rulePriority"], &format!("{at}.rulePriority"))?,
            selects: Self::selection(selection, &at_selection)?,
            keeps: Self::keeps(selection, &at_selection)?,
        })
    }

    fn selection(selection: &Value, at: &str) -> Result<Selection, String> {
        let known = ["tagStatus", "tagPatternList", "tagPrefixList", "countType", "countUnit", "countNumber"];
        only(selection, at, &known)?;
        let list = |name: &str| match &selection[name] {
            Value::Null => Ok(None),
            Value::Array(all) => {
                let texts: Option<Vec<String>> = all.iter().map(|one| one.as_str().map(str::to_owned)).collect();
                texts.map(Some).ok_or_else(|| format!("{at}.{name}: a list of texts is needed"))
            }
            _ => Err(format!("{at}.{name}: a list of texts is needed")),
        };
        let (patterns, prefixes) = (list("tagPatternList")?, list("tagPrefixList")?);
        let given = patterns.is_some() || prefixes.is_some();
        match selection["tagStatus"].as_str() {
            Some("any") if !given => Ok(Selection::Any),
            Some("untagged") if !given => Ok(Selection::Untagged),
            Some("any" | "untagged") => Err(format!("{at}: tagPatternList and tagPrefixList are for tagStatus tagged")),
            Some("tagged") => match (patterns, prefixes) {
                (Some(patterns), None) if !patterns.is_empty() => Ok(Selection::Tagged(patterns)),
                (None, Some(prefixes)) if !prefixes.is_empty() => {
                    Ok(Selection::Tagged(prefixes.iter().map(|prefix| format!("{prefix}*")).collect()))
                }
                _ => Err(format!("{at}: tagStatus tagged needs one of tagPatternList and tagPrefixList")),
            },
            _ => Err(format!("{at}.tagStatus: tagged, untagged or any is needed")),
        }
    }

    fn keeps(selection: &Value, at: &str) -> Result<Keeps, String> {
        let count = number(&selection["countNumber"], &format!("{at}.countNumber"))?;
        let unit = selection["countUnit"].as_str();
        match (selection["countType"].as_str(), unit) {
            (Some("imageCountMoreThan"), None) => Ok(Keeps::Newest(usize::try_from(count).unwrap_or(usize::MAX))),
            (Some("sinceImagePushed"), Some("days")) => Ok(Keeps::Days(i64::try_from(count).unwrap_or(i64::MAX))),
            (Some("imageCountMoreThan"), Some(_)) => Err(format!("{at}.countUnit: it is not for imageCountMoreThan")),
            (Some("sinceImagePushed"), _) => Err(format!("{at}.countUnit: days is needed")),
            _ => Err(format!("{at}.countType: imageCountMoreThan or sinceImagePushed is needed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::manifest::{About, Needed};
    use crate::state::{Record, State};
    use serde_json::{Map, json};

    fn digest(of: &str) -> Digest {
        Digest::of(Algorithm::Sha256, of.as_bytes())
    }

    /// Images `NAME@DAY:TAG,TAG`; `NAME@DAY[LISTED]` is an index.
    fn state(images: &str) -> State {
        let mut state = State::default();
        for image in images.split_whitespace() {
            let (rest, tags) = image.split_once(':').unwrap_or((image, ""));
            let (rest, listed) = rest.split_once('[').unwrap_or((rest, ""));
            let (name, day) = rest.split_once('@').unwrap();
            let listed = listed.trim_end_matches(']').split(',').filter(|one| !one.is_empty());
            let about = About {
                media_type: "m".into(),
                size: 1,
                blobs: vec![],
                manifests: listed.map(|one| Needed { digest: digest(one), size: 1 }).collect(),
                subject: None,
                artifact_type: None,
                annotations: Map::new(),
            };
            state.apply(Record::Manifest {
                repository: "r".parse().unwrap(),
                digest: digest(name),
                about: about.into(),
                tags: tags.split(',').filter(|tag| !tag.is_empty()).map(|tag| tag.parse().unwrap()).collect(),
                at: day.parse::<i64>().unwrap() * DAY_SECONDS,
            });
        }
        state
    }

    fn rule(priority: u64, status: &str, patterns: &[&str], kind: &str, number: u64) -> Value {
        let mut selection = json!({"tagStatus": status, "countType": kind, "countNumber": number});
        if !patterns.is_empty() {
            selection["tagPatternList"] = json!(patterns);
        }
        if kind == "sinceImagePushed" {
            selection["countUnit"] = "days".into();
        }
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    fn goes(images: &str, rules: Vec<Value>) -> String {
        let policy = Policy::read(&json!({"rules": rules})).unwrap();
        let state = state(images);
        let expired = policy.expired(state.repository(&"r".parse().unwrap()).unwrap(), 100 * DAY_SECONDS);
        let names = "abcdefgh".chars().map(String::from);
        let gone =
            names.filter_map(|name| Some((name.clone(), expired.iter().find(|one| one.digest == digest(&name))?.rule)));
        gone.map(|(name, rule)| format!("{name}{rule}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rules_select_and_count_as_ecrs_do() {
        let more = |priority, status, patterns: &[&str], n| rule(priority, status, patterns, "imageCountMoreThan", n);
        let older = |priority, status, patterns: &[&str], n| rule(priority, status, patterns, "sinceImagePushed", n);
        assert_eq!(goes("a@1 b@50 c@99:x", vec![older(1, "untagged", &[], 14)]), "a1 b1");
        assert_eq!(goes("a@1:v1 b@2:v2 c@3:v3 d@4:w", vec![more(1, "tagged", &["v*"], 2)]), "a1");
        assert_eq!(goes("a@1 b@2:v c@3", vec![more(1, "any", &[], 1)]), "a1 b1");
        // An image that a rule's tags select is safe from later rules.
        assert_eq!(goes("a@1:prod b@2:x c@3:y", vec![more(1, "tagged", &["prod"], 5), more(2, "any", &[], 1)]), "b2");
        // A later rule still counts what an earlier one expires.
        assert_eq!(goes("a@1 b@2 c@3", vec![older(1, "untagged", &[], 98), more(2, "any", &[], 2)]), "a1");
        // Every pattern must be met by some tag.
        assert_eq!(goes("a@1:x,y b@1:z", vec![older(1, "tagged", &["x", "y"], 1)]), "a1");
        assert_eq!(goes("a@1 b@2[a]:v", vec![older(1, "untagged", &[], 1)]), "", "an index lists it");
        assert_eq!(goes("a@1:old,new", vec![older(1, "any", &[], 99)]), "", "a day is not over before it is");
    }

    #[test]
    fn what_is_no_policy_says_where() {
        let bad = |path: &str, value: Value| {
            let mut document = json!({"rules": [rule(1, "tagged", &["v*"], "imageCountMoreThan", 3)]});
            *document.pointer_mut(path).unwrap() = value;
            Policy::read(&document).unwrap_err()
        };
        assert_eq!(bad("/rules", json!({})), "rules: a list is needed");
        assert_eq!(bad("/rules/0/rulePriority", json!(0)), "rules[0].rulePriority: a positive number is needed");
        assert_eq!(bad("/rules/0/action/type", json!("keep")), "rules[0].action.type: only expire is known");
        assert_eq!(
            bad("/rules/0/selection/tagStatus", json!("x")),
            "rules[0].selection.tagStatus: tagged, untagged or any is needed"
        );
        assert!(bad("/rules/0/selection/countType", json!("x")).starts_with("rules[0].selection.countType: "));
        assert!(bad("/rules/0/selection/tagPatternList", json!([1])).contains("a list of texts"));
        let twice = json!({"rules": [rule(1, "any", &[], "imageCountMoreThan", 3), rule(1, "untagged", &[], "imageCountMoreThan", 3)]});
        assert!(Policy::read(&twice).unwrap_err().contains("stands twice"));
        let early = json!({"rules": [rule(1, "any", &[], "imageCountMoreThan", 3), rule(2, "untagged", &[], "imageCountMoreThan", 3)]});
        assert!(Policy::read(&early).unwrap_err().contains("highest rulePriority"));
    }
}
