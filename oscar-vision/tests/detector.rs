//! A detector from its folder, as published and as converted; what is wrong with folders and
//! pictures.

use std::fs;
use std::path::{Path, PathBuf};

use burn_flex::{Flex, FlexDevice};
use bytes::Bytes;
use image::{Rgb, RgbImage};
use oscar_core::checkpoint::{CheckpointError, NamedTensor, WeightFile, write_tensors};
use oscar_files::pytorch::{Dtype, StateEntry, write_state_dict};
use oscar_vision::detector::{Detector, DetectorError, Flavour, SelectionRule, convert};
use oscar_vision::{Picture, RegionExtractor, VisionError};
use rstest::rstest;
use tempfile::TempDir;

const FRCNN: &str = "detector_frcnn_alt";
const VINVL: &str = "detector_vinvl_x50";

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    fixtures.join(name)
}

fn open(dir: &Path) -> Result<Detector<Flex>, DetectorError> {
    Detector::open(dir, &FlexDevice)
}

fn refused(dir: &Path) -> DetectorError {
    open(dir).expect_err("it is refused")
}

/// A picture with some texture.
fn picture(width: u32, height: u32) -> Picture {
    let pixel = |x: u32, y: u32| Rgb([(x * 7 + y * 3) as u8, (x * y) as u8, (y * 11) as u8]);
    Picture {
        image: RgbImage::from_fn(width, height, pixel),
        origin: format!("{width}x{height}.png"),
    }
}

/// A copy of a fixture's folder without the reference's outputs.
fn copy(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() && !file.starts_with("expected") && !file.starts_with("inputs") {
            fs::copy(&path, dir.path().join(file)).unwrap();
        }
    }
    dir
}

/// The tensors of a file, without the counters of training.
fn tensors_of(path: &Path) -> Vec<NamedTensor> {
    let file = WeightFile::open(path).unwrap();
    let weights = file.weights().iter();
    let weights = weights.filter(|weight| weight.tensor.dtype() == Dtype::F32);
    let tensor = weights.map(|weight| NamedTensor {
        name: weight.name.clone(),
        shape: weight.tensor.shape().to_vec(),
        data: weight.tensor.to_f32().unwrap(),
    });
    tensor.collect()
}

fn rewrite(dir: &Path, change: impl FnOnce(&mut Vec<NamedTensor>)) {
    let path = dir.join("model.safetensors");
    let mut tensors = tensors_of(&path);
    change(&mut tensors);
    write_tensors(&path, &tensors).unwrap();
}

/// Puts a PyTorch file in the place of the safetensors one.
fn as_published(dir: &Path, name: &str) {
    let path = dir.join("model.safetensors");
    let tensors = tensors_of(&path);
    let entry = |(storage, tensor): (usize, &NamedTensor)| StateEntry {
        name: format!("module.{}", tensor.name),
        dtype: Dtype::F32,
        shape: tensor.shape.clone(),
        storage,
    };
    let entries: Vec<StateEntry> = tensors.iter().enumerate().map(entry).collect();
    let bytes = |tensor: &NamedTensor| {
        let bytes: Vec<u8> = tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        Bytes::from(bytes)
    };
    let storages: Vec<Bytes> = tensors.iter().map(bytes).collect();
    let file = fs::File::create(dir.join(name)).unwrap();
    write_state_dict(file, &entries, &storages).unwrap();
    fs::remove_file(path).unwrap();
}

#[rstest]
#[case(FRCNN, Flavour::Frcnn, "pytorch_model.bin")]
#[case(VINVL, Flavour::Vinvl, "vinvl_vg_x152c4.pth")]
fn published_and_converted_folders_give_the_same(
    #[case] name: &str,
    #[case] flavour: Flavour,
    #[case] file: &str,
) {
    let dir = copy(name);
    let first = open(dir.path()).unwrap();
    as_published(dir.path(), file);
    let published = open(dir.path()).unwrap();
    let out = dir.path().join("converted");
    let config = convert(dir.path(), &out).unwrap();
    assert_eq!(config.flavour, flavour);
    let converted = open(&out).unwrap();
    assert_eq!(converted.config(), published.config());
    assert_eq!(converted.labels(), published.labels());
    let pictures = [picture(60, 40)];
    let found = first.extract(&pictures).remove(0).unwrap();
    assert!(!found.regions.is_empty());
    assert_eq!(
        found.features.len(),
        found.regions.len() * first.feature_dim()
    );
    for other in [published, converted] {
        assert_eq!(other.identity(), first.identity());
        assert_eq!(other.extract(&pictures).remove(0).unwrap(), found);
    }
    let again = convert(dir.path(), &out);
    assert!(matches!(again, Err(DetectorError::File(_))), "{again:?}");
}

#[test]
fn each_picture_of_a_batch_is_read_for_itself() {
    let detector = open(&fixture(VINVL)).unwrap().with_batch_size(4);
    let pictures = [
        picture(60, 40),
        picture(2, 4000),
        picture(1, 1),
        picture(60, 40),
    ];
    let found = detector.extract(&pictures);
    let alone = detector.extract(&pictures[..1]).remove(0).unwrap();
    let (first, last) = (found[0].as_ref().unwrap(), found[3].as_ref().unwrap());
    assert_eq!(first, last);
    assert_eq!(first.regions.len(), alone.regions.len());
    for (a, b) in first.features.iter().zip(&alone.features) {
        assert!((a - b).abs() <= 1e-3 * b.abs().max(1.0), "{a} {b}");
    }
    match &found[1] {
        Err(VisionError::Picture { picture, found, .. }) => {
            assert_eq!(picture, "2x4000.png");
            assert!(found.contains("2 x 4000"), "{found}");
        }
        other => panic!("{other:?}"),
    }
    let one_pixel = found[2].as_ref().unwrap();
    for region in &one_pixel.regions {
        assert!(
            region.box_px.iter().all(|v| (0.0..=1.0).contains(v)),
            "{region:?}"
        );
    }
}

#[test]
fn the_number_of_boxes_and_attributes_are_options() {
    let detector = open(&fixture(FRCNN)).unwrap();
    let few = detector.with_config(|config| {
        config.selection.min_boxes = 2;
        config.selection.max_boxes = 3;
        config.heads.with_attributes = false;
    });
    let few = few.unwrap();
    let found = few.extract(&[picture(60, 40)]).remove(0).unwrap();
    assert!((2..=3).contains(&found.regions.len()));
    assert!(
        found
            .regions
            .iter()
            .all(|region| region.attributes.is_empty())
    );
    assert!(few.identity().settings.contains_key("selection.max_boxes"));
    let other_network = few.with_config(|config| config.backbone.groups = 2);
    assert!(matches!(other_network, Err(DetectorError::Config { .. })));
    let other_rule = open(&fixture(FRCNN)).unwrap().with_config(|config| {
        config.selection.rule = SelectionRule::BestKeptClass {
            boxes_are_proposals: true,
        };
    });
    assert!(matches!(other_rule, Err(DetectorError::Config { .. })));
}

#[test]
fn weights_of_the_other_detector_are_refused() {
    let dir = copy(FRCNN);
    fs::copy(
        fixture(VINVL).join("model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    match refused(dir.path()) {
        DetectorError::OtherModel { path, found } => {
            assert!(path.ends_with("model.safetensors"));
            assert!(
                found.contains("VinVL") && found.contains("frcnn-vg"),
                "{found}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case(FRCNN, "objects_vocab.txt")]
#[case(FRCNN, "attributes_vocab.txt")]
#[case(VINVL, "labelmap.json")]
fn a_missing_list_of_names_is_named(#[case] name: &str, #[case] file: &str) {
    let dir = copy(name);
    fs::remove_file(dir.path().join(file)).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, DetectorError::Labels { .. }), "{error:?}");
    let wanted = if name == FRCNN {
        file
    } else {
        "VG-SGG-dicts-vgoi6-clipped.json"
    };
    assert!(error.to_string().contains(wanted), "{error}");
}

#[test]
fn a_list_of_another_length_is_refused() {
    let dir = copy(FRCNN);
    fs::write(
        dir.path().join("objects_vocab.txt"),
        "dog,hound\nStop Sign,stopsign\n",
    )
    .unwrap();
    match refused(dir.path()) {
        DetectorError::Labels { found, .. } => {
            assert!(
                found.contains("2 classes") && found.contains("17"),
                "{found}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tensor_that_is_missing_or_of_another_shape_is_named() {
    const NAME: &str = "roi_heads.res5.1.conv2.weight";
    let dir = copy(FRCNN);
    rewrite(dir.path(), |tensors| {
        tensors.retain(|tensor| tensor.name != NAME)
    });
    match refused(dir.path()) {
        DetectorError::Weights(CheckpointError::Tensor { name, .. }) => assert_eq!(name, NAME),
        other => panic!("{other:?}"),
    }
    let dir = copy(FRCNN);
    let config = fs::read_to_string(dir.path().join("config.yaml")).unwrap();
    let other = config.replace("res2_out_channels: 20", "res2_out_channels: 24");
    fs::write(dir.path().join("config.yaml"), other).unwrap();
    match refused(dir.path()) {
        DetectorError::Weights(CheckpointError::Mismatch { mismatched, .. }) => {
            assert!(
                mismatched[0].name.starts_with("backbone.res2.0."),
                "{mismatched:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn anchors_and_shared_layers_that_differ_are_refused() {
    let dir = copy(FRCNN);
    let config = fs::read_to_string(dir.path().join("config.yaml")).unwrap();
    fs::write(
        dir.path().join("config.yaml"),
        config.replace("- 48", "- 47"),
    )
    .unwrap();
    match refused(dir.path()) {
        DetectorError::OtherModel { found, .. } => assert!(found.contains("anchors"), "{found}"),
        other => panic!("{other:?}"),
    }
    let dir = copy(VINVL);
    rewrite(dir.path(), |tensors| {
        let name = "roi_heads.box.feature_extractor.head.layer4.0.conv1.weight";
        let own = tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let mut other = own.clone();
        other.name = name.replace("roi_heads.box", "attribute");
        other.data[0] += 1.0;
        tensors.retain(|tensor| tensor.name != other.name);
        tensors.push(other);
    });
    match refused(dir.path()) {
        DetectorError::OtherModel { found, .. } => {
            assert!(found.contains("attribute.feature_extractor"), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn folders_without_usable_weights_are_refused() {
    let dir = TempDir::new().unwrap();
    let none = refused(dir.path());
    assert!(matches!(none, DetectorError::NoWeights { .. }), "{none:?}");
    for name in ["a.pth", "b.pth"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let two = refused(dir.path());
    assert!(matches!(two, DetectorError::NoWeights { .. }), "{two:?}");
    fs::remove_file(dir.path().join("b.pth")).unwrap();
    let text = refused(dir.path());
    assert!(
        matches!(text, DetectorError::Weights(CheckpointError::Format { .. })),
        "{text:?}"
    );
    let other = TempDir::new().unwrap();
    let tensors = [NamedTensor {
        name: "bert.pooler.dense.bias".into(),
        shape: vec![2],
        data: vec![0.0; 2],
    }];
    write_tensors(other.path().join("model.safetensors"), &tensors).unwrap();
    let bert = refused(other.path());
    assert!(matches!(bert, DetectorError::OtherModel { .. }), "{bert:?}");
}
