//! The votes of a group of workers.

use std::sync::Arc;
use std::time::Duration;

use burn_train::Interrupter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Group, WorkerLost};
use crate::error::TrainError;
use crate::stats::StepStats;

/// A worker's view of its team.
pub(crate) struct Team {
    group: Box<dyn Group>,
    /// How long a worker may keep the others waiting, validation and checkpoints aside.
    limit: Duration,
    interrupter: Interrupter,
    /// A worker is gone: there is nobody to talk to any more.
    lost: bool,
}

/// What a worker says to the others.
#[derive(Serialize, Deserialize)]
enum Word {
    /// Ready for the next step.
    GoOn,
    /// Asked to stop.
    Stop,
    /// Has computed its part of a step.
    Computed(Part),
    /// Cannot go on.
    Failed(String),
    /// Has nothing left to do.
    Done,
}

/// What a worker has of a step.
#[derive(Serialize, Deserialize)]
struct Part {
    /// Sum and weight of each statistic, bit by bit: text does not keep every number.
    statistics: Vec<(u64, u64)>,
    examples: usize,
    tokens: usize,
    /// Which parameters it has gradients for, in order of their names.
    gradients: Vec<bool>,
}

impl Team {
    pub fn new(group: Box<dyn Group>, limit: Duration, interrupter: Interrupter) -> Self {
        Self {
            group,
            limit,
            interrupter,
            lost: false,
        }
    }

    pub fn rank(&self) -> usize {
        self.group.rank()
    }

    pub fn world(&self) -> usize {
        self.group.world()
    }

    /// Whether a worker is gone.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the workers make another step: not if one of them `stop`s or was interrupted.
    pub fn goes_on(&mut self, stop: bool) -> Result<bool, TrainError> {
        let stop = stop || self.interrupter.should_stop();
        if self.world() == 1 {
            return Ok(!stop);
        }
        let word = if stop { Word::Stop } else { Word::GoOn };
        // Between two steps the lead validates and saves, however long that takes.
        let words = self.say(&word, self.limit_of_lead())?;
        match words
            .iter()
            .all(|word| matches!(word, Word::GoOn | Word::Stop))
        {
            true => Ok(!words.iter().any(|word| matches!(word, Word::Stop))),
            false => Err(self.out_of_step()),
        }
    }

    /// Adds up what the workers measured, and tells which parameters anybody has gradients for.
    pub fn add(
        &mut self,
        own: StepStats,
        gradients: Vec<bool>,
    ) -> Result<(StepStats, Vec<bool>), TrainError> {
        let (parameters, statistics) = (gradients.len(), own.entries.len());
        let entries = own.entries.iter();
        let word = Word::Computed(Part {
            statistics: entries
                .map(|entry| (entry.sum.to_bits(), entry.weight.to_bits()))
                .collect(),
            examples: own.examples,
            tokens: own.tokens,
            gradients,
        });
        let words = self.say(&word, Some(self.limit))?;
        let mut sum = own;
        (sum.examples, sum.tokens) = (0, 0);
        for entry in &mut sum.entries {
            (entry.sum, entry.weight) = (0.0, 0.0);
        }
        let mut anybody = vec![false; parameters];
        for word in words {
            let part = match word {
                Word::Computed(part)
                    if (part.gradients.len(), part.statistics.len())
                        == (parameters, statistics) =>
                {
                    part
                }
                _ => return Err(self.out_of_step()),
            };
            for (entry, (sum, weight)) in sum.entries.iter_mut().zip(&part.statistics) {
                entry.sum += f64::from_bits(*sum);
                entry.weight += f64::from_bits(*weight);
            }
            sum.examples += part.examples;
            sum.tokens += part.tokens;
            for (any, one) in anybody.iter_mut().zip(part.gradients) {
                *any |= one;
            }
        }
        Ok((sum, anybody))
    }

    /// The sum of every worker's values.
    pub fn sum(&mut self, values: Vec<f32>) -> Result<Vec<f32>, TrainError> {
        let sum = self.group.sum(values, self.limit);
        sum.map_err(|lost| self.lose(lost))
    }

    /// Everybody's words, in order of rank.
    pub fn exchange<T: Serialize + DeserializeOwned>(
        &mut self,
        own: &T,
    ) -> Result<Vec<T>, TrainError> {
        let limit = self.limit_of_lead();
        let words = self.gather(own, limit)?;
        words
            .iter()
            .map(|word| serde_json::from_slice(word).map_err(|_| self.out_of_step()))
            .collect()
    }

    /// Tells the others of a failure that they cannot know.
    pub fn tell(&mut self, error: &TrainError) {
        let known = matches!(
            error,
            TrainError::Peer { .. } | TrainError::WorkerLost(_) | TrainError::NonFinite { .. }
        );
        if !known && self.world() > 1 {
            // They hear it, or are gone: neither changes what this worker does.
            let _ = self.say(&Word::Failed(error.to_string()), self.limit_of_lead());
        }
    }

    /// Waits until all are done, so that the lead writes its last checkpoint in peace.
    pub fn part(&mut self) {
        if self.world() > 1 {
            let _ = self.say(&Word::Done, self.limit_of_lead());
        }
    }

    /// The lead keeps the others waiting, they do not.
    fn limit_of_lead(&self) -> Option<Duration> {
        (self.rank() == 0).then_some(self.limit)
    }

    fn say(&mut self, word: &Word, limit: Option<Duration>) -> Result<Vec<Word>, TrainError> {
        let said = self.gather(word, limit)?;
        let mut words = Vec::with_capacity(said.len());
        for (worker, word) in said.iter().enumerate() {
            match serde_json::from_slice(word) {
                Ok(Word::Failed(message)) => return Err(TrainError::Peer { worker, message }),
                Ok(word) => words.push(word),
                Err(_) => return Err(self.out_of_step()),
            }
        }
        Ok(words)
    }

    fn gather(
        &mut self,
        word: &impl Serialize,
        limit: Option<Duration>,
    ) -> Result<Vec<Arc<[u8]>>, TrainError> {
        if self.lost {
            return Err(TrainError::WorkerLost(WorkerLost(
                "the others are gone".into(),
            )));
        }
        let Ok(word) = serde_json::to_vec(word) else {
            return Err(self.out_of_step());
        };
        let said = self.group.gather(word, limit);
        said.map_err(|lost| self.lose(lost))
    }

    fn lose(&mut self, lost: WorkerLost) -> TrainError {
        self.lost = true;
        TrainError::WorkerLost(lost)
    }

    /// Workers that run other programs or other recipes.
    fn out_of_step(&self) -> TrainError {
        TrainError::WorkerLost(WorkerLost(
            "the workers are out of step: they must run the same program and recipe".into(),
        ))
    }
}
