//! The official pre-training corpus: its rows, and everything that can be wrong with it.

use crate::common;
use crate::official_support;

use std::fs;
use std::path::Path;

use common::message;
use official_support::Official;
use oscar_core::input::{Example, ExampleSource, TextB};
use oscar_datasets::{JsonlCorpus, OfficialCorpusOptions, RegionStore, open_corpus};
use rstest::rstest;

/// A corpus of six images of each data set, changed by `change`, and its error.
fn problem(change: impl FnOnce(&Official)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 6);
    change(&official);
    message(official.open())
}

fn rows(corpus: &dyn ExampleSource) -> Vec<Example> {
    (0..corpus.len())
        .map(|row| corpus.get(row).unwrap())
        .collect()
}

/// Everything of an example but where it stands.
fn content(example: &Example) -> (String, String, String, TextB, Vec<f32>) {
    let mut regions = vec![0.0; example.regions.len() * example.regions.dim()];
    example.regions.copy_into(&mut regions).unwrap();
    (
        example.image.clone(),
        example.text_a.clone(),
        example.text_b.clone(),
        example.text_b_is,
        regions,
    )
}

#[test]
fn the_rows_are_those_of_the_same_corpus_as_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 12);
    let corpus = official.open().unwrap();
    let store = RegionStore::open(&official.path("same")).unwrap();
    let jsonl = JsonlCorpus::open(&official.path("same.jsonl"), store).unwrap();

    assert_eq!((corpus.len(), corpus.region_dim()), (48, 10));
    assert_eq!(corpus.answer_rows(), ExampleSource::answer_rows(&jsonl));
    assert_eq!(corpus.answer_rows().len(), 24);
    let (official_rows, same) = (rows(&corpus), rows(&jsonl));
    for (row, (official, same)) in official_rows.iter().zip(&same).enumerate() {
        assert_eq!(content(official), content(same), "row {row}");
    }
    assert_eq!(same.len(), 48);

    // The sixth image's caption follows a row of another data set.
    let example = &official_rows[4 * 5];
    assert_eq!(example.image, "cc_1_5");
    assert!(
        example.origin.ends_with("corpus.tsv:22"),
        "{}",
        example.origin
    );
    let skipped: Vec<_> = corpus.skipped().iter().collect();
    assert_eq!(skipped, [(&"coco".to_string(), &3)]);
    let error = corpus.get(48).unwrap_err().to_string();
    assert!(error.contains("there is no row 49 among 48"), "{error}");
}

#[test]
fn annotated_classes_are_tags_if_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 3);
    let tags = |use_gtlabels| -> Vec<String> {
        let options = OfficialCorpusOptions {
            use_gtlabels,
            ..OfficialCorpusOptions::default()
        };
        let corpus = official.open_with(options).unwrap();
        let captions = rows(&corpus)
            .into_iter()
            .filter(|row| row.image.starts_with("gqa"));
        let captions = captions.filter(|row| row.text_b_is == TextB::Tags);
        captions.map(|row| row.text_b).collect()
    };
    // The first image has annotations, the second an empty list, the third none.
    assert_eq!(tags(true), ["boat", "red hat tree", "tree old man boat"]);
    assert_eq!(tags(false), ["dog", "red hat tree", "tree old man boat"]);
}

#[test]
fn chunks_are_chosen_and_the_others_are_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 6);
    official.remove("data/cc_features/0");
    let options = |chunks| OfficialCorpusOptions {
        chunks: Some(chunks),
        ..OfficialCorpusOptions::default()
    };
    let corpus = official.open_with(options(1..3)).unwrap();
    let images: Vec<String> = rows(&corpus).into_iter().map(|row| row.image).collect();
    let of_chunks = images.iter().filter(|image| image.starts_with("cc_"));
    assert_eq!(
        of_chunks.collect::<Vec<_>>(),
        ["cc_1_1", "cc_1_3", "cc_1_5"]
    );
    assert_eq!(corpus.skipped()["googlecc chunk 0"], 3);

    let found = message(official.open());
    assert!(
        found.contains("corpus.tsv:1: chunk \"0\" of googlecc has no folder of features"),
        "{found}"
    );
    let found = message(official.open_with(options(0..1)));
    assert!(
        found.contains("cc_features/: no features, and no folder of a chunk from 0 to 1"),
        "{found}"
    );
}

#[test]
fn rows_of_images_without_regions_may_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 6);
    official
        .remove("data/cc_features/0")
        .replace(
            "texts/corpus.tsv",
            "gqa_100\tgqa_100\tA dog",
            "gqa_7\tgqa_7\t?",
        )
        .replace("texts/corpus.tsv", "\tA red hat beside a tree.", "\t…");
    assert!(message(official.open()).starts_with("4 rows are wrong:"));
    let options = OfficialCorpusOptions {
        skip_missing_images: true,
        ..OfficialCorpusOptions::default()
    };
    let corpus = official.open_with(options).unwrap();
    let skipped = corpus.skipped().iter();
    let skipped: Vec<(&str, usize)> = skipped.map(|(what, rows)| (what.as_str(), *rows)).collect();
    let expected = [
        ("coco", 2),
        ("googlecc without regions", 3),
        ("gqa without regions", 1),
    ];
    assert_eq!(skipped, expected);
    assert_eq!(corpus.len(), 20);
    // A caption of punctuation alone is a caption, as officially.
    assert!(rows(&corpus).iter().any(|row| row.text_a == "…"));
}

#[test]
fn one_store_may_hold_all_images_by_id_or_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 6);
    let expected: Vec<_> = rows(&official.open().unwrap())
        .iter()
        .map(content)
        .collect();
    // The store of the JSON lines has the images of both under their whole keys.
    fs::rename(official.path("same"), official.path("data/all")).unwrap();
    official
        .replace("texts/corpus.yaml", "gqa_features", "all")
        .replace("texts/corpus.yaml", "cc_features/", "./all");
    let found: Vec<_> = rows(&official.open().unwrap())
        .iter()
        .map(content)
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn official_feature_files_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 2);
    official.features_as_published();
    let corpus = official.open().unwrap();
    assert_eq!(corpus.region_dim(), 2054);
    let first: Vec<_> = rows(&corpus)
        .iter()
        .map(|row| (row.image.clone(), content(row).4[0]))
        .collect();
    let rows = [
        ("cc_0_0", 3.0),
        ("gqa_100", 0.0),
        ("cc_1_1", 4.0),
        ("gqa_101", 1.0),
    ];
    for ((key, value), row) in rows.into_iter().zip([0, 1, 4, 5]) {
        assert_eq!(first[row], (key.to_string(), value));
    }
    assert_eq!(first.len(), 8);
}

#[test]
fn a_path_may_leave_its_folder_only_if_it_is_allowed() {
    for path in [
        "../data/gqa_features",
        "x/../../gqa_features",
        "/gqa_features",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let official = Official::write(dir.path(), 6);
        official.replace("texts/corpus.yaml", "gqa_features", path);
        let found = message(official.open());
        assert!(
            found.contains(&format!(
                "corpus.yaml: `image_feature_path.gqa` is {path}, which leaves"
            )) && found.contains("`outside_paths`"),
            "{found}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 6);
    let absolute = official.path("data/gqa_features");
    official
        .replace(
            "texts/corpus.yaml",
            "gqa_features",
            absolute.to_str().unwrap(),
        )
        .replace("texts/corpus.yaml", "labels/gqa", "../texts/labels/gqa")
        .replace("texts/corpus.yaml", "corpus.tsv", "labels/../corpus.tsv");
    let found = message(official.open());
    assert!(
        found.contains("`image_label_path.gqa` is ../texts/labels/gqa"),
        "{found}"
    );
    let options = OfficialCorpusOptions {
        outside_paths: true,
        ..OfficialCorpusOptions::default()
    };
    assert_eq!(official.open_with(options).unwrap().len(), 24);
}

#[rstest]
#[case::missing_table("corpus.tsv", "korpus.tsv", &["`corpus_file` names", "korpus.tsv, which is not there"])]
#[case::missing_labels("labels/gqa", "labels/gqa2", &["`image_label_path.gqa` names", "labels/gqa2"])]
#[case::missing_features("gqa_features", "gqa2", &["`image_feature_path.gqa` names", "data/gqa2"])]
#[case::unknown_key("corpus_file", "corpus_fle", &["unknown field `corpus_fle`", "line 2", "corpus_file"])]
#[case::missing_key("corpus_file: corpus.tsv\n", "", &["missing field `corpus_file`"])]
#[case::wrong_type("corpus.tsv", "[corpus.tsv]", &["line 2", "corpus_file: [corpus.tsv]"])]
#[case::twice("corpus_file", "corpus: gqa\ncorpus_file", &["duplicate", "corpus"])]
#[case::unknown_dataset("gqa_googlecc", "gqa_birds", &["`corpus` names \"birds\"", "known data sets are coco"])]
#[case::dataset_twice("gqa_googlecc", "gqa_gqa", &["`corpus` names gqa twice"])]
#[case::no_folder("  gqa: labels/gqa\n", "", &["no `image_label_path.gqa`"])]
#[case::no_yaml("corpus: gqa", "{{{{{{", &["corpus.yaml", "line 1"])]
fn a_wrong_description_names_the_key(#[case] from: &str, #[case] to: &str, #[case] parts: &[&str]) {
    let found = problem(|official| {
        official.replace("texts/corpus.yaml", from, to);
    });
    for part in parts.iter().chain(&["corpus.yaml: "]) {
        assert!(found.contains(part), "{part:?} is not in {found}");
    }
}

#[rstest]
#[case::tab_missing(
    "gqa_100\tgqa_100\tA dog",
    "gqa_100 gqa_100\tA dog",
    "2 tab-separated field(s), where 3 are needed"
)]
#[case::empty("\tA dog beside a red hat.", "\t", "an empty `text A`")]
#[case::invisible("\tA dog beside a red hat.", "\t\u{200b}\u{301}", "an empty `text A`")]
#[case::other_dataset("gqa_100\tgqa_100", "gqa_100\tcoco_100", "another data set than")]
#[case::other_image(
    "gqa_100\tgqa_100",
    "gqa_100\tgqa_101",
    "names another image than \"100\""
)]
#[case::unknown_image("gqa_100\tgqa_100", "gqa_7\tgqa_7", "image `7` is not in")]
#[case::no_id("gqa_100\tgqa_100", "gqa\tgqa", "\"gqa\", not DATASET_IMAGE")]
fn a_wrong_row_is_named(#[case] from: &str, #[case] to: &str, #[case] wanted: &str) {
    let found = problem(|official| {
        official.replace("texts/corpus.tsv", from, to);
    });
    assert!(
        found.contains("corpus.tsv:2: ") && found.contains(wanted),
        "{found}"
    );
}

#[test]
fn ids_that_are_missing_or_stand_where_they_cannot() {
    let label_ids = "texts/labels/gqa/imageid2idx.json";
    let answer_ids = "texts/labels/gqa/QA_qaid2idx.json";
    for (file, from, to, wanted) in [
        (
            label_ids,
            "\"100\"",
            "\"99\"",
            "corpus.tsv:2: `100` is not in",
        ),
        (
            answer_ids,
            "\"q100x1\"",
            "\"q\"",
            "corpus.tsv:4: `q100x1` is not in",
        ),
        (
            label_ids,
            "\"100\":0",
            "\"100\":6",
            "imageid2idx.json: `100` is 6, where the table of 6 rows",
        ),
        (
            answer_ids,
            "\"q100x1\":1",
            "\"q100x1\":1000000",
            "QA_qaid2idx.json: `q100x1` is 1000000",
        ),
        (
            label_ids,
            "\"101\":",
            "\"100\":",
            "imageid2idx.json: `100` occurs twice",
        ),
        (
            answer_ids,
            "\"q100x1\":",
            "\"q100x0\":",
            "QA_qaid2idx.json: `q100x0` occurs twice",
        ),
        (
            label_ids,
            "\"100\":0",
            "\"100\":\"0\"",
            "imageid2idx.json: not a JSON object",
        ),
        (answer_ids, "\"q100x1\":1", "\"q100x1\":2", "corpus.tsv:4: "),
    ] {
        let found = problem(|official| {
            official.replace(file, from, to);
        });
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn answers_are_checked_when_the_corpus_is_opened() {
    let answers = "texts/labels/gqa/QA_fileB.tsv";
    for (from, to, wanted) in [
        (
            r#"{"labels":["dog"]}"#,
            r#"{"labels":[]}"#,
            "answer \"q100x0\" is empty",
        ),
        (
            r#"{"labels":["dog"]}"#,
            r#"{"labels":[" "]}"#,
            "answer \"q100x0\" is empty",
        ),
        (
            r#"{"labels":["dog"]}"#,
            r#"{"labels":"dog"}"#,
            "cannot be read",
        ),
        (
            "q100x0\t",
            "q100x9\t",
            "the row of \"q100x9\", where that of \"q100x0\" should be",
        ),
    ] {
        let found = problem(|official| {
            official.replace(answers, from, to);
        });
        assert!(
            found.contains("corpus.tsv:3: ") && found.contains("QA_fileB.tsv:1: "),
            "{found}"
        );
        assert!(found.contains(wanted), "{found}");
    }
    let found = problem(|official| {
        official.remove(answers);
    });
    assert!(found.contains("QA_fileB.tsv is missing"), "{found}");
    let found = problem(|official| {
        official
            .remove(answers)
            .remove("texts/labels/gqa/QA_qaid2idx.json");
    });
    assert!(
        found.contains("corpus.tsv:3: a question, but the label folder of gqa"),
        "{found}"
    );
}

#[test]
fn tags_are_checked_when_they_are_read() {
    let tags = "texts/labels/gqa/predictions_gt.tsv";
    for (from, to, wanted) in [
        (
            "\"class\":\"dog\"",
            "\"klass\":\"dog\"",
            "its labels cannot be read (missing field `class`",
        ),
        ("\"objects\"", "\"things\"", "missing field `objects`"),
        (
            "100\t",
            "77\t",
            "the row of \"77\", where that of \"100\" should be",
        ),
        ("100\t{", "100 {", "1 tab-separated field(s)"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let official = Official::write(dir.path(), 3);
        let corpus = official.replace(tags, from, to).open().unwrap();
        let found = corpus.get(1).unwrap_err().to_string();
        assert!(
            found.contains("predictions_gt.tsv:1: ") && found.contains(wanted),
            "{found}"
        );
        assert!(corpus.get(0).is_ok() && corpus.get(2).is_ok());
    }
}

#[test]
fn bytes_that_are_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 2);
    let path = official.path("texts/corpus.tsv");
    let mut table = fs::read(&path).unwrap();
    let at = table.iter().rposition(|byte| *byte == b'W').unwrap();
    table[at] = 0xe9;
    fs::write(&path, table).unwrap();
    let found = message(official.open());
    assert!(
        found.contains("corpus.tsv:9: field 3: byte 1 is not UTF-8"),
        "{found}"
    );
}

#[test]
fn nothing_is_left_after_skipping() {
    let found = problem(|official| {
        let table = "coco_1\tcoco_1\ta\nsbu_0_1\tsbu_1\tb\ncoco_2\tcoco_2\tc\n";
        official.write_table("texts/corpus.tsv", table, true);
    });
    assert!(
        found.contains("no row is left of its 3; skipped: 2 of coco, 1 of sbu"),
        "{found}"
    );
    let found = problem(|official| official.write_table("texts/corpus.tsv", "", true));
    assert!(found.contains("corpus.tsv: a corpus of 0 rows"), "{found}");
}

#[test]
fn features_of_several_detectors_do_not_go_together() {
    let found = problem(|official| {
        official.features_as_published();
        fs::remove_dir_all(official.path("data/gqa_features")).unwrap();
        fs::rename(official.path("same"), official.path("data/gqa_features")).unwrap();
    });
    assert!(
        found.contains("corpus.yaml: regions of") && found.contains("cc_features/0 have 2054"),
        "{found}"
    );
}

#[test]
fn many_wrong_rows_are_counted() {
    let found = problem(|official| {
        let rows = (0..5000).map(|row| format!("gqa_{row}\tgqa_{row}\ttext\n"));
        official.write_table("texts/corpus.tsv", &rows.collect::<String>(), true);
    });
    assert!(found.starts_with("4994 rows are wrong:"), "{found}");
    assert!(found.ends_with("… and 4974 more"), "{found}");
}

#[test]
fn a_corpus_is_opened_by_its_name_or_by_its_first_character() {
    let dir = tempfile::tempdir().unwrap();
    let official = Official::write(dir.path(), 3);
    let options = OfficialCorpusOptions::default;
    let (data, same) = (official.path("data"), official.path("same"));
    let open = |corpus: &str, regions: &Path| {
        open_corpus(&official.path(corpus), regions, options())
            .map(|opened| (opened.rows.len(), opened.region_dim))
    };
    assert_eq!(open("texts/corpus.yaml", &data).unwrap(), (12, 10));
    assert_eq!(open("same.jsonl", &same).unwrap(), (12, 10));
    fs::copy(official.path("same.jsonl"), official.path("same.txt")).unwrap();
    fs::copy(official.yaml(), official.path("texts/corpus")).unwrap();
    assert_eq!(open("same.txt", &same).unwrap(), (12, 10));
    assert_eq!(open("texts/corpus", &data).unwrap(), (12, 10));
    let found = message(open("texts/corpus.tsv", &data));
    assert!(
        found.contains("corpus.tsv: it is a table; give the YAML file"),
        "{found}"
    );
    let found = message(open("texts/none.yaml", &data));
    assert!(found.contains("none.yaml is missing"), "{found}");
    let found = message(open("none", &same));
    assert!(found.contains("none is missing: it is a corpus"), "{found}");
    let chunks = OfficialCorpusOptions {
        chunks: Some(0..1),
        ..options()
    };
    let found = message(open_corpus(&official.path("same.jsonl"), &same, chunks).map(|_| ()));
    assert!(found.contains("same.jsonl: it is no YAML file"), "{found}");
}
