//! The length of a run where several settings decide it: `epochs`, `train.steps`, and the warm-up that
//! must fit into them.
//!
//! What is set last counts: `--set` after the environment after the recipe after what it extends. Of a
//! single recipe that has both, `epochs` counts.

use anyhow::{Result, bail};
use figment::Figment;

use super::configuration::Configuration;

const STEPS: &str = "train.steps";
const EPOCHS: &str = "epochs";
const WARMUP: &str = "optimizer.warmup_steps";

/// A layer of settings, and whether the user gave it for this run alone.
pub struct Layer {
    pub values: Figment,
    pub of_this_run: bool,
}

/// Settles `config`, which the layers were merged to; returns what the user should know of it.
///
/// # Errors
/// If one layer of this run sets both the epochs and the steps.
pub fn settle<C: Configuration>(config: &mut C, layers: &[Layer]) -> Result<Vec<String>> {
    let last = |key: &str| {
        let sets = |layer: &Layer| layer.values.find_value(key).is_ok();
        layers.iter().rposition(sets)
    };
    let (steps_at, epochs_at, warmup_at) = (last(STEPS), last(EPOCHS), last(WARMUP));
    let mut notes = Vec::new();
    let sections = config.sections();
    let steps = sections.train.steps;
    let mut by_epochs = false;
    if let Some(epochs) = sections.epochs.filter(|epochs| **epochs > 0) {
        let same = steps_at.is_some() && steps_at == epochs_at;
        by_epochs = steps_at.is_none() || steps_at <= epochs_at;
        if same && layers[steps_at.unwrap_or(0)].of_this_run {
            bail!(
                "both {EPOCHS} = {epochs} and {STEPS} = {steps} are set: set one of them, since each \
                 decides the length of the run"
            );
        }
        if same && steps != oscar_train::TrainConfig::default().steps {
            notes.push(format!(
                "the recipe sets {EPOCHS} = {epochs}, which decides the length of the run: its {STEPS} = \
                 {steps} has no effect"
            ));
        }
        if !by_epochs {
            notes.push(format!(
                "{STEPS} = {steps} is set, and decides the length of the run instead of the recipe's \
                 {EPOCHS} = {epochs}"
            ));
            *epochs = 0;
        }
    }
    let warmup = &mut sections.optimizer.warmup_steps;
    if !by_epochs && steps > 0 && *warmup > steps && steps_at > warmup_at {
        let shorter = steps / 10;
        notes.push(format!(
            "{WARMUP} = {warmup} of the recipe is longer than the run of {steps} steps: it is shortened \
             to {shorter}"
        ));
        *warmup = shorter;
    }
    Ok(notes)
}
