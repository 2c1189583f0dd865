//! `model import`, `export` and `inspect` as a user runs them.

use crate::support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Workplace, assert_fails, stderr, stdout, write};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// A place with `ckpt/`: weights of PyTorch before 1.6, a configuration and a vocabulary.
fn place() -> Workplace {
    let place = Workplace::new();
    std::fs::create_dir(place.path("ckpt")).unwrap();
    for (from, to) in [
        ("pretrain_ln/pytorch_model_legacy.bin", "pytorch_model.bin"),
        ("pretrain_ln/config.json", "config.json"),
        ("tokenizer/vocab.txt", "vocab.txt"),
    ] {
        std::fs::copy(fixture(from), place.path("ckpt").join(to)).unwrap();
    }
    place
}

fn json(place: &Workplace, args: &[&str]) -> Value {
    let output = place.run(args);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("one JSON document and nothing else")
}

fn text(place: &Workplace, args: &[&str]) -> String {
    let output = place.run(args);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn weights_are_not_exported_over_themselves() {
    let place = place();
    let file = "ckpt/pytorch_model.bin";
    let before = std::fs::read(place.path(file)).unwrap();
    for source in ["ckpt", file] {
        let output = place.run(&["model", "export", source, "--out", file]);
        assert_fails(&output, &["--out", file]);
    }
    assert_eq!(std::fs::read(place.path(file)).unwrap(), before);

    // Nor over anything else, unless asked.
    let other = place.path("other.bin");
    std::fs::write(&other, "of another program").unwrap();
    let args = ["model", "export", "ckpt", "--out", "other.bin"];
    assert_fails(&place.run(&args), &["other.bin", "--overwrite"]);
    assert_eq!(std::fs::read(&other).unwrap(), b"of another program");
    text(&place, &[&args[..], &["--overwrite"]].concat());
    assert!(std::fs::read(&other).unwrap().starts_with(b"PK"));
}

#[test]
fn flags_for_other_weights_are_refused() {
    let place = place();
    let import = ["model", "import", "ckpt", "--out", "other"];
    for flag in [
        ["--tokenizer", "x"],
        ["--clip-model", "ViT-B/32"],
        ["--normalize-prefix", "true"],
    ] {
        let refused = place.run(&[&import[..], &flag].concat());
        assert_fails(&refused, &["ckpt", flag[0]]);
    }
    assert!(!place.path("other").exists());
}

#[test]
fn weights_go_in_and_out_unchanged() {
    let place = place();
    let said = text(
        &place,
        &["model", "import", "ckpt", "--out", "models/oscar"],
    );
    assert!(
        said.contains("PyTorch (before 1.6) file: pre-training, 2 contrastive"),
        "{said}"
    );
    assert!(said.contains("num_contrast_classes; 2 "), "{said}");
    assert!(
        said.contains("models/oscar: model.safetensors, config.json, vocab.txt"),
        "{said}"
    );

    let said = text(
        &place,
        &["model", "export", "models/oscar", "--out", "out.bin"],
    );
    let tied = "bert.embeddings.word_embeddings.weight = cls.predictions.decoder.weight";
    assert!(said.contains(tied), "{said}");
    let args = ["model", "export", "out.bin", "--out", "back.safetensors"];
    assert!(text(&place, &args).contains("back.safetensors: 67 tensors"));
    let read = |path: PathBuf| {
        let mut tensors = oscar_core::checkpoint::read_tensors(path).unwrap();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
            .into_iter()
            .map(|tensor| (tensor.name, tensor.shape, tensor.data))
            .collect()
    };
    let expected: Vec<_> = read(fixture("pretrain_ln/model.safetensors"));
    for path in [
        "models/oscar/model.safetensors",
        "out.bin",
        "back.safetensors",
    ] {
        assert!(read(place.path(path)) == expected, "{path}");
    }

    // Not twice into the same place, unless asked.
    let again = place.run(&["model", "import", "ckpt", "--out", "models/oscar"]);
    assert_fails(&again, &["models/oscar/model.safetensors"]);
    let args = [
        "model",
        "import",
        "ckpt",
        "--out",
        "models/oscar",
        "--overwrite",
        "--json",
    ];
    let document = json(&place, &args);
    assert_eq!(document["directory"], "models/oscar");
    assert_eq!(document["filled"]["num_contrast_classes"], 2);
    assert_eq!(document["source"]["model"]["name"], "pretraining");
    assert_eq!(document["vocab"], true);
}

#[test]
fn a_file_is_shown_with_its_parts() {
    let place = place();
    let said = text(&place, &["model", "inspect", "ckpt"]);
    for part in [
        "ckpt/pytorch_model.bin",
        "regions of 38 values with LayerNorm",
        "tied: bert.embeddings.word_embeddings.weight = cls.predictions.decoder.weight",
        "72,096\n",
        "contrastive head",
        "cls.seq_relationship.weight ",
        "[2, 48]",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    let document = json(&place, &["model", "inspect", "ckpt", "--json"]);
    assert_eq!(document["format"], "PyTorch (before 1.6)");
    assert_eq!(document["sizes"]["vocab_size"], 200);
    assert_eq!(document["tensors"].as_array().unwrap().len(), 67);
    let parts = document["parts"].as_array().unwrap().iter();
    let sum: u64 = parts.map(|part| part["parameters"].as_u64().unwrap()).sum();
    assert_eq!(document["parameters"], sum);
}

/// A recipe whose model has the fixture's sizes, but for three contrastive classes.
const RECIPE: &str = "\
[model]
vocab_size = 200
hidden_size = 48
num_hidden_layers = 3
num_attention_heads = 4
intermediate_size = 96
max_position_embeddings = 64
img_feature_dim = 38
use_img_layernorm = true
[encoder]
contrast = { texta_false_prob = 0.25, textb_sample_mode = \"text_b\" }
";

#[test]
fn what_a_recipe_would_take_is_shown() {
    let place = place();
    let quickstart = json(
        &place,
        &["model", "inspect", "ckpt", "--for", "quickstart", "--json"],
    );
    assert_eq!(quickstart["for"]["recipe"], "quickstart");
    assert!(
        !quickstart["for"]["mismatched"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    write(&place.path("small.toml"), RECIPE);
    let said = text(&place, &["model", "inspect", "ckpt", "--for", "small.toml"]);
    assert!(
        said.contains("small.toml") && said.contains("64 of its 66 parameters"),
        "{said}"
    );
    let mismatch = "cls.seq_relationship.weight: [2, 48] in the file, [3, 48] in the model";
    assert!(said.contains(mismatch), "{said}");

    let unknown = place.run(&["model", "inspect", "ckpt", "--for", "quickstrat"]);
    assert_fails(&unknown, &["quickstrat", "quickstart"]);
}

#[test]
fn what_is_wrong_is_said() {
    let place = place();
    let missing = place.run(&["model", "inspect", "nowhere.bin"]);
    assert_fails(&missing, &["nowhere.bin"]);
    std::fs::create_dir(place.path("empty")).unwrap();
    let empty = place.run(&["model", "inspect", "empty"]);
    assert_fails(&empty, &["empty", "model.safetensors", "pytorch_model.bin"]);

    let proof = place.path("executed");
    let mut bytes = b"\x80\x02cos\nsystem\nX".to_vec();
    let command = format!("touch {}", proof.display());
    bytes.extend(u32::try_from(command.len()).unwrap().to_le_bytes());
    bytes.extend(command.as_bytes());
    bytes.extend(b"\x85R.");
    std::fs::write(place.path("bad.bin"), bytes).unwrap();
    for command in ["inspect", "import", "export"] {
        let mut args = vec!["model", command, "bad.bin"];
        match command {
            "import" => args.extend(["--out", "x"]),
            "export" => args.extend(["--out", "x.bin"]),
            _ => {}
        }
        assert_fails(&place.run(&args), &["bad.bin", "os.system"]);
    }
    assert!(!proof.exists());

    let other = fixture("pretrain_noln_3way/config.json");
    let args = ["model", "import", "ckpt", "--out", "x", "--model-config"];
    let refused = place.run(&[&args[..], &[other.to_str().unwrap()]].concat());
    assert_fails(&refused, &["config.json"]);
    assert!(!place.path("x").exists());

    let whole = std::fs::read(place.path("ckpt/pytorch_model.bin")).unwrap();
    std::fs::write(place.path("cut.bin"), &whole[..whole.len() - 100]).unwrap();
    assert_fails(&place.run(&["model", "inspect", "cut.bin"]), &["cut.bin"]);
    let format = place.run(&["model", "export", "ckpt", "--out", "model.pth"]);
    assert_fails(&format, &["model.pth", ".bin", ".safetensors"]);
}

#[test]
fn training_starts_from_a_file_of_pytorch() {
    let place = Workplace::small();
    let few = [
        "--set",
        "train.steps=2",
        "--set",
        "optimizer.warmup_steps=1",
    ];
    let first = place.train("first", &few);
    assert!(first.status.success(), "{}", stderr(&first));
    std::fs::create_dir(place.path("torch")).unwrap();
    let args = [
        "model",
        "export",
        "runs/first/last",
        "--out",
        "torch/pytorch_model.bin",
    ];
    text(&place, &args);
    for init in ["torch", "torch/pytorch_model.bin"] {
        let name = init.replace('/', "-");
        let second = place.train(&name, &[&few[..], &["--init", init]].concat());
        let said = stderr(&second);
        assert!(second.status.success(), "{said}");
        assert!(said.contains("pytorch_model.bin: "), "{said}");
        assert!(
            said.contains("parameters loaded, 0 tensors skipped"),
            "{said}"
        );
    }
}

#[test]
fn help_has_examples() {
    let place = Workplace::new();
    for command in ["import", "export", "inspect"] {
        let said = text(&place, &["model", command, "--help"]);
        assert!(
            said.contains(&format!("oscar-bin model {command} ")),
            "{said}"
        );
        assert!(said.contains("Example"), "{said}");
    }
}

/// A CLIP with a ResNet, and the merges of its tokens beside it.
fn clip(place: &Workplace) {
    std::fs::create_dir(place.path("clip")).unwrap();
    for (from, to) in [
        ("clip_resnet/openai_state_dict.pt", "RN.pt"),
        ("clip_tokenizer/merges.txt", "merges.txt"),
    ] {
        std::fs::copy(fixture(from), place.path("clip").join(to)).unwrap();
    }
}

/// A picture of the parity suite.
fn picture() -> String {
    let folder = fixture("clipcap_decode/images");
    let mut files = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let png = files.find(|path| path.extension().is_some_and(|end| end == "png"));
    png.expect("a picture").display().to_string()
}

#[test]
fn a_clip_is_imported_and_matches_texts_without_training() {
    let place = Workplace::new();
    clip(&place);
    let said = text(
        &place,
        &["model", "import", "clip/RN.pt", "--out", "models/rn"],
    );
    assert!(said.contains("embeddings of 40 values"), "{said}");
    assert!(
        said.contains("models/rn: merges.txt, model.safetensors"),
        "{said}"
    );
    let picture = picture();
    let score = |checkpoint: &str, text: &str, against: &[&str]| {
        let mut args = vec![
            "match",
            &picture,
            text,
            "--checkpoint",
            checkpoint,
            "--json",
        ];
        args.extend(against.iter().flat_map(|text| ["--against", text]));
        let found = json(&place, &args);
        assert_eq!(found["task"], "clip");
        let found = &found["pictures"][0];
        (
            found["match"].as_f64().unwrap(),
            found["cosine"].as_f64().unwrap(),
        )
    };
    let (cosine, same) = score("clip/RN.pt", "a photo of a cat", &[]);
    assert_eq!(cosine, same);
    assert!((-1.0..=1.0).contains(&cosine), "{cosine}");
    assert_eq!(score("models/rn", "a photo of a cat", &[]).0, cosine);
    // Among two texts the probabilities add up to 1, and the larger is that of the larger cosine.
    let cat = score("models/rn", "a photo of a cat", &["two dogs"]);
    let dogs = score("models/rn", "two dogs", &["a photo of a cat"]);
    assert!((cat.0 + dogs.0 - 1.0).abs() < 1e-5, "{cat:?} {dogs:?}");
    assert_eq!(cat.0 > dogs.0, cat.1 > dogs.1, "{cat:?} {dogs:?}");
}

#[test]
fn what_a_clip_cannot_compare_is_an_error_that_says_why() {
    let place = Workplace::new();
    clip(&place);
    let picture = picture();
    let matched = |more: &[&str]| {
        let args = [
            &["match", &picture][..],
            more,
            &["--checkpoint", "clip/RN.pt"],
        ];
        place.run(&args.concat())
    };
    let long = "a photo of a cat ".repeat(10);
    assert_fails(&matched(&[&long]), &["a photo of a cat", "tokens", "12"]);
    assert_fails(&matched(&["a cat", "--detector", "scene"]), &["--detector"]);
    std::fs::write(place.path("clip/vocab.json"), "{\"a\": 7}").unwrap();
    assert_fails(&matched(&["a cat"]), &["merges"]);
    std::fs::remove_file(place.path("clip/vocab.json")).unwrap();
    std::fs::write(place.path("clip/merges.txt"), "#version: 0.2\ni n\n").unwrap();
    assert_fails(&matched(&["a cat"]), &["merges.txt", "515", "544"]);
    std::fs::remove_file(place.path("clip/merges.txt")).unwrap();
    assert_fails(&matched(&["a cat"]), &["merges.txt", "bpe_simple_vocab"]);
    let args = ["match", &picture, "a cat", "--against", "a dog"];
    assert_fails(&place.run(&args), &["--against", "CLIP"]);
}

#[test]
fn released_weights_of_clipcap_are_imported_and_write_captions() {
    let place = Workplace::new();
    let picture = picture();
    let caption = |more: &[&str]| {
        let clip = fixture("clipcap_vit/openai_jit.pt").display().to_string();
        let args = ["caption", &picture, "--captioner", "clipcap", "--detector"];
        place.run(&[&args[..], &[clip.as_str()], more].concat())
    };
    // Nothing was downloaded: what is missing is named, and where it is looked for.
    assert_fails(
        &caption(&[]),
        &["coco_weights.pt", "models/clipcap", "model import"],
    );
    let weights = fixture("clipcap_decode/model.safetensors");
    let tokenizer = fixture("clipcap_tokenizer").display().to_string();
    let import = ["model", "import", &weights.display().to_string(), "--out"];
    let import = [
        &import[..],
        &[
            "models/clipcap",
            "--tokenizer",
            &tokenizer,
            "--clip-model",
            "tiny",
        ],
    ]
    .concat();
    // No released one has such sizes, and no file says whether embeddings are divided.
    assert_fails(&place.run(&import), &["normalize_prefix"]);
    let said = text(
        &place,
        &[&import[..], &["--normalize-prefix", "false"]].concat(),
    );
    assert!(said.contains("mlp mapping network"), "{said}");
    assert!(said.contains("48 values of tiny"), "{said}");
    let found = caption(&["--json"]);
    assert!(found.status.success(), "{}", stderr(&found));
    let found: Value = serde_json::from_str(&stdout(&found)).unwrap();
    assert_eq!(found["task"], "clipcap");
    let caption_of = &found["pictures"][0]["captions"][0]["text"];
    assert!(caption_of.is_string(), "{found}");
    // Embeddings of another CLIP.
    clip(&place);
    let args = [
        "caption",
        &picture,
        "--captioner",
        "clipcap",
        "--detector",
        "clip/RN.pt",
    ];
    assert_fails(&place.run(&args), &["46", "54", "clip/RN.pt"]);
}
