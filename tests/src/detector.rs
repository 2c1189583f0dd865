//! Sets of detectors: from a picture's pixels to its boxes, stage by stage.

use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::Kernels;
use oscar_vision::detector::{
    ColourOrder, Detection, Detector, DetectorConfig, DetectorFiles, FeatureMap, Flavour, Network,
    Prepared, SelectionRule, pool, prepare, stack,
};
use oscar_vision::relative_box;
use serde_json::Value;

use crate::check::{Checks, Report};
use crate::detector_ops::{of_cells, of_rects};
use crate::host::{HostTensor, Tensors};
use crate::pictures::{decode, image_of, pixels, planes};
use crate::set::Set;

/// Compares every stage of every picture, alone and in batches, under every mode of the set.
pub fn check<B: Kernels>(set: &Set, device: &B::Device) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let mut detector = open::<B>(set, device)?;
    let mut prepared = Vec::new();
    for (number, picture) in list(&set.meta, "pictures").iter().enumerate() {
        let rgb = inputs.get(&format!("p{number}.rgb"))?;
        let file = picture["file"].as_str().ok_or("a picture without a file")?;
        let decoded = pixels(&decode(set, file)?);
        checks.exact(&format!("p{number}.rgb"), &decoded, rgb);
        let input = prepare(detector.config(), &image_of(rgb)?)?;
        compare_input(&mut checks, &inputs, number, &input, detector.config());
        stages(
            &mut checks,
            &format!("p{number}"),
            &detector,
            std::slice::from_ref(&input),
        );
        prepared.push(input);
    }
    let Some(modes) = set.meta.get("modes").and_then(Value::as_object) else {
        alone(&mut checks, &detector, &prepared);
        batches(&mut checks, set, &inputs, &detector, &prepared)?;
        return Ok(checks.finish());
    };
    for (mode, options) in modes {
        let rule = rule_of(detector.config(), options, set)?;
        detector = detector
            .with_config(|config| config.selection.rule = rule)
            .map_err(|error| error.to_string())?;
        for (number, input) in prepared.iter().enumerate() {
            let prefix = format!("p{number}");
            let found = detector.detect(std::slice::from_ref(input)).remove(0);
            if !found.box_deltas.is_empty() {
                table(
                    &mut checks,
                    &prefix,
                    "box_deltas",
                    &found.box_deltas,
                    &found,
                );
            }
            let prefix = format!("{prefix}.{mode}");
            vinvl(&mut checks, &prefix, &detector, &found, input);
            // Where boxes are proposals the detector takes their features again.
            let shape = [1, input.size[0] as usize, input.size[1] as usize, 3];
            let pixels = TensorData::new(input.pixels.clone(), shape);
            let res4 = detector
                .network()
                .backbone(Tensor::from_data(pixels, device));
            let pooled = detector.features_of(&map_on_host(&res4, 0), &found.selected.boxes);
            let like = Like {
                prefix: &prefix,
                kind: "",
            };
            like.check(&mut checks, "attr_pooled", &HostTensor::read(pooled));
        }
    }
    Ok(checks.finish())
}

/// The detector of the set, by PyTorch's own file; the converted weights must be the same.
fn open<B: Kernels>(set: &Set, device: &B::Device) -> Result<Detector<B>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", set.name);
    let mut files = DetectorFiles::find(&set.dir).map_err(|error| failed(&error))?;
    let torch = set.dir.join("pytorch_model.bin");
    if torch.is_file() {
        files.weights = torch;
    }
    let detector = Detector::open_files(&files, device).map_err(|error| failed(&error))?;
    let rgb = set.meta["colour_order_fed_to_the_net"] == "RGB";
    let detector = detector.with_config(|config| {
        if rgb {
            config.input.colour_order = ColourOrder::Rgb;
        }
    });
    detector.map_err(|error| failed(&error))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn rule_of(config: &DetectorConfig, options: &Value, set: &Set) -> Result<SelectionRule, String> {
    let settings = crate::set::read_json(&set.dir.join("config.json"))?;
    let nms_threshold = settings["nms"].as_f64().ok_or("no threshold `nms`")?;
    let boxes_are_proposals = options["IGNORE_BOX_REGRESSION"] == true;
    debug_assert_eq!(config.flavour, Flavour::Vinvl);
    match options["NMS_FILTER"].as_u64() {
        Some(0) => Ok(SelectionRule::PerClass {
            nms_threshold,
            boxes_are_proposals,
        }),
        Some(1) => Ok(SelectionRule::BestKeptClass {
            boxes_are_proposals,
        }),
        Some(2) => Ok(SelectionRule::BestClassOfProposals { nms_threshold }),
        other => Err(format!("NMS_FILTER {other:?}")),
    }
}

/// Size, scales and pixels of the network's input.
fn compare_input(
    checks: &mut Checks,
    inputs: &Tensors,
    number: usize,
    input: &Prepared,
    config: &DetectorConfig,
) {
    let name = format!("p{number}.preprocessed");
    let got = planes(&input.pixels, input.size[0], input.size[1]);
    match (config.flavour, checks.expected.find(&name)) {
        // Pillow's resize is of integers.
        (Flavour::Vinvl, Some(expected)) => {
            let expected = expected.clone();
            checks.exact_tensor(&name, &got.data, &expected.data);
        }
        _ => checks.tensor_like(&name, "preprocessed", &got),
    }
    let [x, y] = input.scales().map(f64::from);
    let size = input.size.map(f64::from).to_vec();
    for (name, got) in [("scales_yx", vec![y, x]), ("net_size", size)] {
        let name = format!("p{number}.{name}");
        if let Some(expected) = inputs.find(&name) {
            checks.exact(&name, &got, &expected.data);
        }
    }
}

/// A map of one picture, `[channels, height, width]`.
fn map_of<B: Kernels>(map: &Tensor<B, 4>, picture: usize) -> HostTensor {
    let [_, height, width, channels] = map.dims();
    let map = map
        .clone()
        .slice([picture..picture + 1])
        .permute([0, 3, 1, 2]);
    HostTensor::read(map.reshape([channels, height, width]))
}

/// The map of one picture on the host.
fn map_on_host<B: Kernels>(map: &Tensor<B, 4>, picture: usize) -> FeatureMap {
    let [_, height, width, channels] = map.dims();
    let own = map.clone().slice([picture..picture + 1]);
    FeatureMap {
        values: own.into_data().iter::<f32>().collect(),
        height,
        width,
        channels,
    }
}

/// Maps, proposals, pooled cells and logits of each picture of a batch.
fn stages<B: Kernels>(
    checks: &mut Checks,
    prefix: &str,
    detector: &Detector<B>,
    pictures: &[Prepared],
) -> Vec<Detection> {
    let network = detector.network();
    let device = network.device();
    let (values, [height, width]) = stack(pictures, detector.config().input.pad_value);
    let shape = [pictures.len(), height, width, 3];
    let pixels = Tensor::<B, 4>::from_data(TensorData::new(values, shape), device);
    let stem = network.stem(pixels);
    let res2 = network.stage(2, stem.clone());
    let res3 = network.stage(3, res2.clone());
    let res4 = network.stage(4, res3.clone());
    let maps = network.proposal_maps(res4.clone());
    let detections = detector.detect(pictures);
    for (picture, found) in detections.iter().enumerate() {
        let (prefix, kind) = match prefix.starts_with('b') {
            true => (format!("{prefix}.{picture}"), "batch."),
            false => (prefix.to_string(), ""),
        };
        let named = [
            ("stem", &stem),
            ("res2", &res2),
            ("res3", &res3),
            ("res4", &res4),
            ("rpn_logits", &maps.logits),
            ("rpn_deltas", &maps.deltas),
        ];
        for (name, map) in named {
            let got = map_of(map, picture);
            checks.tensor_like(&format!("{prefix}.{name}"), &format!("{kind}{name}"), &got);
        }
        let like = Like {
            prefix: &prefix,
            kind,
        };
        cells(checks, &like, detector, &res4, picture, found);
        of_proposals(checks, &like, detector, found);
    }
    detections
}

/// Names of a picture's tensors, and of their precision.
struct Like<'a> {
    prefix: &'a str,
    kind: &'a str,
}

impl Like<'_> {
    fn check(&self, checks: &mut Checks, name: &str, got: &HostTensor) {
        let (name, like) = (
            format!("{}.{name}", self.prefix),
            format!("{}{name}", self.kind),
        );
        checks.tensor_like(&name, &like, got);
    }
}

/// `values` in equal rows.
fn rows(values: &[f32], rows: usize) -> HostTensor {
    HostTensor {
        shape: vec![rows, values.len() / rows.max(1)],
        data: values.iter().map(|value| f64::from(*value)).collect(),
    }
}

fn vector(values: impl Iterator<Item = f64>) -> HostTensor {
    let data: Vec<f64> = values.collect();
    HostTensor {
        shape: vec![data.len()],
        data,
    }
}

/// The cells of the proposals before and after res5.
fn cells<B: Kernels>(
    checks: &mut Checks,
    like: &Like<'_>,
    detector: &Detector<B>,
    res4: &Tensor<B, 4>,
    picture: usize,
    found: &Detection,
) {
    let map = map_on_host(res4, picture);
    let channels = map.channels;
    let heads = &detector.config().heads;
    let (boxes, side) = (&found.proposals.boxes, heads.resolution);
    let cells = pool(heads.pooler, &map, boxes, side);
    let size = side * side * channels;
    like.check(
        checks,
        "roi_pooled_first",
        &of_cells(&cells[..2 * size], side, channels),
    );
    let sums = |square: bool| {
        vector(cells.chunks_exact(size).map(move |cells| {
            let value = |v: &f32| f64::from(*v) * if square { f64::from(*v) } else { 1.0 };
            cells.iter().map(value).sum()
        }))
    };
    like.check(checks, "roi_pooled_sum", &sums(false));
    like.check(checks, "roi_pooled_sumsq", &sums(true));
    let shape = [boxes.len(), side, side, channels];
    let cells =
        Tensor::<B, 4>::from_data(TensorData::new(cells, shape), detector.network().device());
    let res5 = detector.network().res5(cells);
    let [_, side, _, channels] = res5.dims();
    let values: Vec<f32> = res5.clone().into_data().iter::<f32>().collect();
    let size = side * side * channels;
    like.check(
        checks,
        "res5_first",
        &of_cells(&values[..size], side, channels),
    );
    let sums = values.chunks_exact(size);
    let sums = sums.map(|cells| cells.iter().map(|v| f64::from(*v)).sum());
    like.check(checks, "res5_sum", &vector(sums));
    let features = HostTensor::read(Network::features(res5));
    like.check(checks, "features_all", &features);
}

/// Proposals and what is computed for each of them.
fn of_proposals<B: Kernels>(
    checks: &mut Checks,
    like: &Like<'_>,
    detector: &Detector<B>,
    found: &Detection,
) {
    let proposals = &found.proposals;
    like.check(checks, "proposals", &of_rects(&proposals.boxes));
    let scores = vector(proposals.scores.iter().map(|score| f64::from(*score)));
    like.check(checks, "proposal_logits", &scores);
    like.check(checks, "proposal_scores", &scores);
    let count = proposals.boxes.len();
    like.check(checks, "cls_logits", &rows(&found.class_logits, count));
    if detector.config().flavour == Flavour::Frcnn {
        like.check(checks, "box_deltas", &rows(&found.box_deltas, count));
    }
}

fn table(checks: &mut Checks, prefix: &str, name: &str, values: &[f32], found: &Detection) {
    let got = rows(values, found.proposals.boxes.len());
    checks.tensor_like(&format!("{prefix}.{name}"), name, &got);
}

/// Positions in a list as the numbers of the set, which count from `first`.
fn ids(checks: &mut Checks, name: &str, got: &[usize], first: usize) {
    let Some(expected) = checks.expected.find(name).cloned() else {
        return;
    };
    let got: Vec<f64> = got.iter().map(|id| (id + first) as f64).collect();
    checks.exact_tensor(name, &got, &expected.data);
}

/// Rows `keep` of a table.
fn kept(values: &[f32], width: usize, keep: &[usize]) -> HostTensor {
    let rows_of = keep.iter().flat_map(|at| &values[at * width..][..width]);
    rows(&rows_of.copied().collect::<Vec<_>>(), keep.len())
}

/// Boxes, their six values, and features with these.
fn final_boxes(checks: &mut Checks, like: &Like<'_>, found: &Detection, picture: &Prepared) {
    like.check(checks, "boxes", &of_rects(&found.boxes));
    let [height, width] = picture.original;
    let six: Vec<[f32; 6]> = found
        .boxes
        .iter()
        .map(|b| relative_box(*b, width, height))
        .collect();
    like.check(checks, "spatial", &rows(&six.concat(), six.len()));
    let four: Vec<f32> = six
        .iter()
        .flat_map(|values| &values[..4])
        .copied()
        .collect();
    like.check(checks, "normalized_boxes", &rows(&four, six.len()));
    let width = found.features.len() / found.proposals.boxes.len().max(1);
    let joined = found.selected.keep.iter().zip(&six).flat_map(|(at, six)| {
        let features = &found.features[at * width..][..width];
        features.iter().chain(six).copied()
    });
    like.check(
        checks,
        "oscar_features",
        &rows(&joined.collect::<Vec<_>>(), six.len()),
    );
}

/// What HuggingFace's detector gives for each picture alone.
fn alone<B: Kernels>(checks: &mut Checks, detector: &Detector<B>, pictures: &[Prepared]) {
    for (number, picture) in pictures.iter().enumerate() {
        let prefix = format!("p{number}");
        let found = detector.detect(std::slice::from_ref(picture)).remove(0);
        let like = Like {
            prefix: &prefix,
            kind: "",
        };
        frcnn(checks, &like, &found, picture);
        // The set has attributes of all proposals.
        let width = found.class_logits.len() / found.proposals.boxes.len().max(1);
        let best = found.class_logits.chunks_exact(width.max(1)).map(|row| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter().position(|value| *value == largest).unwrap_or(0)
        });
        let shape = [
            found.proposals.boxes.len(),
            found.features.len() / found.proposals.boxes.len(),
        ];
        let features = TensorData::new(found.features.clone(), shape);
        let features = Tensor::<B, 2>::from_data(features, detector.network().device());
        let logits = detector
            .network()
            .attribute_logits(features, &best.collect::<Vec<_>>());
        like.check(checks, "attr_logits", &HostTensor::read(logits));
    }
}

fn frcnn(checks: &mut Checks, like: &Like<'_>, found: &Detection, picture: &Prepared) {
    let (prefix, selected) = (like.prefix, &found.selected);
    ids(checks, &format!("{prefix}.keep"), &selected.keep, 0);
    ids(checks, &format!("{prefix}.obj_ids"), &selected.classes, 0);
    let scores = vector(selected.scores.iter().map(|score| f64::from(*score)));
    like.check(checks, "obj_probs", &scores);
    let best: Vec<(usize, f32)> = found.attributes.iter().map(|of_box| of_box[0]).collect();
    let names: Vec<usize> = best.iter().map(|(at, _)| *at).collect();
    ids(checks, &format!("{prefix}.attr_ids"), &names, 0);
    like.check(
        checks,
        "attr_probs",
        &vector(best.iter().map(|(_, score)| f64::from(*score))),
    );
    let width = found.features.len() / found.proposals.boxes.len().max(1);
    let features = kept(&found.features, width, &selected.keep);
    like.check(checks, "roi_features", &features);
    final_boxes(checks, like, found, picture);
}

/// Padded batches: what is found depends on them.
fn batches<B: Kernels>(
    checks: &mut Checks,
    set: &Set,
    inputs: &Tensors,
    detector: &Detector<B>,
    prepared: &[Prepared],
) -> Result<(), String> {
    for (number, batch) in list(&set.meta, "batches").iter().enumerate() {
        let members = batch.as_array().into_iter().flatten();
        let members: Option<Vec<Prepared>> = members
            .map(|at| prepared.get(at.as_u64()? as usize).cloned())
            .collect();
        let members = members.ok_or("a batch of other pictures")?;
        let (values, [height, width]) = stack(&members, detector.config().input.pad_value);
        let expected = inputs.get(&format!("b{number}.preprocessed"))?;
        let of_picture = values.chunks_exact(height * width * 3);
        let got = of_picture.flat_map(|v| planes(v, height as u32, width as u32).data);
        let got = HostTensor {
            shape: vec![members.len(), 3, height, width],
            data: got.collect(),
        };
        checks.part(
            &format!("b{number}.preprocessed"),
            "p0.preprocessed",
            &got,
            expected,
        );
        let found = stages(checks, &format!("b{number}"), detector, &members);
        for (place, (found, picture)) in found.iter().zip(&members).enumerate() {
            let prefix = format!("b{number}.{place}");
            let like = Like {
                prefix: &prefix,
                kind: "batch.",
            };
            frcnn(checks, &like, found, picture);
        }
    }
    Ok(())
}

/// What VinVL's detector gives under one mode.
fn vinvl<B: Kernels>(
    checks: &mut Checks,
    prefix: &str,
    detector: &Detector<B>,
    found: &Detection,
    picture: &Prepared,
) {
    let selected = &found.selected;
    let like = Like { prefix, kind: "" };
    ids(checks, &format!("{prefix}.keep"), &selected.keep, 0);
    ids(checks, &format!("{prefix}.labels"), &selected.classes, 1);
    let scores = vector(selected.scores.iter().map(|score| f64::from(*score)));
    like.check(checks, "scores", &scores);
    like.check(checks, "boxes_net", &of_rects(&selected.boxes));
    let width = found.features.len() / found.proposals.boxes.len().max(1);
    like.check(
        checks,
        "box_features",
        &kept(&found.features, width, &selected.keep),
    );
    like.check(
        checks,
        "attr_logits",
        &rows(&found.attribute_logits, selected.keep.len()),
    );
    let most = detector.config().selection.attributes_per_box;
    let mut labels = Vec::new();
    let mut scores = Vec::new();
    for of_box in &found.attributes {
        let missing = most - of_box.len();
        labels.extend(of_box.iter().map(|(at, _)| (at + 1) as f64));
        labels.extend(std::iter::repeat_n(-1.0, missing));
        scores.extend(of_box.iter().map(|(_, score)| f64::from(*score)));
        scores.extend(std::iter::repeat_n(0.0, missing));
    }
    let name = format!("{prefix}.attr_labels");
    if let Some(expected) = checks.expected.find(&name).cloned() {
        checks.exact_tensor(&name, &labels, &expected.data);
    }
    let shape = vec![found.attributes.len(), most];
    like.check(
        checks,
        "attr_scores",
        &HostTensor {
            shape,
            data: scores,
        },
    );
    final_boxes(checks, &like, found, picture);
}
