//! Checkpoints as PyTorch, HuggingFace and older code write them, into our models.

use std::fs;
use std::path::{Path, PathBuf};

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{
    self, Change, CheckpointError, NamedTensor, RandomInit, WeightFile, WeightFormat,
};
use oscar_core::model::OscarForCaptioning;
use oscar_files::pytorch::{Dtype, StateEntry, TorchFormat, write_state_dict};
use rstest::rstest;
use tempfile::TempDir;

use crate::checkpoint_support;
use checkpoint_support::{Tensors, bits, config, fixture, load, tensors, weights, write};

#[rstest]
#[case("pytorch_model.bin", TorchFormat::Zip)]
#[case("pytorch_model_legacy.bin", TorchFormat::Legacy)]
fn files_of_pytorch_give_the_weights_of_their_safetensors(
    #[case] name: &str,
    #[case] format: TorchFormat,
) {
    let path = fixture("pretrain_ln").join(name);
    let file = WeightFile::open(&path).unwrap();
    assert_eq!(file.format(), WeightFormat::Torch(format));
    let (model, report) = load(&path, &RandomInit::Refuse).unwrap();
    assert_eq!((report.skipped, report.changes), (vec![], vec![]));
    let folder = TempDir::new().unwrap();
    let saved = folder.path().join("saved.safetensors");
    checkpoint::save(&model, &saved).unwrap();
    same(&tensors(&saved), &tensors(&weights("pretrain_ln")));
    same(&tensors(&path), &tensors(&weights("pretrain_ln")));
}

#[test]
fn the_format_is_told_by_the_content() {
    let folder = TempDir::new().unwrap();
    let misnamed = folder.path().join("model.safetensors");
    fs::copy(fixture("pretrain_ln").join("pytorch_model.bin"), &misnamed).unwrap();
    same(&tensors(&misnamed), &tensors(&weights("pretrain_ln")));
    fs::rename(&misnamed, folder.path().join("pytorch_model.bin")).unwrap();
    // A directory stands for the weights in it.
    same(&tensors(folder.path()), &tensors(&weights("pretrain_ln")));
}

#[test]
fn wrappers_and_prefixes_are_taken_off_and_told() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../oscar-files/tests/pytorch_files/wrapped.pt");
    let file = WeightFile::open_official(&path).unwrap();
    let names: Vec<_> = file
        .weights()
        .iter()
        .map(|weight| weight.name.as_str())
        .collect();
    assert_eq!(names, ["bert.embeddings.LayerNorm.weight"]);
    let expected = [
        Change::Unwrapped("state_dict".into()),
        Change::Beside(vec!["epoch".into(), "optimizer".into()]),
        Change::DataParallel,
        Change::OldNorms(1),
        Change::LeftOut("bert.embeddings.position_ids".into()),
    ];
    assert_eq!(file.changes(), expected);
}

/// The weights of a captioning model as the code of 2020 names them.
fn captioning_2020() -> Tensors {
    let mut old = Tensors::new();
    for (name, tensor) in tensors(&weights("pretrain_ln")) {
        let name = match name.strip_prefix("cls.predictions.") {
            Some("bias") => continue,
            Some(rest) => rest.to_string(),
            None if name.starts_with("cls.") => continue,
            None => name,
        };
        old.insert(name.clone(), NamedTensor { name, ..tensor });
    }
    assert!(old.contains_key("decoder.weight") && old.contains_key("transform.dense.bias"));
    old
}

#[test]
fn captioning_heads_of_2020_are_recognised() {
    let folder = TempDir::new().unwrap();
    let old = captioning_2020();
    let path = write(&folder, &old);
    let new = || OscarForCaptioning::<Flex>::new(&config("pretrain_ln"), &FlexDevice);
    let (model, report) = checkpoint::load(new(), &path, &RandomInit::Refuse).unwrap();
    assert_eq!(report.changes, [Change::Captioning2020]);
    let text = report.changes[0].to_string();
    assert!(text.contains("captioning head of 2020"), "{text}");
    let saved = folder.path().join("saved.safetensors");
    checkpoint::save(&model, &saved).unwrap();
    let saved = tensors(&saved);
    for (name, tensor) in tensors(&weights("pretrain_ln")) {
        match name.as_str() {
            "cls.predictions.bias" => assert!(saved[&name].data.iter().all(|value| *value == 0.0)),
            _ if name.starts_with("cls.seq_relationship") => {}
            _ => assert_eq!(bits(&saved[&name]), bits(&tensor), "{name}"),
        }
    }

    // Part of such a head is none: nothing is guessed.
    let mut part = old.clone();
    part.remove("transform.LayerNorm.bias");
    let error = checkpoint::load(new(), write(&folder, &part), &RandomInit::Refuse).unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("cls.predictions"), "{error}");
}

#[test]
fn what_huggingface_adds_is_left_out() {
    let saved = tensors(&weights("pretrain_ln"));
    let mut entries = Vec::new();
    let mut storages = Vec::new();
    let mut add = |name: &str, dtype, shape: &[usize], bytes: Vec<u8>| {
        entries.push(StateEntry {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            storage: storages.len(),
        });
        storages.push(bytes.into());
    };
    let bytes = |tensor: &NamedTensor| tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
    for tensor in saved.values() {
        add(&tensor.name, Dtype::F32, &tensor.shape, bytes(tensor));
    }
    let ids = (0..64i64).flat_map(i64::to_le_bytes).collect();
    add("bert.embeddings.position_ids", Dtype::I64, &[1, 64], ids);
    let bias = &saved["cls.predictions.bias"];
    add(
        "cls.predictions.decoder.bias",
        Dtype::F32,
        &bias.shape,
        bytes(bias),
    );
    let path = state_dict(&entries, &storages);
    let (_, report) = load(&path.1, &RandomInit::Refuse).unwrap();
    let left_out = [
        "bert.embeddings.position_ids",
        "cls.predictions.decoder.bias",
    ];
    assert_eq!(
        report.changes,
        left_out.map(|name| Change::LeftOut(name.into()))
    );
    assert_eq!(report.skipped, [""; 0]);

    // Where it is the only one, it is the bias.
    entries.retain(|entry| entry.name != "cls.predictions.bias");
    let path = state_dict(&entries, &storages);
    let (_, report) = load(&path.1, &RandomInit::Refuse).unwrap();
    assert!(
        report.changes.contains(&Change::DecoderBias),
        "{:?}",
        report.changes
    );
}

fn state_dict(entries: &[StateEntry], storages: &[bytes::Bytes]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    write_state_dict(fs::File::create(&path).unwrap(), entries, storages).unwrap();
    (folder, path)
}

#[test]
fn a_backbone_beside_heads_gets_its_prefix() {
    let folder = TempDir::new().unwrap();
    let saved = tensors(&weights("pretrain_ln"));
    let bare = saved.values().map(|tensor| {
        let name = tensor.name.replacen("bert.", "", 1);
        (
            name.clone(),
            NamedTensor {
                name,
                ..tensor.clone()
            },
        )
    });
    let path = write(&folder, &bare.collect());
    let (_, report) = load(&path, &RandomInit::Refuse).unwrap();
    assert_eq!(report.changes, [Change::Prefixed]);
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let folder = TempDir::new().unwrap();
    let mut twice = tensors(&weights("pretrain_ln"));
    let tensor = twice["bert.LayerNorm.weight"].clone();
    let name = "bert.LayerNorm.gamma".to_string();
    twice.insert(name.clone(), NamedTensor { name, ..tensor });
    let error = load(&write(&folder, &twice), &RandomInit::All).unwrap_err();
    let text = "two tensors named bert.LayerNorm.weight";
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn a_damaged_weight_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let mut bytes = fs::read(fixture("pretrain_ln").join("pytorch_model.bin")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    let error = load(&path, &RandomInit::All).unwrap_err();
    let CheckpointError::Tensor { name, reason, .. } = &error else {
        panic!("{error}")
    };
    assert!(name.starts_with("bert.encoder."), "{name}");
    assert!(reason.contains("checksum"), "{reason}");
    assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
}

#[test]
fn a_pickle_that_calls_the_system_is_refused() {
    let folder = TempDir::new().unwrap();
    let (path, proof) = (
        folder.path().join("pytorch_model.bin"),
        folder.path().join("proof"),
    );
    let command = format!("touch {}", proof.display());
    let mut bytes = b"\x80\x02cposix\nsystem\nX".to_vec();
    bytes.extend(u32::try_from(command.len()).unwrap().to_le_bytes());
    bytes.extend(command.as_bytes());
    bytes.extend(b"\x85R.");
    fs::write(&path, bytes).unwrap();
    let error = load(&path, &RandomInit::All).unwrap_err().to_string();
    assert!(error.contains("pytorch_model.bin"), "{error}");
    assert!(
        error.contains("posix.system") && error.contains("was not executed"),
        "{error}"
    );
    assert!(!proof.exists());
}

#[test]
fn a_comparison_tells_what_a_model_would_take() {
    let model = OscarForCaptioning::<Flex>::new(&config("pretrain_ln"), &FlexDevice);
    let report = checkpoint::compare(&model, fixture("pretrain_ln")).unwrap();
    // tie_weights is not set, so the output matrix is a parameter here.
    assert_eq!(report.missing, [""; 0]);
    assert_eq!(
        report.skipped,
        ["cls.seq_relationship.bias", "cls.seq_relationship.weight"]
    );
}

fn same(found: &Tensors, expected: &Tensors) {
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, tensor) in expected {
        assert_eq!(found[name].shape, tensor.shape, "{name}");
        assert_eq!(bits(&found[name]), bits(tensor), "{name}");
    }
}
