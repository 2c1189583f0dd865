//! Checkpoints that do not fit the model or are none: each is an error that says what is wrong.

use std::collections::BTreeMap;
use std::fs;

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{self, CheckpointError, RandomInit};
use oscar_core::config::ModelConfig;
use oscar_core::model::OscarForPretraining;
use oscar_files::FileError;
use rstest::rstest;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

use crate::checkpoint_support;
use checkpoint_support::{bits, config, load, tensors, weights, write};

#[test]
fn a_partial_file_is_refused_unless_its_gaps_are_allowed() {
    let folder = TempDir::new().unwrap();
    let mut partial = tensors(&weights("pretrain_ln"));
    partial.retain(|name, _| !name.starts_with("bert.img_embedding."));
    let path = write(&folder, &partial);
    let expected = ["bert.img_embedding.weight", "bert.img_embedding.bias"];

    let error = load(&path, &RandomInit::Refuse).unwrap_err();
    let CheckpointError::Missing { names, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(names, &expected);
    let text = error.to_string();
    assert!(text.contains("bert.img_embedding.weight"), "{text}");
    assert!(text.contains("for example bert.img_embedding"), "{text}");

    let other = RandomInit::Parts(vec!["cls.".into()]);
    assert!(matches!(
        load(&path, &other),
        Err(CheckpointError::Missing { .. })
    ));
    for random in [
        RandomInit::Parts(vec!["bert.img_embedding".into()]),
        RandomInit::All,
    ] {
        let (model, report) = load(&path, &random).unwrap();
        assert_eq!(report.missing, expected);
        let saved = folder.path().join("saved.safetensors");
        checkpoint::save(&model, &saved).unwrap();
        let saved = tensors(&saved);
        assert_eq!(saved["bert.img_embedding.weight"].shape, [48, 38]);
        for (name, tensor) in &partial {
            assert_eq!(bits(tensor), bits(&saved[name]), "{name}");
        }
    }
}

#[test]
fn another_size_is_refused_with_both_shapes() {
    let config = ModelConfig {
        intermediate_size: 64,
        ..config("pretrain_ln")
    };
    let model = OscarForPretraining::<Flex>::new(&config, &FlexDevice);
    let error = checkpoint::load(model, weights("pretrain_ln"), &RandomInit::All).unwrap_err();
    let CheckpointError::Mismatch { mismatched, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(mismatched.len(), 3 * config.num_hidden_layers);
    let text = error.to_string();
    for part in [
        "bert.encoder.layer.0.intermediate.dense.weight",
        "[96, 48]",
        "[64, 48]",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn truncated_files_are_refused_wherever_they_end() {
    let folder = TempDir::new().unwrap();
    let whole = fs::read(weights("pretrain_ln")).unwrap();
    let path = folder.path().join("cut.safetensors");
    for length in [0, 1, 7, 8, 9, 100, 5_000, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = load(&path, &RandomInit::All).unwrap_err();
        let known = matches!(
            error,
            CheckpointError::Format { .. } | CheckpointError::File(_)
        );
        assert!(known, "{length}: {error}");
        assert!(error.to_string().contains("cut.safetensors"), "{error}");
    }
}

#[rstest]
#[case(b"\x80\x02}q\x00(X\x04\x00\x00\x00bertq\x01", "cut short")]
#[case(
    b"PK\x03\x04 a zip file that ends early",
    "the zip archive is cut short"
)]
#[case(
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "git lfs pull"
)]
#[case(
    b"<?xml version=\"1.0\"?><Error><Code>403</Code></Error>",
    "HTML or XML"
)]
#[case(b"", "empty")]
#[case(&[0xff; 64], "ff ff ff ff")]
#[case(b"\x80\x02K\x01.", "it holds a int and no named tensors")]
#[case(
    b"\x80\x02}X\x0c\x00\x00\x00param_groups]s.",
    "this is the state of an optimiser"
)]
fn other_formats_are_refused(#[case] bytes: &[u8], #[case] part: &str) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    fs::write(&path, bytes).unwrap();
    let error = load(&path, &RandomInit::All).unwrap_err();
    assert!(
        matches!(
            error,
            CheckpointError::Format { .. } | CheckpointError::Torch(_)
        ),
        "{error}"
    );
    assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn missing_files_and_folders_are_named() {
    let folder = TempDir::new().unwrap();
    for path in [
        folder.path().join("none.safetensors"),
        folder.path().to_path_buf(),
    ] {
        let error = load(&path, &RandomInit::All).unwrap_err();
        assert!(
            matches!(error, CheckpointError::File(FileError::Io { .. })),
            "{error}"
        );
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
    let (model, _) = load(&weights("pretrain_ln"), &RandomInit::Refuse).unwrap();
    let error = checkpoint::save(&model, folder.path().join("no/such/file")).unwrap_err();
    assert!(
        matches!(
            error,
            CheckpointError::File(FileError::Io {
                action: "write",
                ..
            })
        ),
        "{error}"
    );
}

/// What a folder has in the place of weights is named.
#[rstest]
#[case("bert_model.ckpt.index", "TensorFlow")]
#[case("model.gguf", "llama.cpp")]
#[case("__0_0.distcp", "FSDP")]
#[case("adapter_model.safetensors", "LoRA")]
#[case("optimizer.pt", "give the file itself")]
#[case("checkpoint-10/pytorch_model.bin", "\"checkpoint-10\" has weights")]
#[case(
    "global_step10/mp_rank_00_model_states.pt",
    "global_step10/mp_rank_00_model_states.pt\" has weights"
)]
fn folders_without_weights_say_what_they_have(#[case] file: &str, #[case] part: &str) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "x").unwrap();
    let error = load(folder.path(), &RandomInit::All)
        .unwrap_err()
        .to_string();
    assert!(error.contains("neither model.safetensors"), "{error}");
    assert!(error.contains(part), "{error}");
}

#[rstest]
#[case(f32::NAN)]
#[case(f32::INFINITY)]
#[case(f32::NEG_INFINITY)]
fn weights_that_are_no_numbers_are_refused(#[case] value: f32) {
    let folder = TempDir::new().unwrap();
    let mut changed = tensors(&weights("pretrain_ln"));
    changed.get_mut("bert.pooler.dense.weight").unwrap().data[50] = value;
    let error = load(&write(&folder, &changed), &RandomInit::All).unwrap_err();
    let CheckpointError::NonFinite { name, index, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((name.as_str(), *index), ("bert.pooler.dense.weight", 50));
}

#[rstest]
#[case(Dtype::F16, true)]
#[case(Dtype::BF16, true)]
#[case(Dtype::F64, true)]
#[case(Dtype::I64, false)]
#[case(Dtype::U8, false)]
fn weights_are_floating_point_numbers(#[case] dtype: Dtype, #[case] accepted: bool) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("typed.safetensors");
    let size = dtype.bitsize() / 8;
    let saved = tensors(&weights("pretrain_ln"));
    // All bytes are 0, which is zero in every type.
    let bytes: BTreeMap<_, _> = saved
        .iter()
        .map(|(name, tensor)| {
            (
                name,
                (tensor.shape.clone(), vec![0; tensor.data.len() * size]),
            )
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, data))| {
        (
            name.as_str(),
            TensorView::new(dtype, shape.clone(), data).unwrap(),
        )
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    match load(&path, &RandomInit::Refuse) {
        Ok(_) => assert!(accepted, "{dtype:?}"),
        Err(error) => {
            assert!(
                !accepted && matches!(error, CheckpointError::DType { .. }),
                "{error}"
            );
            assert!(error.to_string().contains(&format!("{dtype:?}")), "{error}");
        }
    }
}

#[test]
fn a_header_that_claims_more_than_the_file_holds_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("garbage.safetensors");
    let mut bytes = u64::MAX.to_le_bytes().to_vec();
    bytes.extend(b"{}");
    fs::write(&path, bytes).unwrap();
    let error = load(&path, &RandomInit::All).unwrap_err();
    assert!(matches!(error, CheckpointError::Format { .. }), "{error}");
    let text = error.to_string();
    for named in ["garbage.safetensors", "18446744073709551615", "only 2"] {
        assert!(text.contains(named), "{error}");
    }
}
