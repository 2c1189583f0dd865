//! What a pre-trained run can do, measured after the fact: at its end, or at every checkpoint it
//! kept.

use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{ExampleSeed, ExampleSource, InputError, PretrainEncoder};
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::OscarBackend;
use oscar_train::checkpoints;
use serde::Serialize;

use crate::config::{PretrainConfig, PretrainError};
use crate::grounding::{GroundingProbe, Shown};
use crate::held_out::{HeldOut, load};
use crate::objective::hits;
use crate::share::{Share, Tally};

/// Examples per batch.
const BATCH: usize = 64;

/// What a model reads from images, on a held-out corpus.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Probed {
    /// Training step of the weights.
    pub step: usize,
    /// Masked words guessed right beside the image's own regions and tags.
    pub own_image: Share,
    /// Beside another image's.
    pub other_image: Share,
    /// Beside the own regions and no tags; `None` for a model that reads no tags.
    pub without_tags: Option<Share>,
    /// Beside another image's regions and the own tags; `None` for a model that reads no tags.
    pub other_regions: Option<Share>,
    /// Beside the own regions and another image's tags; `None` for a model that reads no tags.
    pub other_tags: Option<Share>,
    /// Matched and polluted pairs told apart; half are matched.
    pub relation: Share,
}

/// Measures the last weights of the run in `directory`, or, with `every`, those of every checkpoint
/// that it kept, oldest first. `config` is the run's own, with what should be looked at instead.
///
/// # Errors
///
/// If the run has no finished weights, its files cannot be read, or a row cannot be encoded.
pub fn probe<B: OscarBackend>(
    config: &PretrainConfig,
    directory: &Path,
    every: bool,
    progress: &dyn Fn(usize, usize),
    device: &B::Device,
) -> Result<Vec<Probed>, PretrainError> {
    let last = directory.join("last");
    let HeldOut {
        model,
        corpus,
        encoder,
    } = HeldOut::open(config, &last)?;
    let grounding = GroundingProbe::new(
        &config.grounding,
        corpus.clone(),
        encoder.clone(),
        config.train.seed,
    )?;
    let weights = match every {
        true => checkpoints(directory)?,
        false => vec![(config.train.steps, last)],
    };
    let prober = Prober {
        grounding,
        corpus,
        encoder,
        seed: config.train.seed,
    };
    let mut probed = Vec::new();
    for (done, (step, path)) in weights.iter().enumerate() {
        progress(done, weights.len());
        let model = load::<B>(&model, path, device)?;
        probed.push(prober.measure(&model, *step, device)?);
    }
    progress(weights.len(), weights.len());
    Ok(probed)
}

struct Prober {
    grounding: GroundingProbe,
    corpus: Arc<dyn ExampleSource>,
    encoder: Arc<PretrainEncoder>,
    seed: u64,
}

impl Prober {
    fn measure<B: OscarBackend>(
        &self,
        model: &OscarForPretraining<B>,
        step: usize,
        device: &B::Device,
    ) -> Result<Probed, InputError> {
        let both = [Shown::OwnImage, Shown::OtherImage];
        let [own_image, other_image] = self.grounding.shares(model, both, BATCH, device)?;
        let mixed = match self.encoder.config().use_text_b {
            true => Some(self.grounding.shares(model, Shown::MIXED, BATCH, device)?),
            false => None,
        };
        Ok(Probed {
            step,
            own_image,
            other_image,
            without_tags: mixed.map(|[without, ..]| without),
            other_regions: mixed.map(|[.., regions]| regions),
            other_tags: mixed.map(|[_, tags, _]| tags),
            relation: relation(model, &self.corpus, &self.encoder, self.seed, BATCH, device)?,
        })
    }
}

/// Pairs of the whole corpus told to be matched or polluted, as they are drawn to validate.
pub(crate) fn relation<B: OscarBackend>(
    model: &OscarForPretraining<B>,
    corpus: &Arc<dyn ExampleSource>,
    encoder: &PretrainEncoder,
    seed: u64,
    batch_size: usize,
    device: &B::Device,
) -> Result<Share, InputError> {
    let seed = ExampleSeed { seed, epoch: 0 };
    let mut tally = Tally::default();
    for start in (0..corpus.len()).step_by(batch_size) {
        let rows = start..(start + batch_size).min(corpus.len());
        let rows = rows.map(|row| encoder.encode(&**corpus, row, seed));
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let batch = encoder.batch::<B>(&rows, device)?;
        let encoded = model.backbone().forward(batch.input);
        let right = hits(model.predict_relation(&encoded), batch.relation).into_data();
        right.iter::<f64>().for_each(|right| tally.add(right, 1));
    }
    Ok(tally.share())
}
