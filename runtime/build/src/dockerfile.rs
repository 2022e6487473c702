//! A Dockerfile's stages, and which of them the one that is wanted needs. Pure.

use crate::instruction::{Instruction, Step};
use crate::{BuildError, expand, instruction, lines};
use std::collections::{BTreeMap, BTreeSet};

/// A Dockerfile that was read.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// The ARGs before the first stage, with defaults.
    pub(crate) globals: Vec<(String, Option<String>)>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) escape: char,
}

/// From one FROM to the next.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) line: u32,
    pub(crate) text: String,
    pub(crate) platform: Option<String>,
    /// An earlier stage's name, an image, or `scratch`; variables are not replaced yet.
    pub(crate) from: String,
    pub(crate) name: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// What FROM or `--from` leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Scratch,
    /// By its place in the file.
    Stage(usize),
    Image(String),
}

impl Dockerfile {
    /// Reads the text.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn read(text: &str) -> Result<Self, BuildError> {
        let lines = lines::read(text)?;
        let mut file = Self { globals: Vec::new(), stages: Vec::new(), escape: lines.escape };
        for line in &lines.lines {
            file.take(instruction::read(line, lines.escape)?)?;
        }
        if file.stages.is_empty() {
            return Err(BuildError::Whole("the Dockerfile has no FROM".to_owned()));
        }
        Ok(file)
    }

    /// The arguments that no ARG takes, and that are no proxies.
    #[must_use]
    pub fn unknown<'a>(&self, given: &'a BTreeMap<String, String>) -> Vec<&'a str> {
        let of_stages = self.stages.iter().flat_map(|stage| &stage.steps).filter_map(|step| match &step.instruction {
            Instruction::Arg(args) => Some(args),
            _ => None,
        });
        let names: BTreeSet<&str> = of_stages.flatten().chain(&self.globals).map(|(name, _)| name.as_str()).collect();
        let names =
            given.keys().map(String::as_str).filter(|name| !names.contains(name) && !crate::stage::is_proxy(name));
        names.collect()
    }

    fn take(&mut self, step: Step) -> Result<(), BuildError> {
        let Step { line, text, instruction } = step;
        match (instruction, self.stages.last_mut()) {
            (Instruction::From { platform, image, name }, _) => {
                if let Some(name) = name.as_ref().filter(|name| self.named(name).is_some()) {
                    return Err(BuildError::at(line, format!("FROM: there is a stage {name} already")));
                }
                self.stages.push(Stage { line, text, platform, from: image, name, steps: Vec::new() });
            }
            (Instruction::Arg(args), None) => self.globals.extend(args),
            (_, None) => {
                let keyword = text.split_whitespace().next().unwrap_or_default();
                return Err(BuildError::at(line, format!("{keyword}: only ARG can stand before the first FROM")));
            }
            (instruction, Some(stage)) => stage.steps.push(Step { line, text, instruction }),
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name.as_deref() == Some(name))
    }

    /// The stage of this name or number; without one the last.
    pub(crate) fn target(&self, target: Option<&str>) -> Result<usize, BuildError> {
        let Some(target) = target else { return Ok(self.stages.len() - 1) };
        let number = || target.parse().ok().filter(|number| *number < self.stages.len());
        let found = self.named(&target.to_ascii_lowercase()).or_else(number);
        found.ok_or_else(|| BuildError::Whole(format!("target {target}: the Dockerfile has no such stage")))
    }

    /// Values of the ARGs before the first stage: what the caller gives, else what the file says.
    pub(crate) fn global_values(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, BuildError> {
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        for (name, default) in &self.globals {
            let value = match (given.get(name), default) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => {
                    let known = |name: &str| values.get(name).cloned();
                    expand::word(default, self.escape, &known)
                        .map_err(|why| BuildError::Whole(format!("ARG {name}: {why}")))?
                }
                (None, None) => continue,
            };
            values.insert(name.clone(), value);
        }
        Ok(values)
    }

    /// What a stage stands on.
    pub(crate) fn base(&self, stage: usize, globals: &BTreeMap<String, String>) -> Result<Origin, BuildError> {
        let Stage { line, from, .. } = &self.stages[stage];
        let known = |name: &str| globals.get(name).cloned();
        let from =
            expand::word(from, self.escape, &known).map_err(|why| BuildError::at(*line, format!("FROM: {why}")))?;
        if from.is_empty() {
            return Err(BuildError::at(*line, "FROM: the image's name is empty: an ARG before it has no value"));
        }
        if from == "scratch" {
            return Ok(Origin::Scratch);
        }
        Ok(self.origin(&from, stage).unwrap_or(Origin::Image(from)))
    }

    /// The earlier stage that a name means, if it means one.
    fn origin(&self, name: &str, before: usize) -> Option<Origin> {
        self.named(&name.to_ascii_lowercase()).filter(|found| *found < before).map(Origin::Stage)
    }

    /// What `COPY --from=` leads to.
    pub(crate) fn source(&self, from: &str, stage: usize) -> Result<Origin, String> {
        if let Some(found) = self.origin(from, stage) {
            return Ok(found);
        }
        match from.parse::<usize>() {
            Ok(number) if number < stage => Ok(Origin::Stage(number)),
            Ok(number) => Err(format!("--from={number}: there is no stage {number} before this one")),
            Err(_) => Ok(Origin::Image(from.to_owned())),
        }
    }

    /// The stages that `target` needs, itself last, each after those that it needs.
    pub(crate) fn needed(&self, target: usize, globals: &BTreeMap<String, String>) -> Result<Vec<usize>, BuildError> {
        let mut needed = BTreeSet::new();
        let mut open = vec![target];
        while let Some(stage) = open.pop() {
            if !needed.insert(stage) {
                continue;
            }
            if let Origin::Stage(base) = self.base(stage, globals)? {
                open.push(base);
            }
            for step in &self.stages[stage].steps {
                let Instruction::Copy(copied) = &step.instruction else { continue };
                let Some(from) = &copied.from else { continue };
                let source = self.source(from, stage);
                if let Origin::Stage(source) =
                    source.map_err(|why| BuildError::at(step.line, format!("COPY: {why}")))?
                {
                    open.push(source);
                }
            }
        }
        // A stage needs only earlier ones.
        Ok(needed.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "ARG BASE=a\nFROM $BASE AS build\nRUN x\nFROM b AS other\nFROM scratch\nCOPY --from=build /x /\nCOPY --from=c:1 / /\n";

    #[test]
    fn only_what_is_needed_is_made() {
        let file = Dockerfile::read(FILE).unwrap();
        let globals = file.global_values(&BTreeMap::new()).unwrap();
        assert_eq!(file.base(0, &globals).unwrap(), Origin::Image("a".to_owned()));
        assert_eq!(file.base(2, &globals).unwrap(), Origin::Scratch);
        assert_eq!(file.needed(2, &globals).unwrap(), [0, 2]);
        assert_eq!(file.needed(file.target(Some("Other")).unwrap(), &globals).unwrap(), [1]);
        assert_eq!(file.source("c:1", 2).unwrap(), Origin::Image("c:1".to_owned()));
        assert!(file.source("2", 2).is_err() && file.target(Some("no")).is_err());
        let given = BTreeMap::from([("BASE".to_owned(), "z".to_owned())]);
        let globals = file.global_values(&given).unwrap();
        assert_eq!(file.base(0, &globals).unwrap(), Origin::Image("z".to_owned()));
    }

    #[test]
    fn refusals_of_the_whole() {
        let all = ["", "# nothing", "RUN x\nFROM a", "FROM a AS x\nFROM b AS x", "FROM a\n\nCOPPY x y"];
        let all: Vec<String> = all.iter().map(|text| Dockerfile::read(text).unwrap_err().to_string()).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    proptest! {
        #[test]
        fn stages_come_after_what_they_need(from in proptest::collection::vec(0_usize..6, 1..6)) {
            let mut text = String::new();
            for (stage, from) in from.iter().enumerate() {
                let base = if *from < stage { format!("s{from}") } else { "scratch".to_owned() };
                text.push_str(&format!("FROM {base} AS s{stage}\n"));
            }
            let file = Dockerfile::read(&text).unwrap();
            let globals = BTreeMap::new();
            let needed = file.needed(from.len() - 1, &globals).unwrap();
            for (place, stage) in needed.iter().enumerate() {
                if let Origin::Stage(base) = file.base(*stage, &globals).unwrap() {
                    prop_assert!(needed[..place].contains(&base));
                }
            }
        }
    }
}
