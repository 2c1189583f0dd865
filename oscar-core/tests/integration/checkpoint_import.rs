//! Checkpoints into a directory of this project and out again, and what is said about them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use half::{bf16, f16};
use oscar_core::checkpoint::{
    self, Change, CheckpointError, ImportOptions, Imported, Layout, ModelKind, NamedTensor,
    RandomInit, WeightFile, export, export_as, import, inspect,
};
use oscar_core::config::{ModelConfig, RegionProjection};
use oscar_core::input::{AttentionMask, OscarInput};
use oscar_core::model::{Backbone, OscarForPretraining};
use oscar_files::pytorch::{Dtype, TorchFile};
use rstest::rstest;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::checkpoint_support;
use checkpoint_support::{bits, fixture, tensors, weights, write};

/// A directory with a copy of the set's PyTorch file and its configuration with changes.
fn source(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let set = fixture("pretrain_ln");
    fs::copy(
        set.join("pytorch_model.bin"),
        folder.path().join("pytorch_model.bin"),
    )
    .unwrap();
    let config = fs::read_to_string(set.join("config.json")).unwrap();
    let mut config = serde_json::from_str(&config).unwrap();
    change(&mut config);
    fs::write(
        folder.path().join("config.json"),
        Value::Object(config).to_string(),
    )
    .unwrap();
    folder
}

fn import_into(source: &Path, out: &Path) -> Result<Imported, CheckpointError> {
    import(source, out, &ImportOptions::default())
}

#[test]
fn an_import_is_complete_and_can_be_loaded() {
    let (source, out) = (source(|_| {}), TempDir::new().unwrap());
    fs::write(source.path().join("vocab.txt"), "[PAD]\n[UNK]\n").unwrap();
    let out = out.path().join("new/model");
    let imported = import_into(source.path(), &out).unwrap();

    let (before, after) = (tensors(&weights("pretrain_ln")), tensors(&out));
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (name, tensor) in &before {
        assert_eq!(bits(tensor), bits(&after[name]), "{name}");
    }
    // The official configuration does not say how many classes the contrastive head has.
    assert_eq!(json!(imported.filled), json!({ "num_contrast_classes": 2 }));
    let config = ModelConfig::from_file(out.join("config.json")).unwrap();
    assert_eq!(config.num_contrast_classes, 2);
    assert!(config.use_img_layernorm);
    assert!(
        config.extra.contains_key("finetuning_task"),
        "keys of others are kept"
    );
    let model = OscarForPretraining::<Flex>::new(&config, &FlexDevice);
    let report = checkpoint::compare(&model, &out).unwrap();
    assert_eq!((report.missing.len(), report.mismatched.len()), (0, 0));

    assert_eq!(
        fs::read_to_string(out.join("vocab.txt")).unwrap(),
        "[PAD]\n[UNK]\n"
    );
    let named = |note: &String| {
        ["vocab.txt", " 2 ", " 200"]
            .iter()
            .all(|part| note.contains(part))
    };
    assert!(imported.notes.iter().any(named), "{:?}", imported.notes);
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "vocab.txt"]);
}

#[test]
fn a_model_is_replaced_only_if_asked() {
    let (source, out) = (source(|_| {}), TempDir::new().unwrap());
    import_into(source.path(), out.path()).unwrap();
    fs::write(out.path().join("config.json"), "mine").unwrap();
    let error = import_into(source.path(), out.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("model.safetensors") && error.contains("already exists"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(out.path().join("config.json")).unwrap(),
        "mine"
    );
    let options = ImportOptions {
        overwrite: true,
        ..ImportOptions::default()
    };
    import(source.path(), out.path(), &options).unwrap();
    assert!(ModelConfig::from_file(out.path().join("config.json")).is_ok());
}

#[rstest]
#[case("vocab_size", json!(201), "vocab_size is 201, but")]
#[case("hidden_size", json!(64), "hidden_size = 48")]
#[case("num_hidden_layers", json!(2), "num_hidden_layers = 3")]
#[case("intermediate_size", json!(97), "intermediate_size = 96")]
#[case("max_position_embeddings", json!(512), "max_position_embeddings = 64")]
#[case("img_feature_dim", json!(2054), "img_feature_dim = 38")]
#[case("use_img_layernorm", json!(0), "use_img_layernorm = 1")]
#[case("num_contrast_classes", json!(3), "num_contrast_classes = 2")]
#[case("num_attention_heads", json!(5), "must be a multiple of num_attention_heads")]
#[case("num_attention_heads", json!("four"), "invalid type")]
fn a_configuration_of_another_model_is_refused(
    #[case] key: &str,
    #[case] value: Value,
    #[case] part: &str,
) {
    let source = source(|config| drop(config.insert(key.into(), value)));
    let out = TempDir::new().unwrap();
    let error = import_into(source.path(), out.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::Config { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("config.json") && error.contains(part),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(out.path()).unwrap().count(),
        0,
        "nothing is written"
    );
}

#[test]
fn keys_that_the_weights_tell_may_be_missing() {
    let source = source(|config| {
        for key in [
            "vocab_size",
            "num_hidden_layers",
            "use_img_layernorm",
            "img_feature_dim",
        ] {
            config.remove(key).unwrap();
        }
        // A flag may be written as one.
        config.insert("num_contrast_classes".into(), json!(2));
    });
    let out = TempDir::new().unwrap();
    let imported = import_into(source.path(), out.path()).unwrap();
    let expected = json!({
        "vocab_size": 200, "num_hidden_layers": 3, "use_img_layernorm": 1, "img_feature_dim": 38,
    });
    assert_eq!(json!(imported.filled), expected);
}

#[test]
fn a_key_that_the_weights_do_not_tell_must_be_there() {
    let source = source(|config| drop(config.remove("num_attention_heads").unwrap()));
    let out = TempDir::new().unwrap();
    let error = import_into(source.path(), out.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::Config { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("config.json") && error.contains("num_attention_heads"),
        "{error}"
    );
}

#[test]
fn a_configuration_elsewhere_must_be_named() {
    let source = source(|_| {});
    let config = source.path().join("elsewhere.json");
    fs::rename(source.path().join("config.json"), &config).unwrap();
    let out = TempDir::new().unwrap();
    let error = import_into(source.path(), out.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("config.json") && !error.contains("--"),
        "{error}"
    );
    let options = ImportOptions {
        model_config: Some(config),
        ..ImportOptions::default()
    };
    import(source.path(), out.path(), &options).unwrap();
}

#[test]
fn training_settings_are_read_not_run() {
    let source = source(|_| {});
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oscar-files/tests/pytorch_files");
    let settings = source.path().join("training_args.bin");
    fs::copy(files.join("namespace.bin"), &settings).unwrap();
    let out = TempDir::new().unwrap();
    let imported = import_into(source.path(), &out.path().join("a")).unwrap();
    let fields = imported.training_args.unwrap().fields;
    let expected = json!({
        "do_lower_case": true, "learning_rate": 3e-5, "model_name_or_path": "bert",
        "drop_out": null,
    });
    assert_eq!(Value::Object(fields), expected);

    fs::write(
        &settings,
        b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
    )
    .unwrap();
    let imported = import_into(source.path(), &out.path().join("b")).unwrap();
    assert!(imported.training_args.is_none());
    let told = imported
        .notes
        .iter()
        .any(|note| note.contains("posix.system"));
    assert!(told, "{:?}", imported.notes);
}

/// Weights of other types stay what they are, both ways.
#[rstest]
#[case(Dtype::F16)]
#[case(Dtype::BF16)]
#[case(Dtype::F64)]
fn weights_keep_their_type(#[case] dtype: Dtype) {
    let folder = TempDir::new().unwrap();
    let narrow = folder.path().join("narrow.safetensors");
    let saved = tensors(&weights("pretrain_ln"));
    let bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = saved
        .values()
        .map(|tensor| {
            let values = tensor.data.iter();
            let bytes = match dtype {
                Dtype::F16 => values
                    .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                    .collect(),
                Dtype::BF16 => values
                    .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                    .collect(),
                _ => values.flat_map(|v| f64::from(*v).to_le_bytes()).collect(),
            };
            (tensor.name.as_str(), tensor.shape.clone(), bytes)
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| (*name, TensorView::new(dtype, shape.clone(), data).unwrap()));
    fs::write(&narrow, safetensors::serialize(views, None).unwrap()).unwrap();

    let (bin, back) = (
        folder.path().join("a.bin"),
        folder.path().join("b.safetensors"),
    );
    let exported = export(&narrow, &bin).unwrap();
    let pair = [
        "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.weight",
    ];
    assert_eq!(exported.tied, [pair]);
    export(&bin, &back).unwrap();
    let (before, after) = (
        WeightFile::open(&narrow).unwrap(),
        WeightFile::open(&back).unwrap(),
    );
    assert_eq!(before.weights().len(), after.weights().len());
    for weight in before.weights() {
        let other = &after.get(&weight.name).unwrap().tensor;
        assert_eq!(other.dtype(), dtype);
        assert_eq!(other.shape(), weight.tensor.shape());
        assert_eq!(other.to_bytes().unwrap(), weight.tensor.to_bytes().unwrap());
    }
}

#[test]
fn tied_names_share_a_storage_in_an_export() {
    let folder = TempDir::new().unwrap();
    // HuggingFace's safetensors leave the tied output matrix out.
    let mut saved = tensors(&weights("pretrain_ln"));
    saved.remove("cls.predictions.decoder.weight").unwrap();
    let bin = folder.path().join("model.bin");
    export(write(&folder, &saved), &bin).unwrap();
    let file = TorchFile::open(&bin).unwrap();
    let dict = file.value().as_dict().unwrap();
    let tensor = |name: &str| dict.get(name).unwrap().as_tensor().unwrap();
    let decoder = tensor("cls.predictions.decoder.weight");
    let embedding = tensor("bert.embeddings.word_embeddings.weight");
    assert!(std::sync::Arc::ptr_eq(
        decoder.storage(),
        embedding.storage()
    ));
}

#[test]
fn exports_are_whole_or_not_there() {
    let folder = TempDir::new().unwrap();
    for (out, part) in [
        ("model.onnx", ".bin (PyTorch) or .safetensors"),
        ("no/such/folder/model.bin", "cannot write"),
    ] {
        let error = export(fixture("pretrain_ln"), folder.path().join(out)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut bad = tensors(&weights("pretrain_ln"));
    bad.get_mut("bert.pooler.dense.bias").unwrap().data[7] = f32::NAN;
    let bad = write(&folder, &bad);
    let out = folder.path().join("model.bin");
    let error = export(&bad, &out).unwrap_err();
    assert!(
        matches!(error, CheckpointError::NonFinite { index: 7, .. }),
        "{error}"
    );
    assert!(!out.exists());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "only the source"
    );
}

#[rstest]
#[case("pretrain_ln", ModelKind::Pretraining { contrast_classes: 2 })]
#[case("pretrain_noln_3way", ModelKind::Pretraining { contrast_classes: 3 })]
#[case("bert_img_ln", ModelKind::Backbone)]
#[case("seqcls_kl3129", ModelKind::Classifier { labels: 3129 })]
#[case("seqcls_mse", ModelKind::Classifier { labels: 1 })]
#[case("seqcls_ce_gqa", ModelKind::Classifier { labels: 100 })]
#[case("nlvr2_ce_linear", ModelKind::PairClassifier { choices: 2 })]
#[case("nlvr2_ce_mlp_ln", ModelKind::PairClassifier { choices: 2 })]
fn models_are_told_by_their_weights(#[case] set: &str, #[case] kind: ModelKind) {
    let described = inspect(weights(set)).unwrap();
    let config = ModelConfig::from_file(fixture(set).join("config.json")).unwrap();
    match (described.model, kind) {
        (ModelKind::Classifier { labels }, ModelKind::Classifier { .. }) => {
            assert_eq!(labels, config.num_labels);
        }
        (found, kind) => assert_eq!(found, kind),
    }
    let sizes = described.sizes;
    assert_eq!(sizes.hidden_size, Some(config.hidden_size));
    assert_eq!(sizes.num_hidden_layers, config.num_hidden_layers);
    assert_eq!(sizes.intermediate_size, Some(config.intermediate_size));
    assert_eq!(sizes.img_feature_dim, Some(config.img_feature_dim));
    assert_eq!(sizes.use_img_layernorm, config.use_img_layernorm);
    let other: Vec<_> = described
        .parts
        .iter()
        .filter(|part| part.name == "other")
        .collect();
    assert!(other.is_empty(), "{other:?}");

    // Every set's configuration fits its weights.
    let out = TempDir::new().unwrap();
    let options = ImportOptions {
        model_config: Some(fixture(set).join("config.json")),
        ..ImportOptions::default()
    };
    import(weights(set), out.path(), &options).unwrap();
}

/// The published numbers of parameters, counted part by part in a file of zeros.
#[rstest]
#[case(ModelConfig::base(), [109_482_240, 1_578_240, 0, 622_650, 1_538], 111_684_668)]
#[case(
    ModelConfig { use_img_layernorm: true, num_contrast_classes: 3, ..ModelConfig::base() },
    [109_482_240, 1_578_240, 1_536, 622_650, 2_307],
    111_686_973
)]
#[case(ModelConfig::large(), [335_141_888, 2_104_320, 0, 1_082_170, 2_050], 338_330_428)]
fn parameters_are_counted_as_published(
    #[case] config: ModelConfig,
    #[case] parts: [usize; 5],
    #[case] total: usize,
) {
    let model = OscarForPretraining::<Flex>::new(&config, &FlexDevice);
    let mut parameters: Vec<_> = checkpoint::parameters(&model)
        .into_iter()
        .map(|parameter| (parameter.name, parameter.shape))
        .collect();
    let embedding = [config.vocab_size, config.hidden_size].to_vec();
    parameters.push(("cls.predictions.decoder.weight".into(), embedding));
    let (_folder, path) = sparse(&parameters);
    let described = inspect(path).unwrap();
    let counts: Vec<_> = described.parts.iter().map(|part| part.parameters).collect();
    assert_eq!(
        counts,
        parts
            .into_iter()
            .filter(|count| *count > 0)
            .collect::<Vec<_>>()
    );
    assert_eq!(described.parameters, total);
}

/// A safetensors file of zeros, one byte each, that takes no room on disk.
fn sparse(parameters: &[(String, Vec<usize>)]) -> (TempDir, PathBuf) {
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, shape) in parameters {
        let end = at + shape.iter().product::<usize>();
        let tensor = json!({ "dtype": "U8", "shape": shape, "data_offsets": [at, end] });
        header.insert(name.clone(), tensor);
        at = end;
    }
    let header = Value::Object(header).to_string();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("zeros.safetensors");
    let start = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    fs::write(&path, &start).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((start.len() + at) as u64).unwrap();
    (folder, path)
}

/// ROSITA's file as it saves it: a dictionary per module, beside other things.
fn rosita() -> PathBuf {
    fixture("rosita_pretrain_unmatched").join("pytorch_model.bin")
}

#[test]
fn a_checkpoint_of_rosita_is_imported_and_exported_again() {
    let folder = TempDir::new().unwrap();
    // Released files come without a configuration.
    let source = folder.path().join("rosita-base.pkl");
    std::fs::copy(rosita(), &source).unwrap();
    let out = folder.path().join("model");
    let imported = import(&source, &out, &ImportOptions::default()).unwrap();
    assert_eq!(
        imported.source.model,
        ModelKind::Pretraining {
            contrast_classes: 2
        }
    );
    assert!(imported.source.changes.contains(&Change::Rosita));
    let beside = |change: &Change| matches!(change, Change::Beside(keys) if keys == &["epoch"]);
    assert!(imported.source.changes.iter().any(beside));
    let config = ModelConfig::from_file(out.join("config.json")).unwrap();
    assert_eq!(config.region_projection, RegionProjection::Split);
    assert_eq!(
        (config.img_feature_dim, config.padding_gets_gradient),
        (22, true)
    );
    assert_eq!(
        (config.num_object_classes, config.num_attribute_classes),
        (20, 12)
    );

    // Back to its own names, in both formats: the same bits as the reference's flat file.
    let original = tensors(&fixture("rosita_pretrain_unmatched").join("model.safetensors"));
    for name in ["back.safetensors", "back.pkl"] {
        let back = folder.path().join(name);
        export_as(Layout::Rosita, &out, &back).unwrap();
        let found = tensors(&back);
        let found: BTreeMap<_, _> = found
            .iter()
            .map(|(name, tensor)| (name, bits(tensor)))
            .collect();
        let expected = original.iter().map(|(name, tensor)| (name, bits(tensor)));
        assert_eq!(found, expected.collect::<BTreeMap<_, _>>(), "{name}");
    }
}

#[test]
fn the_rows_of_a_matching_head_keep_their_meaning() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("model");
    let config = fixture("rosita_pretrain_unmatched").join("config.json");
    let options = ImportOptions {
        model_config: Some(config),
        ..ImportOptions::default()
    };
    import(rosita(), &out, &options).unwrap();
    let theirs = tensors(&fixture("rosita_pretrain_unmatched").join("model.safetensors"));
    let ours = tensors(&out.join("model.safetensors"));
    let (theirs, ours) = (
        &theirs["mm_itm_head.dense.bias"].data,
        &ours["cls.seq_relationship.bias"].data,
    );
    assert_eq!((theirs[0], theirs[1]), (ours[1], ours[0]));
}

#[test]
fn a_model_of_oscar_has_no_names_in_rosita() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("rosita.pkl");
    let error = export_as(Layout::Rosita, fixture("pretrain_ln"), &out).unwrap_err();
    assert!(matches!(error, CheckpointError::Format { .. }), "{error}");
    assert!(error.to_string().contains("bert.img_embedding"), "{error}");
    assert!(!out.exists());
}

/// The two projections of ROSITA's regions, as one over features and its five box values: Oscar's
/// backbone with ROSITA's weights.
#[test]
fn a_backbone_of_oscar_with_the_weights_of_rosita_computes_the_same() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("model");
    let options = ImportOptions {
        model_config: Some(fixture("rosita_pretrain_unmatched").join("config.json")),
        ..ImportOptions::default()
    };
    import(rosita(), &out, &options).unwrap();
    let split = ModelConfig::from_file(out.join("config.json")).unwrap();
    let features = split.img_feature_dim - 6;
    let joined = ModelConfig {
        img_feature_dim: features + 5,
        region_projection: RegionProjection::Joined,
        ..split.clone()
    };
    let mut weights = tensors(&out.join("model.safetensors"));
    let mut take = |name: &str| {
        weights
            .remove(&format!("bert.img_embedding.{name}"))
            .unwrap()
    };
    let (of_features, of_boxes) = (take("features.weight"), take("boxes.weight"));
    let biases = [take("features.bias"), take("boxes.bias")];
    let rows = of_features
        .data
        .chunks(features)
        .zip(of_boxes.data.chunks(5));
    let one = |name: &str, shape: Vec<usize>, data: Vec<f32>| NamedTensor {
        name: format!("bert.img_embedding.{name}"),
        shape,
        data,
    };
    let hidden = split.hidden_size;
    let weight = rows.flat_map(|(a, b)| [a, b].concat()).collect();
    let bias = biases[0]
        .data
        .iter()
        .zip(&biases[1].data)
        .map(|(a, b)| a + b);
    for tensor in [
        one("weight", vec![hidden, features + 5], weight),
        one("bias", vec![hidden], bias.collect()),
    ] {
        weights.insert(tensor.name.clone(), tensor);
    }
    let file = write(&folder, &weights);

    let input = |dim: usize, values: &dyn Fn(usize) -> Vec<f32>| {
        let regions: Vec<f32> = (0..4).flat_map(values).collect();
        OscarInput::<Flex> {
            input_ids: Tensor::<Flex, 2, Int>::from_ints([[2, 7, 9, 3]], &FlexDevice),
            token_type_ids: Tensor::zeros([1, 4], &FlexDevice),
            position_ids: None,
            attention_mask: AttentionMask::Padding(Tensor::ones([1, 8], &FlexDevice)),
            region_features: Some(Tensor::from_data(
                TensorData::new(regions, [1, 4, dim]),
                &FlexDevice,
            )),
            packing: None,
            query_positions: None,
        }
    };
    let feature = |region: usize, at: usize| ((region * 31 + at * 7) % 13) as f32 / 6.0 - 1.0;
    let row = |region: usize, tail: &[f32]| {
        let own = (0..features).map(|at| feature(region, at));
        own.chain([0.1, 0.2, 0.4, 0.7])
            .chain(tail.iter().copied())
            .collect::<Vec<f32>>()
    };
    let model = |config: &ModelConfig, weights: &Path| {
        let model = Backbone::<Flex>::new(config, &FlexDevice);
        checkpoint::load(model, weights, &RandomInit::Refuse)
            .unwrap()
            .0
    };
    let theirs = model(&split, &out.join("model.safetensors"))
        .forward(input(features + 6, &|region| row(region, &[0.3, 0.5])));
    let ours = model(&joined, &file).forward(input(features + 5, &|region| row(region, &[0.15])));
    let far = |a: Tensor<Flex, 3>, b: Tensor<Flex, 3>| (a - b).abs().max().into_scalar();
    assert!(far(theirs.sequence, ours.sequence) < 1e-5);
    let pooled = (theirs.pooled - ours.pooled).abs().max().into_scalar();
    assert!(pooled < 1e-5, "{pooled}");
}
