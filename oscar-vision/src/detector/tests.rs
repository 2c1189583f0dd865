//! Names and shapes of the published files, and what configurations may say.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_flex::{Flex, FlexDevice};
use rstest::rstest;

use super::weights::TensorSource;
use super::*;

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    fixtures.join(name)
}

/// Gives zeros, and notes what was asked for.
#[derive(Default)]
struct Recorder(RefCell<BTreeMap<String, Vec<usize>>>);

impl TensorSource for Recorder {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, DetectorError> {
        self.0.borrow_mut().insert(name.into(), shape.to_vec());
        Ok(vec![0.0; shape.iter().product()])
    }
}

#[rstest]
#[case("butd", Flavour::Frcnn)]
#[case("vinvl", Flavour::Vinvl)]
fn every_tensor_of_the_published_file_is_read(#[case] key: &str, #[case] flavour: Flavour) {
    let text = fs::read_to_string(fixture("detector_ops/real_tensor_shapes.json")).unwrap();
    let all: BTreeMap<String, BTreeMap<String, (Vec<usize>, String)>> =
        serde_json::from_str(&text).unwrap();
    let published: BTreeMap<String, Vec<usize>> = all[key]
        .iter()
        .filter(|(name, _)| {
            // Counters of training, what follows from the configuration, what is there twice.
            !name.ends_with("num_batches_tracked")
                && !name.contains("cell_anchors")
                && !name.starts_with("attribute.feature_extractor.")
        })
        .map(|(name, (shape, _))| (name.clone(), shape.clone()))
        .collect();
    let recorder = Recorder::default();
    let config = DetectorConfig::published(flavour);
    Network::<Flex>::load(&recorder, &config, &FlexDevice).unwrap();
    assert_eq!(recorder.0.into_inner(), published);
}

#[test]
fn published_settings_are_usable_and_survive_json() {
    for config in [DetectorConfig::frcnn_vg(), DetectorConfig::vinvl_vg()] {
        assert_eq!(config.problem(), None);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<DetectorConfig>(&json).unwrap(),
            config
        );
    }
}

/// The problem of the configuration `text`.
fn refused(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    match yaml::read(&path) {
        Err(DetectorError::Config { path: of, found }) => {
            assert_eq!(of, path);
            found
        }
        Err(DetectorError::File(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case("resnets: {depth: 34}", "`resnets.depth` is 34")]
#[case("RESNETS: {Depth: 101}\ninput: {format: RGB}", "`input.format`")]
#[case(
    "resnets: {}\nroi_box_head: {cls_agnostic_bbox_reg: true}",
    "cls_agnostic_bbox_reg"
)]
#[case("resnets: {}\nmin_detections: many", "`min_detections`")]
#[case(
    "model: {resnets: {}, backbone: {conv_body: X-101}}",
    "`model.backbone.conv_body`"
)]
#[case(
    "MODEL: {RESNETS: {}, ROI_HEADS: {NMS_FILTER: 2}}\nTEST: {IGNORE_BOX_REGRESSION: false}",
    "nms_filter"
)]
#[case("something: 1", "config.yaml")]
#[case("a: [", "config.yaml")]
fn a_wrong_key_is_named(#[case] text: &str, #[case] named: &str) {
    let found = refused(text);
    assert!(found.contains(named), "{found}");
}

#[test]
fn keys_are_read_in_any_case() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let text =
        "INPUT: {MIN_SIZE_TEST: 600}\nresnets: {DEPTH: 50}\nroi_heads: {nms_thresh_test: 0.4}";
    fs::write(&path, text).unwrap();
    let config = yaml::read(&path).unwrap();
    assert_eq!(config.input.short_side, 600);
    assert_eq!(config.backbone.blocks, [3, 4, 6]);
    let nms_thresholds = vec![0.4];
    assert_eq!(
        config.selection.rule,
        SelectionRule::BestClass { nms_thresholds }
    );
    assert_eq!(config.rpn, DetectorConfig::frcnn_vg().rpn);
}
