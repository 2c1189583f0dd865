//! Sets of referring expressions: ROSITA's network, what its loader makes of boxes, its evaluation.

use burn::tensor::Tensor;
use oscar_core::input::RegionInput;
use oscar_core::model::{OscarForReferring, ReferringTargets};
use oscar_core::ops::TrainBackend;
use oscar_refer::{Candidates, RIGHT, Share, iou};

use crate::check::{Checks, Report};
use crate::fault::Fault;
use crate::host::{HostTensor, Tensors};
use crate::model;
use crate::set::Set;

/// Weight of the boxes' loss.
const BOXES: f64 = 0.5;

/// Labels, scores, deltas, both losses, all gradients, and the boxes that are found.
pub fn check<B: TrainBackend>(
    set: &Set,
    fault: Option<Fault>,
    device: &B::Device,
) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let images = images(&inputs)?;
    check_labels(&images, &mut checks);

    let model = OscarForReferring::<B>::new(&set.config(fault)?, device);
    let model = model::load::<B, _>(model, set, &mut checks)?;
    let mask = inputs.get("imgfeat_mask")?;
    let (rows, regions) = (mask.leading(1), mask.last());
    let input = model::input::<B>(&inputs, "attention_mask", fault, device)?;
    let ([_, text], [_, seq]) = (input.input_ids.dims(), input.dims());
    let everywhere = model.backbone().forward(input.clone()).sequence;
    checks.tensor(
        "imgfeat_output",
        &HostTensor::read(everywhere.narrow(1, text, regions)),
    );

    let wanted = (0..rows).flat_map(|row| (0..regions).map(move |at| row * seq + text + at));
    let output = model.forward(RegionInput {
        input: input.with_query_positions(wanted),
        region_mask: mask.floats([rows, regions], device),
    });
    let (scores, deltas) = (
        HostTensor::read(output.scores.clone()),
        HostTensor::read(output.deltas.clone()),
    );
    checks.tensor("pred_refs_rank", &scores);
    checks.tensor("pred_refs_reg", &deltas);
    check_answers(&images, (&scores, &deltas), &mut checks);

    let loss = output.loss(targets(&inputs, (rows, regions), device)?);
    let boxes = loss.boxes.mul_scalar(BOXES);
    checks.tensor("refs_rank_loss", &HostTensor::read(loss.rank.clone()));
    checks.tensor("refs_reg_loss", &HostTensor::read(boxes.clone()));
    let total = loss.rank + boxes;
    model::check_loss(&model, total, &mut checks);
    Ok(checks.finish())
}

/// The targets of the set, as its loader gives them to the loss.
fn targets<B: TrainBackend>(
    inputs: &Tensors,
    (rows, regions): (usize, usize),
    device: &B::Device,
) -> Result<ReferringTargets<B>, String> {
    let matrix = |name: &str| -> Result<Tensor<B, 2>, String> {
        Ok(inputs.get(name)?.floats([rows, regions], device))
    };
    let valid = |name: &str| -> Result<Tensor<B, 2>, String> {
        Ok(inputs.get(name)?.floats([rows, 1], device))
    };
    Ok(ReferringTargets {
        rank: matrix("refs_rank_label")?,
        rank_weights: matrix("refs_rank_weight")? * valid("refs_rank_loss_valid")?,
        deltas: inputs
            .get("refs_reg_label")?
            .floats([rows, regions, 4], device),
        delta_weights: matrix("refs_reg_weight")? * valid("refs_reg_loss_valid")?,
    })
}

/// An image, the box that is meant, and the size of the image in pixels.
struct Image {
    candidates: Candidates,
    truth: Share,
    size: [f64; 2],
}

/// The images of a set, whose boxes are in pixels.
fn images(inputs: &Tensors) -> Result<Vec<Image>, String> {
    let (boxes, truths) = (inputs.get("refs_img_boxes")?, inputs.get("gt_boxes_xywh")?);
    let sizes = inputs.get("refs_img_shape")?;
    let each = boxes.data.len() / sizes.leading(1).max(1);
    let rows = boxes
        .data
        .chunks(each)
        .zip(truths.data.chunks(4))
        .zip(sizes.data.chunks(2));
    let image = |((boxes, truth), size): ((&[f64], &[f64]), &[f64])| {
        let size = [size[1], size[0]];
        let share = |b: [f64; 4]| std::array::from_fn(|side| b[side] / size[side % 2]);
        let boxes = boxes.chunks(4).map(|b| share([b[0], b[1], b[2], b[3]]));
        Image {
            candidates: Candidates {
                boxes: boxes.collect(),
                pixel: size.map(|side| 1.0 / side),
            },
            truth: share([truth[0], truth[1], truth[0] + truth[2], truth[1] + truth[3]]),
            size,
        }
    };
    Ok(rows.map(image).collect())
}

/// What the loader makes of boxes in pixels.
fn check_labels(images: &[Image], checks: &mut Checks) {
    let (rows, mut named) = (images.len(), Tensors::default());
    let mut put = |name: &str, values: &mut dyn Iterator<Item = f64>| {
        let tensor = named
            .0
            .entry(format!("label.{name}"))
            .or_insert(HostTensor {
                shape: Vec::new(),
                data: Vec::new(),
            });
        tensor.data.extend(values);
    };
    for image in images {
        let targets = image.candidates.targets(image.truth);
        let regions = targets.overlaps.len();
        let counts = !targets.rank.is_empty();
        let valid = f64::from(counts);
        let rank = if counts {
            targets.rank
        } else {
            vec![0.0; regions]
        };
        put("overlaps", &mut targets.overlaps.iter().copied());
        put("refs_rank_label", &mut rank.into_iter());
        put("refs_rank_weight", &mut std::iter::repeat_n(valid, regions));
        put("refs_rank_loss_valid", &mut std::iter::once(valid));
        put("refs_reg_loss_valid", &mut std::iter::once(valid));
        let right = targets
            .overlaps
            .iter()
            .map(|overlap| f64::from(*overlap >= RIGHT));
        put("refs_reg_weight", &mut right.into_iter());
        // Of an expression that does not count the loader gives no deltas.
        let deltas = targets.deltas.into_iter().flatten();
        put("refs_reg_label", &mut deltas.map(|delta| delta * valid));
    }
    for (name, mut tensor) in named.0 {
        let each = tensor.data.len() / rows;
        tensor.shape = match each {
            1 => vec![rows],
            each if name.ends_with("reg_label") => vec![rows, each / 4, 4],
            each => vec![rows, each],
        };
        checks.tensor(&name, &tensor);
    }
}

/// The official evaluation of what the model says.
fn check_answers(
    images: &[Image],
    (scores, deltas): (&HostTensor, &HostTensor),
    checks: &mut Checks,
) {
    let regions = scores.last();
    let (mut picked, mut correct) = (Vec::new(), Vec::new());
    let (mut all, mut boxes, mut overlaps) = (Vec::new(), Vec::new(), Vec::new());
    for (row, image) in images.iter().enumerate() {
        let own = &scores.data[row * regions..(row + 1) * regions];
        let best = (0..regions)
            .rev()
            .max_by(|a, b| own[*a].total_cmp(&own[*b]));
        let best = best.unwrap_or_default();
        let decode = |region: usize| {
            let start = 4 * (row * regions + region);
            let deltas = std::array::from_fn(|at| deltas.data[start + at] as f32);
            image.candidates.decode(region, deltas)
        };
        let pixels = |b: Share| (0..4).map(move |side| b[side] * image.size[side % 2]);
        all.extend((0..regions).flat_map(|region| pixels(decode(region))));
        boxes.extend(pixels(decode(best)));
        let overlap = iou(decode(best), image.truth, image.candidates.pixel);
        overlaps.push(overlap);
        picked.push(best as f64);
        correct.push(f64::from(overlap >= RIGHT));
    }
    let rows = images.len();
    let tensor = |shape: &[usize], data: Vec<f64>| HostTensor {
        shape: shape.to_vec(),
        data,
    };
    checks.tensor("decoded_boxes", &tensor(&[rows, regions, 4], all));
    checks.tensor("picked_box", &tensor(&[rows, 4], boxes));
    checks.tensor("picked_iou", &tensor(&[rows], overlaps));
    checks.tensor("picked", &tensor(&[rows], picked));
    checks.tensor("correct", &tensor(&[rows], correct));
}
