//! Sets of the operations that detectors are made of.

use burn::tensor::Tensor;
use oscar_core::ops::Kernels;
use oscar_vision::detector::{
    BatchNorm, Bottleneck, BoxCoder, Convolution, DetectorConfig, FeatureMap, Flavour, Geometry,
    Pooler, Rect, StemPool, cell_anchors, grid_anchors, nms, pool, stem_pool,
};

use crate::check::{Checks, Report};
use crate::host::{HostTensor, Tensors};
use crate::set::Set;

const FLAVOURS: [(&str, Flavour); 2] = [("butd", Flavour::Frcnn), ("vinvl", Flavour::Vinvl)];

/// Compares every operation of the set.
pub fn check<B: Kernels>(set: &Set, device: &B::Device) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    anchors(&mut checks);
    decode(&mut checks, &inputs)?;
    suppress(&mut checks, &inputs)?;
    regions(&mut checks, &inputs)?;
    stem_pools::<B>(&mut checks, &inputs, device)?;
    blocks::<B>(&mut checks, &inputs, device)?;
    batch_norms::<B>(&mut checks, &inputs, device)?;
    Ok(checks.finish())
}

/// Rows of four as boxes.
pub fn rects(tensor: &HostTensor) -> Vec<Rect> {
    let rows = tensor.data.as_chunks::<4>().0.iter();
    rows.map(|row| row.map(|value| value as f32)).collect()
}

/// Boxes as rows of four.
pub fn of_rects(rects: &[Rect]) -> HostTensor {
    HostTensor {
        shape: vec![rects.len(), 4],
        data: rects.concat().iter().map(|v| f64::from(*v)).collect(),
    }
}

/// Values as f32.
fn floats(tensor: &HostTensor) -> Vec<f32> {
    tensor.data.iter().map(|value| *value as f32).collect()
}

fn anchors(checks: &mut Checks) {
    for (name, flavour) in FLAVOURS {
        let config = DetectorConfig::published(flavour);
        let cell = cell_anchors(flavour, &config.rpn);
        checks.tensor(&format!("anchors.{name}"), &of_rects(&cell));
        let grid = of_rects(&grid_anchors(&cell, 2, 3));
        checks.tensor(&format!("anchors.{name}_grid_2x3"), &grid);
    }
}

fn decode(checks: &mut Checks, inputs: &Tensors) -> Result<(), String> {
    let boxes = rects(inputs.get("decode.boxes")?);
    let deltas = rects(inputs.get("decode.deltas")?);
    for (name, flavour) in FLAVOURS {
        for (weights, of) in [("w1", [1.0; 4]), ("w10", [10.0, 10.0, 5.0, 5.0])] {
            let coder = BoxCoder::new(flavour, of);
            let decoded = boxes.iter().zip(&deltas).map(|(b, d)| coder.decode(*b, *d));
            let got = of_rects(&decoded.collect::<Vec<_>>());
            checks.tensor(&format!("decode.{name}.{weights}"), &got);
        }
    }
    Ok(())
}

fn suppress(checks: &mut Checks, inputs: &Tensors) -> Result<(), String> {
    for set in ["nms", "nms_edge"] {
        let boxes = rects(inputs.get(&format!("{set}.boxes"))?);
        let scores = floats(inputs.get(&format!("{set}.scores"))?);
        for threshold in checks.expected_under(&format!("{set}.keep_")) {
            let name = format!("{set}.keep_{threshold}");
            let threshold: f64 = threshold.parse().map_err(|_| name.clone())?;
            let kept = nms(&boxes, &scores, threshold, usize::MAX);
            let kept: Vec<f64> = kept.iter().map(|at| *at as f64).collect();
            let expected = checks.expected.get(&name)?.data.clone();
            checks.exact_tensor(&name, &kept, &expected);
        }
    }
    Ok(())
}

/// `[channels, height, width]` as a map whose channels are the last axis.
fn feature_map(tensor: &HostTensor) -> FeatureMap {
    let [channels, height, width] = [3, 2, 1].map(|at| tensor.shape[tensor.shape.len() - at]);
    let cells = height * width;
    let value = |at: usize| tensor.data[at % channels * cells + at / channels] as f32;
    FeatureMap {
        values: (0..cells * channels).map(value).collect(),
        height,
        width,
        channels,
    }
}

/// Cells `[regions, side, side, channels]` as `[regions, channels, side, side]`.
pub fn of_cells(cells: &[f32], side: usize, channels: usize) -> HostTensor {
    let size = side * side * channels;
    let of_region = |region: &[f32]| {
        let value =
            |at: usize| f64::from(region[at % (side * side) * channels + at / (side * side)]);
        (0..size).map(value).collect::<Vec<f64>>()
    };
    HostTensor {
        shape: vec![cells.len() / size.max(1), channels, side, side],
        data: cells
            .chunks_exact(size.max(1))
            .flat_map(of_region)
            .collect(),
    }
}

fn regions(checks: &mut Checks, inputs: &Tensors) -> Result<(), String> {
    let map = feature_map(inputs.get("roi.features")?);
    let boxes = rects(inputs.get("roi.boxes")?);
    for (name, pooler) in [
        ("roi_pool", Pooler::RoiPool),
        ("roi_align", Pooler::RoiAlign),
    ] {
        let cells = pool(pooler, &map, &boxes, 14);
        checks.tensor(name, &of_cells(&cells, 14, map.channels));
    }
    Ok(())
}

/// `[1, channels, height, width]` with the channels as the last axis.
fn to_device<B: Kernels>(tensor: &HostTensor, device: &B::Device) -> Tensor<B, 4> {
    let shape: [usize; 4] = tensor.shape[..].try_into().expect("four axes");
    tensor.floats(shape, device).permute([0, 2, 3, 1])
}

fn of_device<B: Kernels>(tensor: Tensor<B, 4>) -> HostTensor {
    HostTensor::read(tensor.permute([0, 3, 1, 2]))
}

fn stem_pools<B: Kernels>(
    checks: &mut Checks,
    inputs: &Tensors,
    device: &B::Device,
) -> Result<(), String> {
    for (name, tensor) in &inputs.under("pool").0 {
        let Some(size) = name.strip_suffix(".in") else {
            continue;
        };
        for (kind, pool) in [("caffe", StemPool::Caffe), ("torch", StemPool::Torch)] {
            let got = of_device::<B>(stem_pool(to_device(tensor, device), pool));
            checks.tensor(&format!("pool{size}.{kind}"), &got);
        }
    }
    Ok(())
}

fn batch_norm(tensors: &Tensors, eps: f32) -> Result<BatchNorm, String> {
    Ok(BatchNorm {
        scale: floats(tensors.get("weight")?),
        shift: floats(tensors.get("bias")?),
        mean: floats(tensors.get("running_mean")?),
        variance: floats(tensors.get("running_var")?),
        eps,
    })
}

fn convolution<B: Kernels>(
    tensors: &Tensors,
    geometry: Geometry,
    device: &B::Device,
) -> Result<Convolution<B>, String> {
    let mut weight = floats(tensors.get("weight")?);
    let bias = batch_norm(&tensors.under("norm."), 1e-5)?.fold(&mut weight);
    Ok(Convolution::new(weight, bias, geometry, device))
}

/// Blocks of stride 2 or dilation 2; which of these is in the block's name.
fn blocks<B: Kernels>(
    checks: &mut Checks,
    inputs: &Tensors,
    device: &B::Device,
) -> Result<(), String> {
    for (name, [first, second], dilation, groups) in [
        ("s1x1", [2, 1], 1, 1),
        ("s3x3", [1, 2], 1, 1),
        ("grouped", [1, 2], 1, 4),
        ("dilated", [1, 1], 2, 1),
    ] {
        let tensors = inputs.under(&format!("block.{name}."));
        let point = |stride| Geometry {
            stride,
            ..Geometry::POINT
        };
        let spatial = Geometry {
            kernel: 3,
            stride: second,
            dilation,
            groups,
        };
        let part = |name: &str, geometry| {
            convolution::<B>(&tensors.under(&format!("{name}.")), geometry, device)
        };
        let block = Bottleneck::new(
            Some(part("shortcut", point(first * second))?),
            [
                part("conv1", point(first))?,
                part("conv2", spatial)?,
                part("conv3", point(1))?,
            ],
        );
        let input = to_device(tensors.get("in")?, device);
        let got = of_device::<B>(block.forward(input));
        checks.tensor(&format!("block.{name}.out"), &got);
    }
    Ok(())
}

/// A batch norm folded into a convolution that changes nothing.
fn batch_norms<B: Kernels>(
    checks: &mut Checks,
    inputs: &Tensors,
    device: &B::Device,
) -> Result<(), String> {
    let tensors = inputs.under("bn.");
    for (name, eps) in [("bn.vinvl_no_eps", 0.0), ("bn.butd_eps1e-5", 1e-5)] {
        let norm = batch_norm(&tensors, eps)?;
        let channels = norm.scale.len();
        let mut identity = vec![0.0; channels * channels];
        identity
            .iter_mut()
            .step_by(channels + 1)
            .for_each(|v| *v = 1.0);
        let bias = norm.fold(&mut identity);
        let norm = Convolution::<B>::new(identity, bias, Geometry::POINT, device);
        let got = of_device::<B>(norm.forward(to_device(tensors.get("in")?, device)));
        checks.tensor(name, &got);
    }
    Ok(())
}
