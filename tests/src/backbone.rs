//! Sets of the backbone alone.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, backend::Backend};
use oscar_core::input::{AttentionMask, OscarInput};
use oscar_core::model::{Backbone, BackboneOutput};
use oscar_core::ops::{OscarBackend, TrainBackend};

use crate::check::{Checks, Only, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors};
use crate::model;
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

    let (output, inspection) = backbone.inspect(input.clone());
    compare("", &input, &output, &mut checks);
    for (index, hidden) in inspection.hidden_states.iter().enumerate() {
        checks.tensor(
            &format!("hidden_states.{index}"),
            &HostTensor::read(hidden.clone()),
        );
    }
    for (index, attention) in inspection.attentions.iter().enumerate() {
        checks.tensor(
            &format!("attentions.{index}"),
            &HostTensor::read(attention.clone()),
        );
    }
    variants(&backbone, &input, &inputs, &mut checks)?;

    if let (Some(sequence), Some(pooled)) =
        (inputs.find("proj_sequence"), inputs.find("proj_pooled"))
    {
        let dims = output.sequence.dims();
        let pooled_dims = output.pooled.dims();
        let loss = (output.sequence * sequence.floats(dims, device)).sum()
            + (output.pooled * pooled.floats(pooled_dims, device)).sum();
        model::check_loss(&backbone, loss, &mut checks);
    }
    Ok(checks.finish())
}

/// The same weights on an input with one thing added or taken away.
fn variants<B: OscarBackend>(
    backbone: &Backbone<B>,
    input: &OscarInput<B>,
    inputs: &Tensors,
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
        let masked = backbone.clone().map(&mut MaskHeads {
            mask: &mask.data,
            heads: mask.last(),
            path: Vec::new(),
        });
        compare("headmask.", input, &masked.forward(input.clone()), checks);
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

/// Multiplies each head's values by its mask, which is the same as to multiply its attention
/// probabilities: the official `head_mask`.
struct MaskHeads<'a> {
    /// `[layers, heads]`, or `[heads]` for every layer.
    mask: &'a [f64],
    heads: usize,
    path: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for MaskHeads<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        // encoder.layer.N.attention.self_attention.value.{weight, bias}
        let [.., layer, _, _, projection, _] = &self.path[..] else {
            return param;
        };
        let (Ok(layer), "value") = (layer.parse::<usize>(), projection.as_str()) else {
            return param;
        };
        let of_layer = self.mask.chunks(self.heads).cycle().nth(layer);
        let of_layer = of_layer.expect("a mask of each layer");
        param.map(|values| {
            let width = values.dims()[D - 1];
            let each = of_layer.iter();
            let each = each.flat_map(|mask| std::iter::repeat_n(*mask, width / self.heads));
            let factors = HostTensor {
                shape: vec![width],
                data: each.collect(),
            };
            let mut shape = [1; D];
            shape[D - 1] = width;
            values.clone() * factors.floats::<B, D>(shape, &values.device())
        })
    }
}
