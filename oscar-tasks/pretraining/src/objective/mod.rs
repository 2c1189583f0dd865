//! What a pre-training model learns: the objectives of a recipe, `[[objective]]`.
//!
//! Each objective has its targets in the batch, its loss and its metrics. The loss of a step is
//! their weighted sum. The default list is that of Oscar and Oscar+ (paper §3.1): masked tokens and
//! the contrastive relation, with unit weights.

mod answers;
mod contrastive;
mod masked_tokens;
mod matching;
mod regions;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};
use oscar_core::config::{ConfigError, require};
use oscar_core::input::{MaskingStrategy, PretrainBatch, PretrainEncoderConfig, Purpose};
use oscar_core::model::{BackboneOutput, OscarForPretraining, RegionPredictions};
use oscar_core::ops::OscarBackend;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use answers::{ANSWER_ACCURACY, ANSWER_LOSS};
pub use contrastive::{CONTRASTIVE_ACCURACY, CONTRASTIVE_LOSS};
pub use masked_tokens::{MLM_ACCURACY, MLM_LOSS};
pub use matching::{MATCHING_ACCURACY, MATCHING_LOSS, TRANSPORT_LOSS};
pub use regions::{
    REGION_ATTRIBUTE_ACCURACY, REGION_ATTRIBUTE_LOSS, REGION_FEATURE_LOSS, REGION_OBJECT_ACCURACY,
    REGION_OBJECT_LOSS,
};

/// What is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Masked words and tags (MLM). Without it nothing is masked.
    MaskedTokens,
    /// Whether tags and text belong to the image. Without it no tags or texts are replaced.
    Contrastive,
    /// The features of masked regions. Without it and the next two no region is masked.
    RegionFeatures,
    /// The object classes of masked regions.
    RegionObjects,
    /// The attributes of masked regions.
    RegionAttributes,
    /// Whether the image is that of the text or another row's. It has the head of the contrastive
    /// relation, so a recipe has one of the two.
    Matching,
    /// The optimal transport between words and regions; beside the contrastive relation or matching,
    /// which say what belongs together.
    Transport,
    /// What people answered to a question, among those of `data.answers`; an answer is then no part of
    /// the input.
    Answers,
}

/// One entry of `[[objective]]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// What is predicted.
    pub name: Objective,
    /// Factor of its loss.
    #[serde(default = "unit")]
    pub weight: f64,
}

fn unit() -> f64 {
    1.0
}

/// The objectives of a recipe, in the order in which their losses are added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Objectives(Vec<ObjectiveConfig>);

impl Default for Objectives {
    fn default() -> Self {
        let all = [Objective::MaskedTokens, Objective::Contrastive];
        Self(all.map(|name| ObjectiveConfig { name, weight: 1.0 }).into())
    }
}

/// What an objective makes of a batch.
pub(crate) struct ObjectiveOutput<B: Backend> {
    /// Mean loss over what was predicted, `[1]`.
    pub loss: Tensor<B, 1>,
    /// Number of predictions that the mean is over, `[1]`.
    pub predictions: Tensor<B, 1>,
    /// Number of right predictions, `[1]`; `None` where none is right or wrong.
    pub right: Option<Tensor<B, 1>>,
}

impl<B: AutodiffBackend> ObjectiveOutput<B> {
    /// The same without gradients.
    pub fn inner(self) -> ObjectiveOutput<B::InnerBackend> {
        ObjectiveOutput {
            loss: self.loss.inner(),
            predictions: self.predictions.inner(),
            right: self.right.map(Tensor::inner),
        }
    }
}

impl Objective {
    /// Names of its loss and of its accuracy in logs and on the dashboard.
    pub fn metrics(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::MaskedTokens => (MLM_LOSS, Some(MLM_ACCURACY)),
            Self::Contrastive => (CONTRASTIVE_LOSS, Some(CONTRASTIVE_ACCURACY)),
            Self::RegionFeatures => (REGION_FEATURE_LOSS, None),
            Self::RegionObjects => (REGION_OBJECT_LOSS, Some(REGION_OBJECT_ACCURACY)),
            Self::RegionAttributes => (REGION_ATTRIBUTE_LOSS, Some(REGION_ATTRIBUTE_ACCURACY)),
            Self::Matching => (MATCHING_LOSS, Some(MATCHING_ACCURACY)),
            Self::Transport => (TRANSPORT_LOSS, None),
            Self::Answers => (ANSWER_LOSS, Some(ANSWER_ACCURACY)),
        }
    }

    /// Whether it is about masked regions.
    pub fn is_of_regions(self) -> bool {
        matches!(
            self,
            Self::RegionFeatures | Self::RegionObjects | Self::RegionAttributes
        )
    }

    /// Predicts the targets of `batch` from its `encoded` sequences and scores the predictions.
    fn score<B: OscarBackend>(
        self,
        model: &OscarForPretraining<B>,
        encoded: &BackboneOutput<B>,
        batch: &PretrainBatch<B>,
        regions: Option<&RegionPredictions<B>>,
    ) -> ObjectiveOutput<B> {
        let of_regions = || regions::score(self, regions?, batch.regions.as_ref()?);
        let output = match self {
            Self::MaskedTokens => Some(masked_tokens::score(model, encoded, batch)),
            Self::Contrastive | Self::Matching => Some(contrastive::score(model, encoded, batch)),
            Self::Transport => Some(matching::transport(model, encoded, batch)),
            Self::Answers => answers::score(model, encoded, batch),
            Self::RegionFeatures | Self::RegionObjects | Self::RegionAttributes => of_regions(),
        };
        // A batch that was made for other objectives has nothing to predict.
        output.unwrap_or_else(|| {
            let zero = Tensor::zeros([1], &encoded.pooled.device());
            ObjectiveOutput {
                loss: zero.clone(),
                predictions: zero,
                right: None,
            }
        })
    }
}

impl Objectives {
    /// A list of objectives.
    pub fn new(objectives: Vec<ObjectiveConfig>) -> Self {
        Self(objectives)
    }

    /// Whether `objective` is one of them.
    pub fn contain(&self, objective: Objective) -> bool {
        self.0.iter().any(|entry| entry.name == objective)
    }

    /// Checks the list.
    ///
    /// # Errors
    ///
    /// It is empty, names an objective twice, or a weight is not positive.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let count = self.0.len();
        require(
            count > 0,
            "objective",
            count,
            "must have at least one entry",
        )?;
        for (index, entry) in self.0.iter().enumerate() {
            let earlier = self.0[..index].iter();
            require(
                !earlier.clone().any(|other| other.name == entry.name),
                "objective.name",
                format!("{:?}", entry.name),
                "must appear only once",
            )?;
            require(
                entry.weight > 0.0 && entry.weight.is_finite(),
                "objective.weight",
                entry.weight,
                "must be greater than 0",
            )?;
        }
        let one_head = !(self.contain(Objective::Contrastive) && self.contain(Objective::Matching));
        require(
            one_head,
            "objective.name",
            "contrastive and matching",
            "must be one of the two: they share a head",
        )?;
        let related = self.contain(Objective::Contrastive) || self.contain(Objective::Matching);
        require(
            related || !self.contain(Objective::Transport),
            "objective.name",
            "transport",
            "needs contrastive or matching beside it, which say what belongs together",
        )
    }

    /// Whether one of them is about masked regions.
    pub fn mask_regions(&self) -> bool {
        self.0.iter().any(|entry| entry.name.is_of_regions())
    }

    /// What examples are prepared for.
    pub(crate) fn purpose(&self) -> Purpose {
        Purpose {
            regions: self.mask_regions(),
            matching: self.contain(Objective::Matching),
            all_positions: self.contain(Objective::Transport),
        }
    }

    /// `encoder` without the masks and replacements that no objective predicts.
    pub(crate) fn needed(&self, mut encoder: PretrainEncoderConfig) -> PretrainEncoderConfig {
        if !self.contain(Objective::MaskedTokens) {
            encoder.mask_probability = 0.0;
            encoder.masking.text = MaskingStrategy::Random;
        }
        if !self.mask_regions() {
            encoder.masking.regions = MaskingStrategy::Random;
        }
        if !self.contain(Objective::Contrastive) {
            encoder.contrast.polluted = 0.0;
        }
        encoder
    }

    /// Metrics beside the total loss, and whether higher is better: first the losses, then the
    /// accuracies.
    pub(crate) fn metrics(&self) -> Vec<(&'static str, bool)> {
        let names = || self.0.iter().map(|entry| entry.name.metrics());
        let losses = names().map(|(loss, _)| (loss, false));
        let accuracies = names().filter_map(|(_, accuracy)| Some((accuracy?, true)));
        losses.chain(accuracies).collect()
    }

    /// The weighted sum of the losses of a batch, `[1]`, and what each objective makes of it.
    pub(crate) fn score<B: OscarBackend>(
        &self,
        model: &OscarForPretraining<B>,
        batch: &PretrainBatch<B>,
    ) -> (Tensor<B, 1>, Vec<(Objective, ObjectiveOutput<B>)>) {
        let encoded = model.backbone().forward(batch.input.clone());
        let regions = batch.regions.as_ref().filter(|_| self.mask_regions());
        let regions =
            regions.and_then(|targets| model.predict_regions(&encoded, targets.positions.clone()));
        let mut total: Option<Tensor<B, 1>> = None;
        let mut outputs = Vec::with_capacity(self.0.len());
        for ObjectiveConfig { name, weight } in &self.0 {
            let output = name.score(model, &encoded, batch, regions.as_ref());
            let loss = match *weight {
                1.0 => output.loss.clone(),
                weight => output.loss.clone().mul_scalar(weight),
            };
            total = Some(match total {
                None => loss,
                Some(total) => total + loss,
            });
            outputs.push((*name, output));
        }
        let device = batch.input.input_ids.device();
        let total = total.unwrap_or_else(|| Tensor::zeros([1], &device));
        (total, outputs)
    }
}

/// 1 where the best class of `logits` `[rows, classes]` is the label, else 0: `[rows]`.
pub(crate) fn hits<B: Backend>(logits: Tensor<B, 2>, labels: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let [rows] = labels.dims();
    logits.argmax(1).reshape([rows]).equal(labels).float()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: Objective, weight: f64) -> ObjectiveConfig {
        ObjectiveConfig { name, weight }
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        let twice = vec![entry(Objective::Contrastive, 1.0); 2];
        let key = |objectives: Vec<ObjectiveConfig>| {
            let error = Objectives::new(objectives).validate().expect_err("refused");
            error.to_string().split(' ').next().map(String::from)
        };
        assert_eq!(key(Vec::new()).as_deref(), Some("objective"));
        assert_eq!(key(twice).as_deref(), Some("objective.name"));
        let weights = [0.0, -1.0, f64::NAN, f64::INFINITY];
        for weight in weights {
            let list = vec![entry(Objective::MaskedTokens, weight)];
            assert_eq!(key(list).as_deref(), Some("objective.weight"), "{weight}");
        }
        Objectives::default()
            .validate()
            .expect("the published list");
    }

    #[test]
    fn only_what_is_predicted_is_masked_or_replaced() {
        let full = PretrainEncoderConfig::default();
        assert_eq!(Objectives::default().needed(full.clone()), full);
        let one = |name| Objectives::new(vec![entry(name, 1.0)]).needed(full.clone());
        let (words, relation) = (one(Objective::MaskedTokens), one(Objective::Contrastive));
        assert_eq!(words.mask_probability, full.mask_probability);
        assert_eq!(words.contrast.polluted, 0.0);
        assert_eq!(relation.mask_probability, 0.0);
        assert_eq!(relation.contrast, full.contrast);
    }
}
