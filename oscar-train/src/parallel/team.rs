//! The votes of a group of workers.

use std::sync::Arc;
use std::time::Duration;

use burn_train::Interrupter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Group;
use crate::error::{TrainError, WorkerLost};
use crate::stats::StepStats;

/// A worker's view of its group.
pub(crate) struct Team {
    group: Box<dyn Group>,
    /// How long a worker may keep the others waiting, checkpoints aside.
    limit: Duration,
    interrupter: Interrupter,
    /// A worker is gone: no exchange can complete any more.
    lost: bool,
}

/// What a worker sends to the others, as MessagePack, which keeps every floating-point number.
#[derive(Serialize, Deserialize)]
enum Vote {
    /// Ready for the next step.
    Continue,
    /// Stop before the next step.
    Stop,
    /// The worker's batches of a step are computed.
    Computed(Measured),
    /// The worker has failed, for this reason.
    Failed(String),
    /// The worker has nothing left to do.
    Leave,
}

/// What a worker measured in its batches of a step.
#[derive(Serialize, Deserialize)]
struct Measured {
    /// Sum and weight of each statistic.
    statistics: Vec<(f64, f64)>,
    examples: usize,
    tokens: usize,
    /// Which parameters have gradients, in order of their names.
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

    /// How long a worker may keep the others waiting within a step.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether a worker is gone.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the workers make another step: not if one of them was interrupted.
    pub fn agrees_to_continue(&mut self) -> Result<bool, TrainError> {
        let stop = self.interrupter.should_stop();
        if self.world() == 1 {
            return Ok(!stop);
        }
        let own = if stop { Vote::Stop } else { Vote::Continue };
        // Between two steps the lead saves, however long that takes.
        let votes = self.vote(&own, self.limit_of_lead())?;
        match votes
            .iter()
            .all(|vote| matches!(vote, Vote::Continue | Vote::Stop))
        {
            true => Ok(!votes.iter().any(|vote| matches!(vote, Vote::Stop))),
            false => Err(out_of_step()),
        }
    }

    /// Adds up what the workers measured, which some may have nothing of; also returns which parameters any
    /// worker has gradients for.
    pub fn add(
        &mut self,
        own: StepStats,
        gradients: Vec<bool>,
    ) -> Result<(StepStats, Vec<bool>), TrainError> {
        let (parameters, statistics) = (gradients.len(), own.entries.len());
        let entries = own.entries.iter();
        let vote = Vote::Computed(Measured {
            statistics: entries.map(|entry| (entry.sum, entry.weight)).collect(),
            examples: own.examples,
            tokens: own.tokens,
            gradients,
        });
        let mut sum = own;
        (sum.examples, sum.tokens) = (0, 0);
        for entry in &mut sum.entries {
            (entry.sum, entry.weight) = (0.0, 0.0);
        }
        let mut any = vec![false; parameters];
        for vote in self.vote(&vote, Some(self.limit))? {
            let Vote::Computed(measured) = vote else {
                return Err(out_of_step());
            };
            let others = measured.statistics.len();
            let differ = others != statistics && others > 0 && statistics > 0;
            if differ || measured.gradients.len() != parameters {
                return Err(out_of_step());
            }
            for (entry, (sum, weight)) in sum.entries.iter_mut().zip(measured.statistics) {
                entry.sum += sum;
                entry.weight += weight;
            }
            sum.examples += measured.examples;
            sum.tokens += measured.tokens;
            for (any, one) in any.iter_mut().zip(measured.gradients) {
                *any |= one;
            }
        }
        Ok((sum, any))
    }

    /// The sum of every worker's values.
    pub fn sum(&mut self, values: Vec<f32>) -> Result<Vec<f32>, TrainError> {
        let sum = self.group.sum(values, self.limit);
        sum.map_err(|lost| self.lose(lost))
    }

    /// Everybody's value, in order of rank.
    pub fn exchange<T: Serialize + DeserializeOwned>(
        &mut self,
        own: &T,
    ) -> Result<Vec<T>, TrainError> {
        let all = self.gather(encode(own)?, self.limit_of_lead())?;
        all.iter().map(|bytes| decode(bytes)).collect()
    }

    /// The lead's values, bit by bit, in every worker.
    pub fn broadcast(&mut self, own: Vec<f32>) -> Result<Vec<f32>, TrainError> {
        let bytes = own.iter().flat_map(|value| value.to_le_bytes()).collect();
        let lead = self.group.broadcast(bytes, self.limit_of_lead());
        let lead = lead.map_err(|lost| self.lose(lost))?;
        let values = lead.as_chunks().0.iter();
        Ok(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Sends the others the reason of a failure that they cannot know.
    pub fn announce(&mut self, error: &TrainError) {
        let known = matches!(
            error,
            TrainError::Peer { .. } | TrainError::Lost(_) | TrainError::NonFinite { .. }
        );
        if !known && self.world() > 1 {
            // They hear it, or are gone: neither changes what this worker does.
            let _ = self.vote(&Vote::Failed(error.to_string()), self.limit_of_lead());
        }
    }

    /// Waits until all workers are done, so that the lead can write its last checkpoint.
    pub fn leave(&mut self) {
        if self.world() > 1 {
            let _ = self.vote(&Vote::Leave, self.limit_of_lead());
        }
    }

    /// The lead keeps the others waiting, they do not.
    fn limit_of_lead(&self) -> Option<Duration> {
        (self.rank() == 0).then_some(self.limit)
    }

    fn vote(&mut self, own: &Vote, limit: Option<Duration>) -> Result<Vec<Vote>, TrainError> {
        let votes = self.gather(encode(own)?, limit)?;
        let votes = votes.iter().enumerate();
        votes
            .map(|(worker, bytes)| match decode(bytes)? {
                Vote::Failed(message) => Err(TrainError::Peer { worker, message }),
                vote => Ok(vote),
            })
            .collect()
    }

    fn gather(
        &mut self,
        own: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Vec<Arc<[u8]>>, TrainError> {
        if self.lost {
            return Err(WorkerLost("the other workers are gone".into()).into());
        }
        let all = self.group.gather(own, limit);
        all.map_err(|lost| self.lose(lost))
    }

    fn lose(&mut self, lost: WorkerLost) -> TrainError {
        self.lost = true;
        lost.into()
    }
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, TrainError> {
    rmp_serde::to_vec(value).map_err(|_| out_of_step())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TrainError> {
    rmp_serde::from_slice(bytes).map_err(|_| out_of_step())
}

/// Workers that run other programs or other recipes.
fn out_of_step() -> TrainError {
    WorkerLost("the workers are out of step: they must run the same program and recipe".into())
        .into()
}
