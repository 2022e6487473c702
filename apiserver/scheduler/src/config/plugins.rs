//! Which plugins a profile has, and with what weights.

use super::{Field, Read};
use crate::plugin::Plugin;
use crate::profile::{FILTERS, Profile, SCORES};

const POINTS: [&str; 13] = [
    "multiPoint",
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
];

/// What one extension point says: what is off, and what is on with its weight, if it has one.
struct Said {
    all_off: bool,
    off: Vec<Plugin>,
    on: Vec<(Plugin, Option<i64>)>,
}

impl Said {
    fn read(field: &Field<'_>) -> Read<Self> {
        field.only(&["enabled", "disabled"])?;
        let mut said = Self { all_off: false, off: Vec::new(), on: Vec::new() };
        for one in field.get("disabled").list()? {
            one.only(&["name", "weight"])?;
            if one.get("name").text()? == Some("*") {
                said.all_off = true;
            } else {
                said.off.push(plugin(&one)?);
            }
        }
        for one in field.get("enabled").list()? {
            one.only(&["name", "weight"])?;
            let weight = one.get("weight");
            let weight = if weight.is_absent() { None } else { Some(weight.number(1, 0..=100)?).filter(|it| *it > 0) };
            said.on.push((plugin(&one)?, weight));
        }
        Ok(said)
    }

    fn is_off(&self, plugin: Plugin) -> bool {
        (self.all_off || self.off.contains(&plugin)) && !self.is_on(plugin)
    }

    fn is_on(&self, plugin: Plugin) -> bool {
        self.on.iter().any(|(on, _)| *on == plugin)
    }

    fn weight(&self, plugin: Plugin) -> Option<i64> {
        self.on.iter().find(|(on, _)| *on == plugin).and_then(|(_, weight)| *weight)
    }
}

fn plugin(field: &Field<'_>) -> Read<Plugin> {
    let name = field.get("name");
    match name.text()? {
        None => name.error("required value"),
        Some(text) => match Plugin::named(text) {
            Some(plugin) if plugin != Plugin::Extender => Ok(plugin),
            _ => name.error(format!("there is no plugin \"{text}\"")),
        },
    }
}

/// Applies `plugins` of a profile to the default ones.
pub(super) fn read(field: &Field<'_>, profile: &mut Profile) -> Read<()> {
    field.only(&POINTS)?;
    let everywhere = Said::read(&field.get("multiPoint"))?;
    let at = |point: &str| Said::read(&field.get(point));
    let (filter, score, after, early) = (at("filter")?, at("score")?, at("postFilter")?, at("preEnqueue")?);
    fixed(field)?;
    let has = |at: &Said, plugin: Plugin| at.is_on(plugin) || !at.is_off(plugin) && !everywhere.is_off(plugin);
    // Those that are named come in the order of their names, and the others after them.
    let named = filter.on.iter().chain(&everywhere.on).map(|(plugin, _)| *plugin);
    let mut order: Vec<Plugin> = Vec::new();
    for plugin in named.chain(FILTERS) {
        if FILTERS.contains(&plugin) && !order.contains(&plugin) && has(&filter, plugin) {
            order.push(plugin);
        }
    }
    if filter.all_off || everywhere.all_off {
        profile.filters = order;
    } else {
        profile.filters.retain(|plugin| order.contains(plugin));
    }
    let weights = SCORES.iter().filter(|(plugin, _)| has(&score, *plugin));
    profile.scores = weights
        .map(|(plugin, weight)| {
            let own = score.weight(*plugin).or_else(|| everywhere.weight(*plugin));
            (*plugin, own.unwrap_or(*weight))
        })
        .collect();
    profile.preempts = has(&after, Plugin::DefaultPreemption);
    profile.gates = has(&early, Plugin::SchedulingGates);
    Ok(())
}

/// Points at which nothing can be taken away here: what counts beforehand goes with its filter, and there is one way to bind.
fn fixed(field: &Field<'_>) -> Read<()> {
    for point in ["queueSort", "preFilter", "preScore", "reserve", "permit", "preBind", "bind", "postBind"] {
        let at = field.get(point);
        let said = Said::read(&at)?;
        if said.all_off && said.on.is_empty() || !said.off.is_empty() {
            return at.get("disabled").error(
                "not implemented: what a plugin does there goes with its filter and its score; turn it off at \"filter\", \"score\" or \"multiPoint\"",
            );
        }
    }
    Ok(())
}
