//! Training on hard negatives: what is done with the weights before each epoch.

use std::sync::Arc;

use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
use oscar_task::Training;
use oscar_train::{BeforeEpoch, Epoch};

use crate::Retrieval;
use crate::data::RetrievalData;
use crate::hard::{HardNegatives, Search};

/// The file of the lists, in the directory of a run for what takes long to compute.
const FILE: &str = "hard-negatives.bin";

/// Ends the waiting for lists with the run that makes them.
struct Closing(Arc<HardNegatives>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What finds the negatives of an epoch; none if they are drawn at random.
pub(crate) fn before_epoch<B: OscarBackend>(
    task: &Retrieval,
    training: &Training<'_, RetrievalData>,
) -> Option<BeforeEpoch<OscarClassifier<B>>> {
    let closing = Closing(training.data.hard()?.clone());
    let (data, path) = (training.data.clone(), training.cache.join(FILE));
    let search = Search {
        candidates: task.hard_candidates,
        kept: task.hard_kept,
        batch_size: training.batch_size,
        seed: training.seed,
    };
    Some(Arc::new(move |epoch: Epoch, model: &OscarClassifier<B>| {
        let Epoch { number, begins } = epoch;
        closing.0.provide(number, || {
            if !begins {
                if let Some(lists) = search.read(&data, &path, number) {
                    return Ok(lists);
                }
                tracing::warn!(
                    "{}: it has no hard negatives of epoch {number}: they are looked for again, by weights of \
                     the middle of the epoch",
                    path.display()
                );
            }
            let lists = search.run(&data, model, number)?;
            search.write(&lists, &path, number)?;
            Ok(lists)
        })
    }))
}
