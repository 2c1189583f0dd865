//! Sets of the pre-training model.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use oscar_core::input::{MaskedTargets, OscarInput, PretrainBatch};
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::backbone;
use crate::check::{Checks, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors, ints};
use crate::model::{self, Named, Official};
use crate::rosita;
use crate::set::Set;

/// Label of a position whose token is not to be predicted.
const NO_LABEL: f64 = -1.0;

impl<B: TrainBackend> Official<B> for OscarForPretraining<B> {
    fn build(set: &Set, fault: Option<Fault>, device: &B::Device) -> Result<Self, String> {
        Ok(Self::new(&set.config(fault)?, device))
    }

    fn loss(
        &self,
        batch: &Tensors,
        fault: Option<Fault>,
        device: &B::Device,
    ) -> Result<Tensor<B, 1>, String> {
        if rosita::is_batch(batch) {
            return rosita::loss(self, batch, fault, device);
        }
        Ok(self.forward(&pretrain_batch(batch, fault, device)?).loss)
    }
}

/// A batch of a set as the model takes it.
fn pretrain_batch<B: OscarBackend>(
    batch: &Tensors,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<PretrainBatch<B>, String> {
    let input = model::input::<B>(batch, "attention_mask", fault, device)?;
    let labels = batch.get("masked_lm_labels")?;
    let relation = batch.get("next_sentence_label")?;
    let masked = masked(labels);
    let (mut positions, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for &position in &masked {
        positions.push(position as i32);
        targets.push(labels.data[position] as i32);
        weights.push(1.0);
    }
    let count = masked.len();
    if masked.is_empty() {
        positions.push(0);
        targets.push(0);
        weights.push(0.0);
    }
    let len = positions.len();
    let rows = labels.leading(1);
    Ok(PretrainBatch {
        input: input.with_query_positions(masked),
        masked: MaskedTargets {
            positions: ints(positions, [len], device),
            labels: ints(targets, [len], device),
            weights: HostTensor {
                shape: vec![len],
                data: weights,
            }
            .floats([len], device),
            count,
        },
        relation: relation.ints([rows], device),
        regions: None,
        answers: None,
        num_examples: rows,
        num_tokens: labels.data.len(),
    })
}

/// Flat positions of the tokens to predict.
fn masked(labels: &HostTensor) -> Vec<usize> {
    (0..labels.data.len())
        .filter(|&position| labels.data[position] != NO_LABEL)
        .collect()
}

/// Both losses, all logits and all gradients.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let config = set.config(fault)?;
    let inputs = set.inputs()?;
    let model = OscarForPretraining::<B>::new(&config, device);
    let model = model::load::<B, _>(model, set, &mut checks)?;
    let batch = pretrain_batch::<B>(&inputs, fault, device)?;

    let everywhere = OscarInput {
        query_positions: None,
        ..batch.input.clone()
    };
    let encoded = model.backbone().forward(everywhere);
    backbone::compare("", &batch.input, &encoded, &mut checks);
    check_scores(&model, &encoded, &mut checks);

    let output = model.forward(&batch);
    checks.tensor("masked_lm_loss", &HostTensor::read(output.mlm_loss));
    checks.tensor(
        "contrastive_loss",
        &HostTensor::read(output.contrastive_loss),
    );
    checks.tensor("loss", &HostTensor::read(output.loss.clone()));
    checks.tensor(
        "seq_relationship_score",
        &HostTensor::read(output.contrastive_logits),
    );
    if let Some(scores) = checks.expected.find("prediction_scores").cloned() {
        let rows = masked(inputs.get("masked_lm_labels")?);
        let vocab = scores.last();
        let expected = HostTensor {
            shape: vec![rows.len(), vocab],
            data: rows
                .iter()
                .flat_map(|&row| scores.data[row * vocab..(row + 1) * vocab].to_vec())
                .collect(),
        };
        let got = HostTensor::read(output.mlm_logits);
        checks.part(
            "prediction_scores (masked)",
            "prediction_scores",
            &got,
            &expected,
        );
    }

    let grads = GradientsParams::from_grads(output.loss.backward(), &model);
    Named::gradients(&model, &grads).check_gradients("grad.", &mut checks);
    Ok(checks.finish())
}

/// The official model predicts a token at every position, ours where it is asked to.
fn check_scores<B: TrainBackend>(
    model: &OscarForPretraining<B>,
    encoded: &oscar_core::model::BackboneOutput<B>,
    checks: &mut Checks,
) {
    let [batch, seq, _] = encoded.sequence.dims();
    let device = encoded.sequence.device();
    let everywhere = ints((0..(batch * seq) as i32).collect(), [batch * seq], &device);
    let scores = model.predict_tokens(encoded, everywhere);
    let [_, vocab] = scores.dims();
    checks.tensor(
        "prediction_scores",
        &HostTensor::read(scores.reshape([batch, seq, vocab])),
    );
}
