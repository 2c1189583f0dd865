//! Sets of the backbone alone.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use oscar_core::input::{AttentionMask, OscarInput};
use oscar_core::model::{Backbone, BackboneOutput, Inspect};
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::check::{Checks, Only, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors};
use crate::model::{self, Named};
use crate::set::Set;

/// Every output of the plain input and of its variants, and every gradient.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let config = set.config(fault)?;
    let inputs = set.inputs()?;
    let backbone = model::load::<B, _>(Backbone::new(&config, device), set, &mut checks)?;
    let input = model::input::<B>(&inputs, "attention_mask", fault, device)?;

    let inspect = Inspect {
        hidden_states: true,
        attentions: true,
        head_mask: None,
    };
    let output = backbone.forward_with(input.clone(), &inspect);
    compare("", &input, &output, &mut checks);
    for (index, hidden) in output.hidden_states.iter().enumerate() {
        checks.tensor(
            &format!("hidden_states.{index}"),
            &HostTensor::read(hidden.clone()),
        );
    }
    for (index, attention) in output.attentions.iter().enumerate() {
        checks.tensor(
            &format!("attentions.{index}"),
            &HostTensor::read(attention.clone()),
        );
    }
    variants(
        &backbone,
        &input,
        &inputs,
        config.num_hidden_layers,
        &mut checks,
    )?;

    if let (Some(sequence), Some(pooled)) =
        (inputs.find("proj_sequence"), inputs.find("proj_pooled"))
    {
        let dims = output.sequence.dims();
        let pooled_dims = output.pooled.dims();
        let loss = (output.sequence * sequence.floats(dims, device)).sum()
            + (output.pooled * pooled.floats(pooled_dims, device)).sum();
        checks.tensor("loss", &HostTensor::read(loss.clone()));
        let grads = GradientsParams::from_grads(loss.backward(), &backbone);
        Named::gradients(&backbone, &grads).check_gradients("grad.", &mut checks);
    }
    Ok(checks.finish())
}

/// The same weights on an input with one thing added or taken away.
fn variants<B: OscarBackend>(
    backbone: &Backbone<B>,
    input: &OscarInput<B>,
    inputs: &Tensors,
    layers: usize,
    checks: &mut Checks,
) -> Result<(), String> {
    let device = &input.input_ids.device();
    let [rows, text] = input.input_ids.dims();

    // Officially called with the ids alone: no padding, one segment.
    let alone = OscarInput {
        region_features: None,
        token_type_ids: input.token_type_ids.zeros_like(),
        attention_mask: AttentionMask::Padding(Tensor::ones([rows, text], device)),
        ..input.clone()
    };
    compare(
        "textonly.",
        &alone,
        &backbone.forward(alone.clone()),
        checks,
    );

    if inputs.find("attention_mask_3d").is_some() {
        let variant = model::input::<B>(inputs, "attention_mask_3d", None, device)?;
        compare(
            "mask3d.",
            &variant,
            &backbone.forward(variant.clone()),
            checks,
        );
    }
    if let Some(ids) = inputs.find("position_ids") {
        let position_ids = Some(ids.ints([rows, text], device));
        let variant = OscarInput {
            position_ids,
            ..input.clone()
        };
        compare("posids.", input, &backbone.forward(variant), checks);
    }
    if let Some(mask) = inputs.find("head_mask") {
        // One row of heads stands for every layer.
        let heads = mask.last();
        let mask = mask
            .floats::<B, 2>([mask.leading(1), heads], device)
            .expand([layers, heads]);
        let inspect = Inspect {
            head_mask: Some(mask),
            ..Inspect::default()
        };
        compare(
            "headmask.",
            input,
            &backbone.forward_with(input.clone(), &inspect),
            checks,
        );
    }
    Ok(())
}

/// Compares the sequence and the pooled vector.
///
/// Rows of a mask per query that allow no position at all attend by rounding errors only (the
/// official mask is -10000, not -∞): they are left out.
pub fn compare<B: OscarBackend>(
    prefix: &str,
    input: &OscarInput<B>,
    output: &BackboneOutput<B>,
    checks: &mut Checks,
) {
    let sequence = HostTensor::read(output.sequence.clone());
    let pooled = HostTensor::read(output.pooled.clone());
    let attending = attending(&input.attention_mask);
    let seq = sequence.shape[1];
    let first: Option<Vec<bool>> = attending
        .as_ref()
        .map(|rows| rows.iter().copied().step_by(seq).collect());
    let only = |rows| Only { rows, slack: None };
    checks.tensor_where(
        &format!("{prefix}sequence_output"),
        &sequence,
        only(attending.as_deref()),
    );
    checks.tensor_where(
        &format!("{prefix}pooled_output"),
        &pooled,
        only(first.as_deref()),
    );
}

/// Which queries of a mask per query may attend to something, `batch * seq` of them.
fn attending<B: OscarBackend>(mask: &AttentionMask<B>) -> Option<Vec<bool>> {
    let AttentionMask::Full(mask) = mask else {
        return None;
    };
    let sums: Tensor<B, 3> = mask.clone().sum_dim(2);
    Some(
        HostTensor::read(sums)
            .data
            .iter()
            .map(|&sum| sum > 0.0)
            .collect(),
    )
}
