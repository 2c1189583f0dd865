//! Oscar for pre-training: masked tokens and contrastive relation (`BertImgForPreTraining`); and
//! ROSITA, which adds a head for masked regions and may have one for answers.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Int, Tensor, backend::Backend};

use super::{
    AnswerHead, Backbone, BackboneOutput, MlmHead, RegionHead, RegionPredictions, Transport, init,
    transport,
};
use crate::checkpoint::Checkpointed;
use crate::config::ModelConfig;
use crate::input::{AttentionMask, OscarInput, PretrainBatch};
use crate::ops::{self, OscarBackend};

/// Backbone, masked-token head with tied output matrix, and contrastive head (paper §3.1); by
/// configuration also heads for masked regions and for answers.
#[derive(Module, Debug)]
pub struct OscarForPretraining<B: Backend> {
    bert: Backbone<B>,
    cls: PretrainingHeads<B>,
}

#[derive(Module, Debug)]
struct PretrainingHeads<B: Backend> {
    predictions: MlmHead<B>,
    /// From the pooled vector to matched / polluted tags (/ polluted caption).
    seq_relationship: Linear<B>,
    /// From a region's final hidden state to what is in it.
    regions: Option<RegionHead<B>>,
    /// From the pooled vector to answers.
    answers: Option<AnswerHead<B>>,
}

/// Losses and logits of a pre-training batch.
#[derive(Clone, Debug)]
pub struct PretrainOutput<B: Backend> {
    /// `mlm_loss + contrastive_loss`, `[1]`.
    pub loss: Tensor<B, 1>,
    /// Mean cross entropy of the masked tokens, `[1]`; 0 if the batch has none.
    pub mlm_loss: Tensor<B, 1>,
    /// Mean cross entropy of the relation, `[1]`.
    pub contrastive_loss: Tensor<B, 1>,
    /// `[masked, vocab]`
    pub mlm_logits: Tensor<B, 2>,
    /// `[batch, contrast_classes]`
    pub contrastive_logits: Tensor<B, 2>,
}

impl<B: OscarBackend> OscarForPretraining<B> {
    /// A model with fresh weights.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            bert: Backbone::new(config, device),
            cls: PretrainingHeads {
                predictions: MlmHead::new(config, true, device),
                seq_relationship: init::linear(
                    config.hidden_size,
                    config.num_contrast_classes,
                    config.initializer_range,
                    device,
                ),
                regions: config.region_head.then(|| RegionHead::new(config, device)),
                answers: (config.num_answers > 0).then(|| {
                    AnswerHead::new(config, config.hidden_size, config.num_answers, device)
                }),
            },
        }
    }

    /// The backbone.
    pub fn backbone(&self) -> &Backbone<B> {
        &self.bert
    }

    /// Both losses of a batch, with unit weights as in the official code.
    pub fn forward(&self, batch: &PretrainBatch<B>) -> PretrainOutput<B> {
        let encoded = self.bert.forward(batch.input.clone());
        let mlm_logits = self.predict_tokens(&encoded, batch.masked.positions.clone());
        let contrastive_logits = self.predict_relation(&encoded);

        let mlm_loss = ops::cross_entropy(
            mlm_logits.clone(),
            batch.masked.labels.clone(),
            Some(batch.masked.weights.clone()),
        );
        let contrastive_loss =
            ops::cross_entropy(contrastive_logits.clone(), batch.relation.clone(), None);
        PretrainOutput {
            loss: mlm_loss.clone() + contrastive_loss.clone(),
            mlm_loss,
            contrastive_loss,
            mlm_logits,
            contrastive_logits,
        }
    }

    /// Vocabulary logits `[positions, vocab]` at `positions` `[positions]` of the flattened
    /// `[batch * seq]` sequence.
    pub fn predict_tokens(
        &self,
        encoded: &BackboneOutput<B>,
        positions: Tensor<B, 1, Int>,
    ) -> Tensor<B, 2> {
        let rows = select(encoded, positions);
        self.cls
            .predictions
            .forward(rows, self.bert.word_embeddings())
    }

    /// What the regions at `positions` `[positions]` of the flattened `[batch * seq]` sequence show;
    /// `None` of a model without a head for it.
    pub fn predict_regions(
        &self,
        encoded: &BackboneOutput<B>,
        positions: Tensor<B, 1, Int>,
    ) -> Option<RegionPredictions<B>> {
        let head = self.cls.regions.as_ref()?;
        Some(head.forward(select(encoded, positions)))
    }

    /// Logits of the answers, `[batch, answers]`; `None` of a model without a head for them.
    pub fn predict_answers(&self, encoded: &BackboneOutput<B>) -> Option<Tensor<B, 2>> {
        let head = self.cls.answers.as_ref()?;
        Some(head.forward(encoded.pooled.clone()))
    }

    /// The [loss](crate::input::AnswerTargets::loss) of the answers, `[1]`; `None` of a model without a head
    /// for them, or of a batch without targets.
    pub fn answer_loss(
        &self,
        encoded: &BackboneOutput<B>,
        batch: &PretrainBatch<B>,
    ) -> Option<Tensor<B, 1>> {
        let logits = self.predict_answers(encoded)?;
        Some(batch.answers.as_ref()?.loss(logits))
    }

    /// The transport between the final hidden states of words (with `[CLS]`, `[SEP]` and tags) and of
    /// regions; `None` without regions or with a mask per query. Every position of `encoded` must have
    /// been computed.
    pub fn transport(
        &self,
        encoded: &BackboneOutput<B>,
        input: &OscarInput<B>,
    ) -> Option<Transport<B>> {
        let AttentionMask::Padding(mask) = &input.attention_mask else {
            return None;
        };
        let ([_, text], [_, seq]) = (input.input_ids.dims(), mask.dims());
        let regions = seq - text;
        if regions == 0 {
            return None;
        }
        let states = [(0, text), (text, regions)]
            .map(|(from, len)| encoded.sequence.clone().narrow(1, from, len));
        let masks =
            [(0, text), (text, regions)].map(|(from, len)| mask.clone().narrow(1, from, len));
        Some(transport(states, masks))
    }

    /// Relation logits `[batch, contrast_classes]`; class 0 is "matched".
    pub fn predict_relation(&self, encoded: &BackboneOutput<B>) -> Tensor<B, 2> {
        ops::linear(&self.cls.seq_relationship, encoded.pooled.clone())
    }
}

/// The rows of the flattened sequence at `positions`.
fn select<B: Backend>(encoded: &BackboneOutput<B>, positions: Tensor<B, 1, Int>) -> Tensor<B, 2> {
    ops::flatten(encoded.sequence.clone()).select(0, positions)
}

impl<B: Backend> Checkpointed<B> for OscarForPretraining<B> {
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        super::TIED_DECODER
    }
}
