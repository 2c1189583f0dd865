//! Small inputs that each target reads without error: where mutation starts.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{LabelNames, RegionLabels};
use oscar_datasets::{Boxes, ImageRegions, RegionStore, StoreOptions, StoreWriter, Tag};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

use super::files::collect;
use super::targets::{FEATURE_DIM, SEPARATOR};

pub(super) type Files = Vec<(String, Vec<u8>)>;

/// Pickles of several protocols, as Python writes them.
pub(super) fn pickles() -> Vec<Vec<u8>> {
    vec![
        // {"a": [1, 2.5, None, True], "b": ("x", b"y")}, protocols 0, 2 and 4.
        b"(dp0\nVa\np1\n(lp2\nI1\naF2.5\naNaI01\nas.".to_vec(),
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01G@\x04\x00\x00\x00\x00\x00\x00N\x88eu."
            .to_vec(),
        b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01N\x88e\x8c\x01b\x94\x8c\x01x\x94C\x01y\x94\x86\x94u."
            .to_vec(),
        // collections.OrderedDict and defaultdict of float.
        b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00aK\x01u.".to_vec(),
        b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nfloat\n\x85R(X\x01\x00\x00\x00aG?\xf0\x00\x00\x00\x00\x00\x00u."
            .to_vec(),
        // Memo, long integers, sets.
        b"\x80\x02]q\x00(h\x00h\x00e.".to_vec(),
        b"\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00.".to_vec(),
        b"\x80\x04\x8f(K\x01K\x02\x90.".to_vec(),
    ]
}

/// Files of `torch.save`, those of the reader's own tests.
pub(super) fn torch_files() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oscar-files/tests/pytorch_files");
    let files = collect(&folder).into_iter();
    files
        .filter(|(name, bytes)| {
            !name.ends_with(".py") && !name.ends_with(".json") && bytes.len() < 1 << 16
        })
        .map(|(_, bytes)| bytes)
        .collect()
}

pub(super) fn weights() -> Vec<Vec<u8>> {
    let values: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let halves: Vec<u8> = [0u16, 0x3c00]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    vec![tensors(
        &[
            ("a.weight", Dtype::F32, &[2, 3], &values),
            ("a.bias", Dtype::F16, &[2], &halves),
        ],
        None,
    )]
}

fn tensors(entries: &[(&str, Dtype, &[usize], &[u8])], tags: Option<&str>) -> Vec<u8> {
    let views = entries.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.to_vec(), bytes).expect("a tensor");
        (*name, view)
    });
    let metadata = tags.map(|tags| [("tags".to_string(), tags.to_string())].into());
    safetensors::serialize(views, metadata).expect("tensors")
}

fn array(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(values);
    bytes
}

fn floats(values: usize) -> Vec<u8> {
    (0..values)
        .flat_map(|v| (v as f32 / 8.0).to_le_bytes())
        .collect()
}

pub(super) fn npy() -> Vec<Vec<u8>> {
    let fortran = String::from_utf8_lossy(&array("<f4", "(2, 4)", b""))
        .replace("False", "True ")
        .into_bytes();
    vec![
        array("<f4", "(2, 4)", &floats(8)),
        array("<f8", "(2,)", &[0; 16]),
        array("<i8", "()", &7i64.to_le_bytes()),
        [fortran, floats(8)].concat(),
    ]
}

pub(super) fn npz() -> Vec<Vec<u8>> {
    let boxes: Vec<u8> = [0., 0., 9., 9., 1., 1., 5., 5.]
        .iter()
        .flat_map(|v: &f32| v.to_le_bytes())
        .collect();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [
        ("x.npy", array("<f4", "(2, 4)", &floats(8))),
        ("boxes.npy", array("<f4", "(2, 4)", &boxes)),
        ("image_w.npy", array("<i8", "()", &10i64.to_le_bytes())),
        ("image_h.npy", array("<i8", "()", &10i64.to_le_bytes())),
    ] {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(name, options).expect("an archive");
        zip.write_all(&content).expect("an archive");
    }
    vec![zip.finish().expect("an archive").into_inner()]
}

/// Features of `regions` regions with their boxes, base64.
fn blob(regions: usize) -> String {
    let mut values = Vec::new();
    for region in 0..regions {
        values.extend((0..FEATURE_DIM).map(|v| v as f32 + region as f32));
        values.extend([0.1, 0.2, 0.5, 0.6, 0.4, 0.4f32]);
    }
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    base64_simd::STANDARD.encode_to_string(bytes)
}

pub(super) fn feature_rows() -> Vec<Vec<u8>> {
    vec![
        format!("a\t2\t{}", blob(2)).into_bytes(),
        format!("a\t1\tx\ty\t{}", blob(1)).into_bytes(),
        format!("a\t{}", json!({"num_boxes": 2, "features": blob(2)})).into_bytes(),
    ]
}

fn objects() -> serde_json::Value {
    json!([
        {"class": "dog", "rect": [1.0, 2.0, 30.0, 40.0], "conf": 0.5},
        {"class": "red hat", "rect": [1, 2, 3, 4]},
    ])
}

pub(super) fn labels() -> Vec<Vec<u8>> {
    let whole = json!({"image_h": 480, "image_w": 640, "objects": objects(), "gt_objects": []});
    let size = json!([{"height": 480, "width": 640}]);
    [objects(), whole, size]
        .map(|v| v.to_string().into_bytes())
        .to_vec()
}

pub(super) fn vinvl() -> Vec<Vec<u8>> {
    let feature = base64_simd::STANDARD.encode_to_string(floats(FEATURE_DIM));
    let row = json!({"image_h": 48, "image_w": 64, "objects": [
        {"class": "dog", "rect": [1.0, 2.0, 30.0, 40.0], "conf": 0.5, "feature": feature},
    ]});
    vec![row.to_string().into_bytes()]
}

pub(super) fn lxmert() -> Vec<Vec<u8>> {
    let encode = |bytes: Vec<u8>| base64_simd::STANDARD.encode_to_string(bytes);
    let boxes: Vec<u8> = [0.0, 0.0, 9.0, 9.0f32]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let (boxes, features) = (encode(boxes), encode(floats(FEATURE_DIM)));
    let (ids, confs) = (encode(7i64.to_le_bytes().to_vec()), encode(floats(1)));
    vec![
        format!("a\t10\t10\t{ids}\t{confs}\t{ids}\t{confs}\t1\t{boxes}\t{features}").into_bytes(),
        format!("a\t10\t10\t1\t{boxes}\t{features}").into_bytes(),
    ]
}

pub(super) fn key_maps() -> Vec<Vec<u8>> {
    vec![br#"{"a": 0, "b": 1, "\u00fc": 2}"#.to_vec()]
}

pub(super) fn image_tensors() -> Vec<Vec<u8>> {
    let (features, pixels) = (floats(FEATURE_DIM), floats(4));
    let relative = floats(6);
    let size: Vec<u8> = [64i64, 48].iter().flat_map(|v| v.to_le_bytes()).collect();
    let dim = FEATURE_DIM;
    vec![
        tensors(
            &[
                ("features", Dtype::F32, &[1, dim], &features),
                ("boxes", Dtype::F32, &[1, 6], &relative),
            ],
            Some(r#"[{"class": "dog"}]"#),
        ),
        tensors(
            &[
                ("features", Dtype::F32, &[1, dim], &features),
                ("boxes", Dtype::F32, &[1, 4], &pixels),
                ("image_size", Dtype::I64, &[2], &size),
            ],
            None,
        ),
    ]
}

pub(super) fn tsv() -> Vec<Vec<u8>> {
    vec![[b"a\tb\nc\td\n", SEPARATOR, b"0\n4\n"].concat()]
}

/// Each file of a directory as an input: its number, then its content.
pub(super) fn numbered(files: Files) -> Vec<Vec<u8>> {
    let numbered = files.into_iter().enumerate();
    numbered
        .map(|(number, (_, content))| [vec![number as u8], content].concat())
        .collect()
}

fn index_of(table: &str) -> String {
    let mut offset = 0;
    let offsets = table.split_inclusive('\n').map(|line| {
        let start = offset;
        offset += line.len();
        format!("{start}\n")
    });
    offsets.collect()
}

fn table(files: &mut Files, name: &str, table: &str) {
    let index = Path::new(name).with_extension("lineidx");
    files.push((name.into(), table.into()));
    files.push((
        index.to_string_lossy().into_owned(),
        index_of(table).into_bytes(),
    ));
}

/// A folder of official features.
pub(super) fn feature_folder() -> Files {
    let mut files = Files::new();
    let rows = format!("a\t1\t{}\nb\t2\t{}\n", blob(1), blob(2));
    // A table of 2048 values would make mutation slow: the folder says 10 by its rows, and every
    // row is refused as of another dimension, unless it has none.
    table(&mut files, "features.tsv", &format!("{rows}c\t0\t\n"));
    let labels = json!({"image_h": 480, "image_w": 640, "objects": objects()});
    let labels = format!("a\t{labels}\nb\t{labels}\nc\t[]\n");
    table(&mut files, "predictions.tsv", &labels);
    let ids = br#"{"a": 0, "b": 1, "c": 2}"#.to_vec();
    files.push(("imageid2idx.json".into(), ids));
    files
}

pub(super) fn features() -> Vec<Vec<u8>> {
    numbered(feature_folder())
}

/// A store of the images `a`, `b` and `7`.
pub(super) fn write_store(directory: &Path) {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let names = LabelNames {
        objects: names(&["dog", "hat"]),
        attributes: names(&["red"]),
    };
    let options = StoreOptions {
        label_names: Some(Arc::new(names)),
        ..StoreOptions::new(FEATURE_DIM)
    };
    let mut writer = StoreWriter::create(directory, options).expect("a store");
    for (key, regions) in [("a", 1), ("b", 2), ("7", 1)] {
        let tag = Tag {
            class: "dog".into(),
            score: 0.5,
            box_px: Some([1.0, 2.0, 30.0, 40.0]),
            attributes: vec!["old".into()],
        };
        let image = ImageRegions {
            key,
            width: 64,
            height: 48,
            features: &vec![0.5; regions * FEATURE_DIM],
            boxes: Boxes::Pixels(&vec![[1.0, 2.0, 30.0, 40.0]; regions]),
            tags: &[tag],
        };
        let labels = RegionLabels {
            objects: vec![0; regions],
            object_scores: vec![0.5; regions],
            attributes: vec![0; regions],
            attribute_scores: vec![0.25; regions],
        };
        writer.push_labelled(image, labels).expect("an image");
    }
    writer.finish().expect("a store");
}

pub(super) fn store_files() -> Files {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("store");
    write_store(&directory);
    collect(&directory)
}

pub(super) fn region_store() -> Vec<Vec<u8>> {
    numbered(store_files())
}

/// A store that stays as it is; its files may go, since they are mapped.
pub(super) fn open_store() -> Arc<RegionStore> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("store");
    write_store(&directory);
    RegionStore::open(&directory).expect("a store")
}

pub(super) fn jsonl() -> Vec<Vec<u8>> {
    let rows = [
        json!({"image": "a", "text": "a dog, and one more"}),
        json!({"image": "b", "text": "no dog", "tags": ["dog", "red hat"], "label": true}),
        json!({"image": "b", "question": "where?", "answer": ["there", "here"]}),
        json!({"image": "b", "text": "red dog left of a hat", "graph": {"objects": [1, 5],
            "attributes": [[1, [0]]], "relations": [[1, [2, 3], 5]], "regions": [[1, [0]], [5, [1]]],
            "lemmas": ["red", "dog", "left", "of", "a", "hat"]}}),
    ];
    vec![
        rows.iter()
            .map(|row| format!("{row}\n"))
            .collect::<String>()
            .into_bytes(),
    ]
}

/// A corpus in the official layout, feature folders included.
pub(super) fn official_files() -> Files {
    let mut files = Files::new();
    let yaml = "corpus: gqa_googlecc\ncorpus_file: corpus.tsv\n\
                image_label_path:\n  gqa: labels/gqa\n  googlecc: labels/cc\n\
                image_feature_path:\n  gqa: gqa\n  googlecc: cc\n";
    files.push(("corpus.yaml".into(), yaml.into()));
    let rows = "gqa_a\tgqa_a\ta dog\ngqa_b\tgqa_qa_b_7\twhere is it?\ncc_0_a\tcc_0_a\ta hat\n";
    table(&mut files, "corpus.tsv", rows);
    for folder in ["labels/gqa", "labels/cc"] {
        let label = json!({"image_h": 48, "image_w": 64, "objects": objects()});
        let labels = format!("a\t{label}\nb\t{label}\n");
        table(&mut files, &format!("{folder}/predictions_gt.tsv"), &labels);
        let ids = br#"{"a": 0, "b": 1}"#.to_vec();
        files.push((format!("{folder}/imageid2idx.json"), ids));
    }
    table(
        &mut files,
        "labels/gqa/QA_fileB.tsv",
        "7\t{\"labels\": [\"there\"]}\n",
    );
    files.push((
        "labels/gqa/QA_qaid2idx.json".into(),
        br#"{"7": 0}"#.to_vec(),
    ));
    for folder in ["data/gqa", "data/cc/0"] {
        let store = store_files().into_iter();
        files.extend(store.map(|(name, content)| (format!("{folder}/{name}"), content)));
    }
    files
}

pub(super) fn official() -> Vec<Vec<u8>> {
    numbered(official_files())
}

pub(super) fn vqa() -> Vec<Vec<u8>> {
    let answers: Vec<_> = (1..=10)
        .map(|id| json!({"answer": "yes", "answer_confidence": "maybe", "answer_id": id}))
        .collect();
    let questions = json!({"info": {}, "questions": [
        {"question_id": 10, "image_id": 1, "question": "is it?"},
    ]});
    let annotations = json!({"license": {}, "annotations": [{
        "question_id": 10, "image_id": 1, "question_type": "is", "answer_type": "yes/no",
        "multiple_choice_answer": "yes", "answers": answers,
    }]});
    [questions, annotations]
        .map(|v| v.to_string().into_bytes())
        .to_vec()
}

pub(super) fn nlvr2() -> Vec<Vec<u8>> {
    let row = json!({"identifier": "dev-850-0-0", "sentence": "two dogs", "label": "True",
        "synset": "dog", "left_url": "a", "right_url": "b"});
    vec![
        format!("{row}\n{row}\n")
            .replacen("850-0", "850-1", 1)
            .into_bytes(),
    ]
}

pub(super) fn rows() -> Vec<Vec<u8>> {
    let gz = |text: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text).expect("a buffer");
        gz.finish().expect("a buffer")
    };
    vec![
        br#"[{"a": 1}, {"a": [2]}]"#.to_vec(),
        b"{\"a\": 1}\n{\"a\": 2}\n".to_vec(),
        gz(b"{\"a\": 1}\n"),
    ]
}

pub(super) fn model_configs() -> Vec<Vec<u8>> {
    let config = json!({"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 3072, "use_img_layernorm": 1,
        "num_labels": 2, "classifier": "mlp", "hidden_act": "gelu", "other": {"x": null}});
    vec![config.to_string().into_bytes()]
}

pub(super) fn vocabularies() -> Vec<Vec<u8>> {
    vec![b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nbox\n##aff\n".to_vec()]
}

/// As HuggingFace has them, and with more than are used.
pub(super) fn clip_merges() -> Vec<Vec<u8>> {
    vec![
        b"#version: 0.2\na b\nab c</w>\n".to_vec(),
        "\"bpe_simple_vocab_16e6.txt#version: 0.2\nb o\nbo x</w>\nu n\n".into(),
    ]
}

/// Candidates and references in every form.
pub(super) fn captions() -> Vec<Vec<u8>> {
    let results = json!([{"image_id": 7, "caption": "a dog"}, {"image_id": "x", "caption": ""}]);
    let annotations = json!({
        "info": {"year": 2014},
        "images": [{"id": 7}, {"id": "x"}],
        "annotations": [{"image_id": 7, "id": 1, "caption": "A dog runs."}],
    });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed
        .write_all(results.to_string().as_bytes())
        .expect("an archive");
    vec![
        results.to_string().into_bytes(),
        annotations.to_string().into_bytes(),
        b"7\t[{\"caption\": \"a dog\", \"conf\": 0.5}]\nx\t[]\n".to_vec(),
        packed.finish().expect("an archive"),
    ]
}

/// Frequencies of n-grams, as JSON and as pickles of several protocols.
pub(super) fn document_frequencies() -> Vec<Vec<u8>> {
    let json = json!({"ref_len": 2, "document_frequency": {"a": 2.0, "a dog": 1.0}});
    vec![
        json.to_string().into_bytes(),
        b"(dp0\nVref_len\np1\nI2\nsVdocument_frequency\np2\nccollections\ndefaultdict\np3\n(c__builtin__\nfloat\np4\ntp5\nRp6\n(Va\np7\ntp8\nF2.0\nss."
            .to_vec(),
        b"\x80\x02}q\x00(X\x07\x00\x00\x00ref_lenq\x01K\x02X\x12\x00\x00\x00document_frequencyq\x02ccollections\ndefaultdict\nq\x03c__builtin__\nfloat\nq\x04\x85q\x05Rq\x06(X\x01\x00\x00\x00aq\x07\x85q\x08G@\x00\x00\x00\x00\x00\x00\x00h\x07X\x03\x00\x00\x00dogq\t\x86q\nG?\xf0\x00\x00\x00\x00\x00\x00uu."
            .to_vec(),
        b"\x80\x02}q\x00(U\x07ref_lenq\x01K\x02U\x12document_frequencyq\x02}q\x03U\x01aq\x04\x85q\x05K\x01su."
            .to_vec(),
        b"\x80\x04}(\x8c\x07ref_lenK\x02\x8c\x12document_frequency\x8c\x0bcollections\x8c\x0bdefaultdict\x93\x8c\x08builtins\x8c\x05float\x93\x85R(\x8c\x01a\x94\x85G?\xf0\x00\x00\x00\x00\x00\x00uu."
            .to_vec(),
    ]
}

/// Sentences with what the tokeniser has rules for.
pub(super) fn sentences() -> Vec<Vec<u8>> {
    [
        "A man's \"hat\" isn't <b>red</b>, it's $5.00; see www.a.com/b?c or (800) 555-1234!",
        "Mr. O'Brien of AT&T Inc. The U.S. The '90s d'or 1 1/2 ½ cup - 3:30 p.m. :-) &amp; café",
        "“Curly” ‘quotes’ – it’s well-known… #tag @name a_b C++ and/or e.g. no. 5 ** cannot",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
