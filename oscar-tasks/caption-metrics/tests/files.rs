//! Files of captions and of frequencies, sound and broken.

use std::io::Write;
use std::path::PathBuf;

use flate2::{Compression, write::GzEncoder};
use oscar_caption_metrics::{
    Candidates, Captions, DocumentFrequencies, References, Unmatched, score,
};
use tempfile::TempDir;

const ANNOTATIONS: &str = r#"{
    "info": {"year": 2014}, "type": "captions",
    "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8}, {"id": "9"}],
    "annotations": [
        {"image_id": 7, "id": 1, "caption": "A dog runs on the grass."},
        {"image_id": 7, "id": 2, "caption": "A brown dog is running."},
        {"image_id": "8", "id": 3, "caption": "Two cats sleep."}
    ]
}"#;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn candidates(content: &str) -> Result<Candidates, String> {
    Candidates::parse(content.as_bytes())
}

fn references() -> References {
    References::parse(ANNOTATIONS.as_bytes()).unwrap()
}

fn joined(content: &str, unmatched: Unmatched) -> Result<Captions, String> {
    let candidates = candidates(content).unwrap();
    Captions::join(candidates, references(), unmatched).map_err(|error| error.to_string())
}

#[test]
fn ids_are_numbers_or_texts_and_files_plain_or_packed() {
    let place = Place::new();
    let json = r#" [{"image_id": "7", "caption": "a dog"}, {"image_id": 8, "caption": ""}]"#;
    let tsv = "7\t[{\"caption\": \"a dog\", \"conf\": 0.5}]\n8\t[]\n";
    // The same as other tools write it.
    for content in [
        "{\"image_id\": 7, \"caption\": \"a dog\"}\n{\"image_id\": \"8\", \"caption\": \"\"}\n",
        "\u{feff}[{\"image_id\": 7.0, \"caption\": \"a dog\", \"score\": NaN}, {\"image\": 8, \"caption\": \"\"}]",
        "{\"7\": \"a dog\", \"8\": [\"\"]}",
        "{\"predictions\": [{\"image_id\": 7, \"caption\": \"a dog\"}, {\"image_id\": 8, \"caption\": \"\"}]}",
        "{\"7\": [{\"caption\": \"a dog\"}],\n \"8\": \"\"}",
        "7\t[{'caption': 'a dog', 'conf': 0.5}]\n8\t[]\n",
        "\"7\"\t\"[{\"\"caption\"\": \"\"a dog\"\"}]\"\n8\t[]\n",
    ] {
        let found = Candidates::read(&place.file("any", content)).unwrap();
        let same = Candidates::read(&place.file("plain", json)).unwrap();
        assert_eq!(format!("{found:?}"), format!("{same:?}"), "{content}");
    }
    let mut scores = Vec::new();
    for (name, content) in [
        ("a.json", json.as_bytes().to_vec()),
        ("a.json.gz", packed(json.as_bytes())),
        ("a.tsv", tsv.as_bytes().to_vec()),
        ("a.tsv.gz", packed(tsv.as_bytes())),
    ] {
        let path = place.file(name, content);
        let references = References::read(&place.file("r.json", ANNOTATIONS)).unwrap();
        let candidates = Candidates::read(&path).unwrap();
        let captions = Captions::join(candidates, references, Unmatched::LeaveOut).unwrap();
        assert_eq!(captions.ids(), ["7", "8"]);
        assert_eq!(captions.references()[1], ["Two cats sleep."]);
        scores.push(score(&captions.tokenized()).to_json());
    }
    assert_eq!(scores[0]["candidate_length"], 2);
    assert!(scores.iter().all(|score| *score == scores[0]));
}

#[test]
fn a_list_of_annotations_is_enough() {
    let list = r#"[{"image_id": 1, "id": 5, "caption": "a"}, {"image_id": 1, "caption": "b"}]"#;
    assert_eq!(References::parse(list.as_bytes()).unwrap().len(), 1);
}

/// What to do about a problem depends on the problem: advice about the form of a file is given where
/// the form is wrong, and nowhere else.
#[test]
fn advice_about_the_form_is_given_where_the_form_is_wrong() {
    let place = Place::new();
    let long = "a ".repeat(10_000);
    let advised = |content: &str| {
        let path = place.file("c.json", content);
        let error = Candidates::read(&path).unwrap_err().to_string();
        assert!(error.contains("c.json"), "{error}");
        error.contains("give captions as")
    };
    let twice = r#"{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}"#;
    for (content, form) in [
        (format!("[{twice}]"), false),
        (format!(r#"{{"annotations": [{twice}]}}"#), false),
        (
            format!(r#"[{{"image_id": 1, "caption": "{long}"}}]"#),
            false,
        ),
        (
            format!("{{\"image_id\": 1, \"caption\": \"{long}\"}}\n"),
            false,
        ),
        (
            "1\t[{\"caption\": \"a\"}, {\"caption\": \"b\"}]\n".into(),
            false,
        ),
        (r#"[{"image_id": 1, "caption": "a"}"#.into(), false),
        (r#"[{"image_id": 1, "caption": "a"}} ]"#.into(), false),
        ("[]".into(), true),
        (r#"[{"image_id": 1}]"#.into(), true),
        (r#"["a dog"]"#.into(), true),
        ("a dog".into(), true),
    ] {
        assert_eq!(advised(&content), form, "{content:.80}");
    }
    let wrapped =
        r#"{"annotations": [{"image_id": 1, "caption": "a"}, {"image_id": 2, "caption": "b"}]}"#;
    assert_eq!(Candidates::parse(wrapped.as_bytes()).unwrap().len(), 2);
}

#[test]
fn images_that_do_not_fit_are_named() {
    let all = |content| joined(content, Unmatched::Refuse).unwrap_err();
    let unknown = all(r#"[{"image_id": 5, "caption": "a"}, {"image_id": "six", "caption": "a"}]"#);
    assert!(
        unknown.contains("not among the references: 2 (\"5\", \"six\")"),
        "{unknown}"
    );
    let bare = all(r#"[{"image_id": 9, "caption": "a"}]"#);
    assert!(
        bare.contains("list of references is empty: 1 (\"9\")"),
        "{bare}"
    );
    let missing = all(r#"[{"image_id": 7, "caption": "a"}]"#);
    assert!(
        missing.contains("without a caption: 2 (\"8\", \"9\")"),
        "{missing}"
    );
    let subset = joined(r#"[{"image_id": 7, "caption": "a"}]"#, Unmatched::LeaveOut).unwrap();
    assert_eq!(subset.ids(), ["7"]);
}

#[test]
fn broken_candidates_say_where() {
    for (content, found) in [
        ("", "an empty file"),
        (" \n ", "an empty file"),
        ("[]", "no caption"),
        ("{}", "no caption"),
        (
            r#"{"image_id": 1, "caption": "a"} x"#,
            "line 1: trailing characters",
        ),
        (
            "{\"image_id\": 1, \"caption\": \"a\"}\n{\"image_id\": 2}\n",
            "line 2: missing field `caption`",
        ),
        (r#"[{"image_id": 1, "caption": NaN}]"#, "invalid type: NaN"),
        (r#"[{"image_id": 1, "caption": "a"}"#, "EOF while parsing"),
        (
            r#"[{"image_id": 1, "caption": "a"}] x"#,
            "trailing characters",
        ),
        (
            r#"[{"image_id": 1, "caption": null}]"#,
            "expected a string at line 1",
        ),
        (r#"[{"image_id": 1}]"#, "missing field `caption` at line 1"),
        (
            r#"[{"image_id": 1.5, "caption": "a"}]"#,
            "expected an image id, a text or a whole number",
        ),
        (
            "[{\"image_id\": 1, \"caption\": \"a\"},\n{\"image_id\": \"1\", \"caption\": \"b\"}]",
            "image \"1\" has a caption in row 1 and in row 2",
        ),
        ("[{'image_id': 1, 'caption': 'a'}]", "what Python prints"),
        (
            r#"[{"image_id": 1, "caption": "a", "ok": True}]"#,
            "True, False or None, as Python prints them, where JSON has true, false and null, at line 1 column 40",
        ),
        ("a dog\n", "line 1: \"a dog\" without a tab"),
        (
            "7\t[{\"caption\": \"a\"}]\n8\tdog\n",
            "line 2: expected value",
        ),
        (
            "7\t[{\"caption\": \"a\"}, {\"caption\": \"b\"}]\n",
            "2 captions for image \"7\"",
        ),
        (
            "7\t[{\"caption\": \"a\"}]\n7\t[{\"caption\": \"a\"}]\n",
            "in row 1 and in row 2",
        ),
    ] {
        let error = candidates(content).unwrap_err();
        assert!(error.contains(found), "{content:?}: {error}");
    }
    let long = format!(
        r#"[{{"image_id": 1, "caption": "{}"}}]"#,
        "a ".repeat(10_000)
    );
    let error = candidates(&long).unwrap_err();
    assert!(
        error.contains("row 1: a caption of 20000 bytes for image \"1\""),
        "{error}"
    );
}

#[test]
fn references_by_image_id_are_those_of_annotations() {
    let place = Place::new();
    let annotations = r#"{"annotations": [{"image_id": 1, "caption": "a dog"},
        {"image_id": 1, "caption": "dog"}, {"image_id": 2, "caption": "a cat"}]}"#;
    let by_id = r#"{"1": ["a dog", "dog"], "2": "a cat"}"#;
    for content in [annotations, by_id] {
        let found = References::read(&place.file("r.json", content)).unwrap();
        assert_eq!(found.len(), 2);
        let images = format!("{found:?}");
        for image in [r#"("1", ["a dog", "dog"])"#, r#"("2", ["a cat"])"#] {
            assert!(images.contains(image), "{images}");
        }
    }
}

#[test]
fn broken_references_say_what() {
    for (content, found) in [
        ("", "an empty file"),
        ("7\ta dog", "it is not JSON"),
        ("{}", "missing field `annotations`"),
        (r#"{"annotations": []}"#, "no image"),
        (r#"{"annotations": {}}"#, "expected a sequence"),
        (
            r#"{"annotations": [{"image_id": 1}]}"#,
            "missing field `caption`",
        ),
        (
            r#"{"images": [{"name": 1}], "annotations": []}"#,
            "missing field `id`",
        ),
        (r#"{"annotations": ["#, "EOF"),
    ] {
        let error = References::parse(content.as_bytes()).unwrap_err();
        assert!(error.contains(found), "{content:?}: {error}");
    }
}

#[test]
fn damaged_and_huge_archives_are_refused() {
    let place = Place::new();
    let whole = packed(br#"[{"image_id": 1, "caption": "a dog on the grass"}]"#);
    let cut = place.file("cut.json.gz", &whole[..whole.len() - 9]);
    let error = Candidates::read(&cut).unwrap_err().to_string();
    assert!(error.contains("cut.json.gz"), "{error}");
    let bomb = place.file("bomb.json.gz", packed(&vec![b' '; 200 << 20]));
    let error = Candidates::read(&bomb).unwrap_err().to_string();
    assert!(error.contains("expands to more than"), "{error}");
    let error = Candidates::read(&place.0.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot read"), "{error}");
}

/// {"ref_len": 2, "document_frequency": defaultdict(float, {("a",): 2.0, ("a", "dog"): 1.0})}.
const PICKLES: [&[u8]; 4] = [
    b"(dp0\nVref_len\np1\nI2\nsVdocument_frequency\np2\nccollections\ndefaultdict\np3\n(c__builtin__\nfloat\np4\ntp5\nRp6\n(Va\np7\ntp8\nF2.0\ns(g7\nVdog\np9\ntp10\nF1.0\nss.",
    b"(dp0\nS'ref_len'\np1\nL2L\nsS'document_frequency'\np2\nccollections\ndefaultdict\np3\n(c__builtin__\nfloat\np4\ntp5\nRp6\n(S'a'\np7\ntp8\nF2.0\ns(g7\nS'dog'\np9\ntp10\nF1.0\nss.",
    b"\x80\x02}q\x00(X\x07\x00\x00\x00ref_lenq\x01K\x02X\x12\x00\x00\x00document_frequencyq\x02ccollections\ndefaultdict\nq\x03c__builtin__\nfloat\nq\x04\x85q\x05Rq\x06(X\x01\x00\x00\x00aq\x07\x85q\x08G@\x00\x00\x00\x00\x00\x00\x00h\x07X\x03\x00\x00\x00dogq\t\x86q\nG?\xf0\x00\x00\x00\x00\x00\x00uu.",
    b"\x80\x04\x95v\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x07ref_len\x94K\x02\x8c\x12document_frequency\x94\x8c\x0bcollections\x94\x8c\x0bdefaultdict\x94\x93\x94\x8c\x08builtins\x94\x8c\x05float\x94\x93\x94\x85\x94R\x94(\x8c\x01a\x94\x85\x94G@\x00\x00\x00\x00\x00\x00\x00h\x0b\x8c\x03dog\x94\x86\x94G?\xf0\x00\x00\x00\x00\x00\x00uu.",
];

#[test]
fn frequencies_are_read_from_pickles_of_any_protocol() {
    for (number, pickle) in PICKLES.iter().enumerate() {
        let frequencies = DocumentFrequencies::parse(*pickle);
        let frequencies = frequencies.unwrap_or_else(|error| panic!("pickle {number}: {error}"));
        assert_eq!(frequencies.len(), 2);
        assert_eq!(frequencies.known_words(["a cat", "a a"].into_iter()), 0.5);
    }
}

#[test]
fn broken_frequencies_say_what() {
    for (content, found) in [
        (&b""[..], "an empty file"),
        (b"{}", "missing field `ref_len`"),
        (br#"{"ref_len": 3}"#, "missing field `document_frequency`"),
        (br#"{"ref_len": 3, "document_frequency": {}}"#, "no n-gram"),
        (
            br#"{"ref_len": 3, "document_frequency": {"a": 4}}"#,
            "in 4 images, but `ref_len` is 3",
        ),
        (
            br#"{"ref_len": 0, "document_frequency": {"a": 0}}"#,
            "`ref_len` is 0",
        ),
        (
            br#"{"ref_len": 3, "document_frequency": {"a": -1}}"#,
            "the frequency -1",
        ),
        (
            br#"{"ref_len": 3, "document_frequency": {"a b c d e": 1}}"#,
            "more than 4 words",
        ),
        (
            br#"{"ref_len": 3, "document_frequency": {" ": 1}}"#,
            "without words",
        ),
        (b"cos\nsystem\n(S'ls'\ntR.", "os.system"),
        (b"\x80\x02}q\x00(X\x07\x00\x00\x00ref_l", "cut short"),
        (b"\x80\x02\x01.", "0x01"),
        (b"\x80\x02].", "a pickled list"),
        (b"\x80\x02}.", "without `ref_len`"),
        (b"\x80\x02K\x01.", "a pickled int instead of a dictionary"),
        (
            b"ccollections\nOrderedDict\n((I1\nttR.",
            "key without a value",
        ),
    ] {
        let error = DocumentFrequencies::parse(content).unwrap_err();
        assert!(error.contains(found), "{}: {error}", content.escape_ascii());
    }
}

#[test]
fn frequencies_of_other_captions_are_refused() {
    let captions = joined(
        r#"[{"image_id": 7, "caption": "a dog"}]"#,
        Unmatched::LeaveOut,
    )
    .unwrap();
    let other = br#"{"ref_len": 3, "document_frequency": {"ein": 1, "hund": 2}}"#;
    let error = captions
        .cider_d(DocumentFrequencies::parse(other).unwrap())
        .unwrap_err();
    assert!(
        error.to_string().contains("know no word of the references"),
        "{error}"
    );
}

#[test]
fn readers_survive_mutations() {
    let seeds: Vec<Vec<u8>> = PICKLES.iter().map(|pickle| pickle.to_vec()).collect();
    // Every cut, and every byte changed to some others.
    for seed in seeds {
        for at in 0..seed.len() {
            let _ = DocumentFrequencies::parse(&seed[..at]);
            for byte in [
                0,
                b'.',
                b'(',
                b'R',
                b'u',
                b't',
                b'h',
                0x93,
                0xff,
                seed[at] ^ 1,
            ] {
                let mut changed = seed.clone();
                changed[at] = byte;
                let _ = DocumentFrequencies::parse(changed);
            }
        }
    }
}
