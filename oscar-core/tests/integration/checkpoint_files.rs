//! Weight files as people have them: wrapped, prefixed, in parts, with tied weights once, and of other
//! models, which are refused.

use std::fs;
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{
    self, Change, CheckpointError, ImportOptions, ModelKind, RandomInit, WeightFile,
};
use oscar_core::config::ModelConfig;
use oscar_core::model::OscarForCaptioning;
use oscar_files::FileError;
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use crate::checkpoint_support;
use checkpoint_support::{Tensors, bits, config, load, tensors, weights, write};

const DECODER: &str = "cls.predictions.decoder.weight";
const WORDS: &str = "bert.embeddings.word_embeddings.weight";

/// The tensors under other names.
fn named(tensors: &Tensors, name: impl Fn(&str) -> String) -> Tensors {
    let named = tensors.values().map(|tensor| {
        let mut tensor = tensor.clone();
        tensor.name = name(&tensor.name);
        (tensor.name.clone(), tensor)
    });
    named.collect()
}

fn captioner(config: &ModelConfig) -> OscarForCaptioning<Flex> {
    OscarForCaptioning::new(config, &FlexDevice)
}

#[test]
fn tied_weights_that_a_file_omits_are_taken_from_their_other_name() {
    let saved = tensors(&weights("pretrain_ln"));
    for (omitted, change) in [
        (DECODER, Change::TiedOutput),
        (WORDS, Change::TiedEmbedding),
    ] {
        let folder = TempDir::new().unwrap();
        let mut part = saved.clone();
        part.remove(omitted).unwrap();
        let path = write(&folder, &part);
        // The decoder is a parameter of its own here: it starts as the word embedding.
        let model = captioner(&config("pretrain_ln"));
        let (model, report) = checkpoint::load(model, &path, &RandomInit::Refuse).unwrap();
        assert!(report.changes.contains(&change), "{report:?}");
        let out = folder.path().join("out.safetensors");
        checkpoint::save(&model, &out).unwrap();
        let written = tensors(&out);
        for name in [DECODER, WORDS] {
            assert_eq!(
                bits(&written[name]),
                bits(&saved[WORDS]),
                "{omitted}: {name}"
            );
        }
        // A configuration that says they are two makes the gap one.
        let untied = json!({"tie_word_embeddings": false}).to_string();
        fs::write(path.with_file_name("config.json"), untied).unwrap();
        let model = captioner(&config("pretrain_ln"));
        let error = checkpoint::load(model, &path, &RandomInit::Refuse).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::Missing { names, .. } if names == &[omitted]),
            "{error}"
        );
    }
}

#[rstest]
#[case("module.", vec![Change::DataParallel])]
#[case("_orig_mod.", vec![Change::Wrapper("_orig_mod")])]
#[case("_orig_mod.module.", vec![Change::DataParallel, Change::Wrapper("_orig_mod")])]
#[case("model.", vec![Change::Inside("model.".into())])]
#[case("net.model.", vec![Change::Inside("net.model.".into())])]
#[case("transformer.", vec![Change::Inside("transformer.".into())])]
#[case("base_model.model.", vec![Change::Inside("base_model.model.".into())])]
#[case("bert.", vec![Change::Inside("bert.".into())])]
#[case("module.model.", vec![Change::DataParallel, Change::Inside("model.".into())])]
fn wrapped_modules_are_unwrapped(#[case] prefix: &str, #[case] changes: Vec<Change>) {
    let saved = tensors(&weights("pretrain_ln"));
    let folder = TempDir::new().unwrap();
    let path = write(&folder, &named(&saved, |name| format!("{prefix}{name}")));
    let file = WeightFile::open_official(&path).unwrap();
    assert_eq!(file.changes(), changes);
    let names: Vec<_> = file.weights().iter().map(|weight| &weight.name).collect();
    assert_eq!(names, saved.keys().collect::<Vec<_>>());
}

#[test]
fn a_compiled_part_and_what_is_outside_of_the_model_do_not_hide_it() {
    let saved = tensors(&weights("pretrain_ln"));
    let folder = TempDir::new().unwrap();
    let mut odd = named(&saved, |name| match name.strip_prefix("bert.encoder.") {
        Some(rest) => format!("model.bert.encoder._orig_mod.{rest}"),
        None => format!("model.{name}"),
    });
    let mut extra = saved[WORDS].clone();
    extra.name = "criterion.weight".into();
    odd.insert(extra.name.clone(), extra);
    let (_, report) = load(&write(&folder, &odd), &RandomInit::Refuse).unwrap();
    assert_eq!(report.skipped, ["criterion.weight"]);
    assert_eq!(report.missing, [""; 0]);
}

#[test]
fn of_two_models_in_one_file_none_is_chosen() {
    let saved = tensors(&weights("pretrain_ln"));
    let folder = TempDir::new().unwrap();
    let mut both = named(&saved, |name| format!("student.{name}"));
    both.extend(named(&saved, |name| format!("teacher.{name}")));
    let path = write(&folder, &both);
    let file = WeightFile::open_official(&path).unwrap();
    assert!(file.changes().is_empty(), "{:?}", file.changes());
    fs::write(path.with_file_name("config.json"), "{}").unwrap();
    let error = checkpoint::Published::open(&path, None).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, CheckpointError::Format { .. }) && text.contains("student."),
        "{text}"
    );
}

#[test]
fn parameters_that_deepspeed_left_empty_are_named() {
    let mut saved = tensors(&weights("pretrain_ln"));
    let pooler = saved.get_mut("bert.pooler.dense.weight").unwrap();
    (pooler.shape, pooler.data) = (vec![0], Vec::new());
    let folder = TempDir::new().unwrap();
    let path = write(&folder, &saved);
    let error = checkpoint::Published::open(&path, None).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, CheckpointError::Format { .. })
            && text.contains("bert.pooler.dense.weight"),
        "{text}"
    );
}

/// Writes `tensors` in two parts with their index.
fn in_parts(folder: &Path, tensors: &Tensors) -> [String; 2] {
    let names = [1, 2].map(|part| format!("model-0000{part}-of-00002.safetensors"));
    let half = tensors.len() / 2;
    let mut map = serde_json::Map::new();
    for (at, name) in names.iter().enumerate() {
        let part = tensors
            .values()
            .skip(at * half)
            .take(half + at * tensors.len());
        let part: Vec<_> = part.cloned().collect();
        map.extend(part.iter().map(|tensor| (tensor.name.clone(), json!(name))));
        checkpoint::write_tensors(folder.join(name), &part).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": map});
    fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    names
}

#[test]
fn weights_in_parts_are_one_model() {
    let saved = tensors(&weights("pretrain_ln"));
    let folder = TempDir::new().unwrap();
    let [_, second] = in_parts(folder.path(), &saved);
    // What macOS leaves on other disks is not a part.
    fs::write(
        folder.path().join("._model-00001-of-00002.safetensors"),
        "junk",
    )
    .unwrap();
    for path in [
        folder.path().to_path_buf(),
        folder.path().join("model.safetensors.index.json"),
    ] {
        let (_, report) = load(&path, &RandomInit::Refuse).unwrap();
        assert_eq!(report.changes, [Change::Joined(2)]);
    }
    fs::remove_file(folder.path().join(&second)).unwrap();
    let error = load(folder.path(), &RandomInit::All).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Format { path, reason }
            if path.ends_with("model.safetensors.index.json") && reason.contains(&second)),
        "{error}"
    );
}

#[test]
fn an_index_may_write_its_parts_as_paths() {
    let folder = TempDir::new().unwrap();
    let [first, second] = in_parts(folder.path(), &tensors(&weights("pretrain_ln")));
    let index = folder.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace(&second, &format!("./{second}"))).unwrap();
    let (_, report) = load(folder.path(), &RandomInit::Refuse).unwrap();
    assert_eq!(report.changes, [Change::Joined(2)]);
    // One part is no model.
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let part = folder.path().join(first);
    let out = folder.path().join("out");
    let error = checkpoint::import(&part, &out, &ImportOptions::default()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Format { reason, .. }
            if reason.contains("model.safetensors.index.json")),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn an_index_cannot_reach_other_files() {
    let saved = tensors(&weights("pretrain_ln"));
    let place = TempDir::new().unwrap();
    let folder = place.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::copy(
        weights("pretrain_ln"),
        place.path().join("other.safetensors"),
    )
    .unwrap();
    let index = |file: &str| {
        let map: serde_json::Map<_, _> = saved
            .keys()
            .map(|name| (name.clone(), json!(file)))
            .collect();
        let index = json!({"weight_map": map}).to_string();
        fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
        load(&folder, &RandomInit::Refuse).unwrap_err()
    };
    let error = index("../other.safetensors");
    assert!(
        matches!(&error, CheckpointError::File(FileError::Outside { .. })),
        "{error}"
    );
    // An index is no part of itself, and its own name is not followed in a circle.
    let error = index("model.safetensors.index.json");
    assert!(matches!(&error, CheckpointError::Format { .. }), "{error}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../other.safetensors", folder.join("link.safetensors"))
            .unwrap();
        let error = index("link.safetensors");
        assert!(
            matches!(&error, CheckpointError::File(FileError::Link { .. })),
            "{error}"
        );
    }
}

#[test]
fn parts_without_their_index_are_named() {
    let folder = TempDir::new().unwrap();
    let [first, _] = in_parts(folder.path(), &tensors(&weights("pretrain_ln")));
    fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    let error = load(folder.path(), &RandomInit::All).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, CheckpointError::File(FileError::Io { .. })),
        "{text}"
    );
    assert!(
        text.contains(&first) && text.contains("model.safetensors.index.json"),
        "{text}"
    );
}

#[rstest]
#[case("roberta.encoder.layer.0.output.dense.weight", "RoBERTa")]
#[case(
    "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight",
    "ALBERT"
)]
#[case("vit.embeddings.patch_embeddings.projection.weight", "ViT")]
#[case("electra.encoder.layer.0.output.dense.weight", "ELECTRA")]
#[case("bert.encoder.layer.0.attention.self.query.lora_A.weight", "LoRA")]
#[case("bert.encoder.x_layers.0.visual_attention.att.key.weight", "LXMERT")]
#[case("bert.encoder.layer.0.crossattention.self.key.weight", "decoder")]
fn other_families_are_refused_and_named(#[case] name: &str, #[case] family: &str) {
    let folder = TempDir::new().unwrap();
    let mut tensor = tensors(&weights("pretrain_ln"))[WORDS].clone();
    tensor.name = name.into();
    let path = folder.path().join("model.safetensors");
    checkpoint::write_tensors(&path, &[tensor]).unwrap();
    // Even where all may be random: none of it would be used.
    let error = load(&path, &RandomInit::All).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Family { family: found, .. } if found.contains(family)),
        "{error}"
    );
    let described = checkpoint::inspect(&path).unwrap();
    assert!(
        matches!(described.model, ModelKind::Other { family: found } if found.contains(family)),
        "{described:?}"
    );
}

#[rstest]
#[case(&["h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight"], "GPT-2")]
#[case(&["text_model.final_layer_norm.weight", "vision_model.post_layernorm.weight"], "CLIP")]
#[case(&["bert.bert.embeddings.token_type_embeddings_visual.weight"], "VisualBERT")]
#[case(&["backbone.stem.conv1.weight", "roi_heads.box_predictor.cls_score.weight"], "ResNet-101")]
#[case(&["backbone.body.stem.conv1.weight", "roi_heads.box.predictor.cls_score.weight"], "VinVL")]
fn other_weights_are_named(#[case] names: &[&str], #[case] family: &str) {
    let folder = TempDir::new().unwrap();
    let one = tensors(&weights("pretrain_ln"))[WORDS].clone();
    let all: Vec<_> = names
        .iter()
        .map(|name| {
            let mut tensor = one.clone();
            tensor.name = name.to_string();
            tensor
        })
        .collect();
    let path = folder.path().join("weights.safetensors");
    checkpoint::write_tensors(&path, &all).unwrap();
    let described = checkpoint::inspect(&path).unwrap();
    assert!(
        matches!(described.model, ModelKind::Other { family: found } if found.contains(family)),
        "{described:?}"
    );
}

#[rstest]
#[case(json!({"model_type": "roberta"}), "roberta")]
#[case(json!({"model_type": "bert", "is_decoder": true}), "decoder")]
#[case(json!({"position_embedding_type": "relative_key"}), "relative_key")]
fn a_configuration_of_another_model_is_believed(
    #[case] config: serde_json::Value,
    #[case] family: &str,
) {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, &tensors(&weights("pretrain_ln")));
    fs::write(path.with_file_name("config.json"), config.to_string()).unwrap();
    let error = load(&path, &RandomInit::Refuse).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Family { path, family: found }
            if path.ends_with("config.json") && found.contains(family)),
        "{error}"
    );
}

/// A directory of weights with their configuration, and its files.
fn checkpoint_folder() -> (TempDir, ModelConfig) {
    let folder = TempDir::new().unwrap();
    let model = config("pretrain_ln");
    fs::copy(
        weights("pretrain_ln"),
        folder.path().join("model.safetensors"),
    )
    .unwrap();
    let text = serde_json::to_string(&model).unwrap();
    fs::write(folder.path().join("config.json"), text).unwrap();
    (folder, model)
}

#[test]
#[cfg(unix)]
fn special_files_and_links_that_leave_are_refused_beside_weights() {
    use std::os::unix::fs::symlink;

    for name in [
        "config.json",
        "vocab.txt",
        "tokenizer_config.json",
        "training_args.bin",
    ] {
        let (folder, _) = checkpoint_folder();
        let secret = TempDir::new().unwrap();
        fs::write(secret.path().join("secret"), "of another").unwrap();
        for target in [Path::new("/dev/zero"), &secret.path().join("secret")] {
            let link = folder.path().join(name);
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            let out = folder.path().join("out");
            let error = checkpoint::import(folder.path(), &out, &ImportOptions::default());
            let text = error.unwrap_err().to_string();
            assert!(text.contains(name), "{text}");
            assert!(!out.exists());
        }
    }
    let (folder, _) = checkpoint_folder();
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    let error = load(folder.path(), &RandomInit::All).unwrap_err();
    assert!(
        matches!(
            error,
            CheckpointError::File(FileError::NotAFile {
                kind: "a directory",
                ..
            })
        ),
        "{error}"
    );
}

#[test]
fn names_are_escaped_and_written_back_as_text() {
    let folder = TempDir::new().unwrap();
    let mut tensor = tensors(&weights("pretrain_ln"))[WORDS].clone();
    tensor.name = "bert.\u{1b}[2J\u{202e}x".into();
    let path = folder.path().join("model.safetensors");
    checkpoint::write_tensors(&path, &[tensor]).unwrap();
    let described = checkpoint::inspect(&path).unwrap();
    assert_eq!(described.tensors[0].name, "bert.\\u{1b}[2J\\u{202e}x");
}

#[test]
fn an_import_keeps_how_texts_are_cased() {
    let (folder, model) = checkpoint_folder();
    let words = (0..model.vocab_size).map(|at| match at {
        0..5 => ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"][at].to_string(),
        at => format!("Word{at}"),
    });
    let lines: String = words.map(|word| word + "\n").collect();
    fs::write(folder.path().join("vocab.txt"), &lines).unwrap();
    let import = |name: &str| {
        let out = folder.path().join(name);
        checkpoint::import(folder.path(), &out, &ImportOptions::default()).unwrap();
        oscar_core::input::Tokenizer::in_directory(out)
            .unwrap()
            .unwrap()
    };
    assert!(!import("cased").lower_case());
    fs::write(
        folder.path().join("tokenizer_config.json"),
        r#"{"do_lower_case": true}"#,
    )
    .unwrap();
    let lowered = import("lowered");
    assert!(lowered.lower_case());
    assert_eq!(lowered.unreachable_words(), model.vocab_size - 5);

    // Newer libraries write tokenizer.json alone.
    fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    let ids: serde_json::Map<_, _> = lines
        .lines()
        .enumerate()
        .map(|(id, word)| (word.to_lowercase().replace("[pad]", "[PAD]"), json!(id)))
        .collect();
    let mut ids = ids;
    for (id, token) in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .into_iter()
        .enumerate()
    {
        ids.remove(&token.to_lowercase());
        ids.insert(token.into(), json!(id));
    }
    let description = json!({
        "model": {"type": "WordPiece", "vocab": ids},
        "normalizer": {"type": "BertNormalizer", "lowercase": false},
    });
    let file = folder.path().join("tokenizer.json");
    fs::write(&file, description.to_string()).unwrap();
    let tokenizer = import("described");
    assert_eq!(tokenizer.vocab_size(), model.vocab_size);
    assert!(!tokenizer.lower_case());
    let bpe = json!({"model": {"type": "BPE", "vocab": {}}});
    fs::write(&file, bpe.to_string()).unwrap();
    let out = folder.path().join("bpe");
    let error = checkpoint::import(folder.path(), &out, &ImportOptions::default()).unwrap_err();
    assert!(matches!(error, CheckpointError::Tokenizer(_)), "{error}");
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
}

#[test]
fn what_is_beside_weights_is_read_as_tools_write_it() {
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::copy(weights("pretrain_ln"), source.join("model.safetensors")).unwrap();
    let mut keys = serde_json::to_value(config("pretrain_ln")).unwrap();
    keys["note"] = json!(0.5);
    let python = keys.to_string().replace("0.5", "NaN");
    fs::write(source.join("config.json"), format!("\u{feff}{python}")).unwrap();
    fs::write(source.join("vocab.txt"), "\u{feff}[PAD]\nthe\n").unwrap();
    let import =
        |out: &str| checkpoint::import(&source, folder.path().join(out), &ImportOptions::default());
    let imported = import("out").unwrap();
    let cased = |note: &String| note.contains("cased");
    assert!(!imported.notes.iter().any(cased), "{:?}", imported.notes);
    let vocab = fs::read_to_string(folder.path().join("out/vocab.txt")).unwrap();
    assert_eq!(vocab, "[PAD]\nthe\n");

    fs::write(
        source.join("tokenizer_config.json"),
        r#"{"do_lower_case": "no"}"#,
    )
    .unwrap();
    let error = import("wrong").unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json"), "{error}");
    fs::remove_file(source.join("tokenizer_config.json")).unwrap();
    fs::write(source.join("vocab.txt"), b"caf\xe9\n").unwrap();
    let error = import("latin").unwrap_err().to_string();
    assert!(error.contains("vocab.txt"), "{error}");
}

#[test]
fn tensors_of_no_part_of_the_model_are_named() {
    let saved = tensors(&weights("pretrain_ln"));
    let folder = TempDir::new().unwrap();
    let mut both = saved.clone();
    both.extend(named(&saved, |name| format!("ema_model.{name}")));
    let path = write(&folder, &both);
    let keys = serde_json::to_string(&config("pretrain_ln")).unwrap();
    fs::write(folder.path().join("config.json"), keys).unwrap();
    let out = folder.path().join("out");
    let imported = checkpoint::import(&path, &out, &ImportOptions::default()).unwrap();
    let said = |note: &String| note.contains("not used: ema_model.");
    assert!(imported.notes.iter().any(said), "{:?}", imported.notes);
}
