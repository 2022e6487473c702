//! What the store in the guest is asked, drawn from a seed: the guest and who judges the disk afterwards draw the same.

use crate::amount::chance;
use crate::model::{After, Command, Model};

/// How many commands are under way at a time, at most.
pub(super) const CLIENTS: usize = 16;

/// Commands in the order in which they are sent, each with the state that it leads to.
#[derive(Debug)]
pub(super) struct Plan {
    pub commands: Vec<(Command, After)>,
    pub model: Model,
    start: After,
}

impl Plan {
    pub(super) fn draw(seed: u64, commands: usize) -> Self {
        let (mut chance, mut model) = (chance(seed), Model::new());
        let start = model.after.clone();
        let draw = |_| {
            let command = model.draw(&mut chance);
            model.apply(&command);
            (command, model.after.clone())
        };
        let commands = (0..commands).map(draw).collect();
        Plan { commands, model, start }
    }

    /// The states that may be found when the first `acknowledged` commands were: that after the last of them, and those after commands
    /// that were under way.
    pub(super) fn possible(&self, acknowledged: usize) -> Vec<&After> {
        let first = acknowledged.checked_sub(1).map_or(&self.start, |last| &self.commands[last].1);
        // One may be answered, and its note not yet be on its way.
        let later = self.commands[acknowledged..].iter().take(CLIENTS + 1);
        std::iter::once(first).chain(later.map(|(_, after)| after)).collect()
    }
}
