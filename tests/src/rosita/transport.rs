//! The set of the optimal transport: cost, plan, distance, and gradients through the cost.

use burn::tensor::Tensor;
use oscar_core::model::transport;
use oscar_core::ops::TrainBackend;

use crate::check::{Checks, Report};
use crate::host::{HostTensor, Tensors};
use crate::set::Set;

/// The hidden states called `name`, and their mask.
fn states<B: TrainBackend>(
    inputs: &Tensors,
    name: &str,
    padding: &str,
    device: &B::Device,
) -> Result<(Tensor<B, 3>, Tensor<B, 2>), String> {
    let (values, padding) = (inputs.get(name)?, inputs.get(padding)?);
    let [rows, width, hidden] = values.shape[..] else {
        return Err(format!("{name} has shape {:?}", values.shape));
    };
    let states = values
        .floats::<B, 3>([rows, width, hidden], device)
        .require_grad();
    let mask = HostTensor {
        shape: padding.shape.clone(),
        data: padding.data.iter().map(|padding| 1.0 - padding).collect(),
    };
    Ok((states, mask.floats([rows, width], device)))
}

/// Compares everything that the set has.
pub fn check<B: TrainBackend>(set: &Set, device: &B::Device) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let (text, text_mask) = states::<B>(&inputs, "text_output", "text_pad", device)?;
    let (image, image_mask) = states::<B>(&inputs, "imgfeat_output", "imgfeat_pad", device)?;
    let moved = transport([text.clone(), image.clone()], [text_mask, image_mask]);
    checks.tensor("cost", &HostTensor::read(moved.cost.clone()));
    checks.tensor("plan", &HostTensor::read(moved.plan.clone()));
    checks.tensor("ot_dist", &HostTensor::read(moved.distance.clone()));

    let weights = inputs.get("weight")?;
    let weights: Tensor<B, 1> = weights.floats([weights.data.len()], device);
    let grads = (moved.distance * weights).sum().backward();
    for (name, states) in [("text_output", text), ("imgfeat_output", image)] {
        let grad = states.grad(&grads).ok_or("no gradient")?;
        checks.tensor(&format!("grad.{name}"), &HostTensor::read(grad));
    }
    Ok(checks.finish())
}
