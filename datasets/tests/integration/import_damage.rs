//! Whatever bytes a parser is given, it returns: values of the right shape, or what is wrong.

use crate::import_support;

use import_support::*;
use oscar_datasets::import::{
    SourceBoxes, SourceImage, Vocabularies, parse_lxmert, parse_npy, parse_npz, parse_safetensors,
    parse_vinvl,
};
use oscar_datasets::official::{
    FeatureRow, TagChoice, decode_blob, parse_classes, parse_key_map, parse_labels, parse_size,
};
use oscar_datasets::tsv::parse_line_index;
use proptest::prelude::*;

/// A change of a valid file: bytes replaced, inserted, removed, cut off.
#[derive(Clone, Debug)]
enum Change {
    Replace(f64, u8),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    Cut(f64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = 0.0f64..1.0;
    // What means something to one of the formats, or anything.
    let byte = prop_oneof![
        Just(b'\t'),
        Just(b'\n'),
        Just(b'"'),
        Just(b'='),
        Just(b'9'),
        Just(b'-'),
        Just(0xff),
        any::<u8>(),
    ];
    let bytes = prop::collection::vec(byte.clone(), 1..8);
    let change = prop_oneof![
        4 => (at.clone(), byte).prop_map(|(at, byte)| Change::Replace(at, byte)),
        2 => (at.clone(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at.clone(), 1usize..40).prop_map(|(at, len)| Change::Remove(at, len)),
        1 => at.prop_map(Change::Cut),
    ];
    prop::collection::vec(change, 0..4)
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: &f64| (at * bytes.len() as f64) as usize;
        match change {
            Change::Replace(at, byte) => {
                let at = place(at);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Change::Insert(at, more) => {
                let at = place(at);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Remove(at, len) => {
                let at = place(at);
                let end = (at + len).min(bytes.len());
                bytes.drain(at..end);
            }
            Change::Cut(at) => bytes.truncate(place(at)),
        }
    }
    bytes
}

/// What every parsed image must be.
fn assert_image(image: &SourceImage) {
    assert_eq!(image.features.len(), image.boxes.len() * DIM);
    assert!(image.features.iter().all(|value| value.is_finite()));
}

fn vocabularies() -> Vocabularies {
    Vocabularies {
        classes: Some(vec!["dog".into(), "cat".into()]),
        attributes: Some(vec!["red".into()]),
    }
}

fn lxmert_row(picture: &Picture) -> String {
    let regions = picture.boxes.len();
    let text = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    let zeros = |bytes: usize| text(&vec![0; bytes * regions]);
    [
        picture.key.clone(),
        picture.height.to_string(),
        picture.width.to_string(),
        zeros(8),
        zeros(4),
        zeros(8),
        zeros(4),
        regions.to_string(),
        text(bytemuck::cast_slice(&picture.boxes)),
        base64(&picture.features.concat(), false),
    ]
    .join("\t")
}

/// Gives `bytes` to every parser.
fn parse_all(bytes: &[u8]) {
    if let Ok(row) = FeatureRow::parse(bytes)
        && let Ok(layout) = row.layout(DIM)
    {
        let mut values = vec![0.0; row.num_boxes * layout.dim];
        if decode_blob(&row.blob, layout, &mut values).is_ok() {
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }
    let vocabularies = vocabularies();
    let images = [
        parse_lxmert(bytes, DIM, &vocabularies),
        parse_npz(bytes, DIM, &vocabularies),
        parse_safetensors(bytes, DIM),
    ];
    images.iter().flatten().for_each(assert_image);
    if let Ok(matrix) = parse_npy(bytes) {
        assert_eq!(matrix.values.len(), matrix.rows * matrix.cols);
    }
    if let Ok(map) = parse_key_map(bytes) {
        (0..map.len()).for_each(|entry| assert!(map.get(entry).0.len() <= bytes.len()));
    }
    if let Ok(offsets) = parse_line_index(bytes, 1000) {
        assert!(offsets.is_sorted() && offsets.last() == Some(&1000));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_size(text);
        for choice in [TagChoice::Objects, TagChoice::GtObjects] {
            // Classes alone may be readable where a box or a score is not.
            if let Ok(row) = parse_labels(text, choice) {
                let classes: Vec<_> = row.tags.iter().map(|tag| tag.class.as_str()).collect();
                assert_eq!(parse_classes(text, choice), Ok(classes.join(" ")));
            }
        }
        for tags_only in [false, true] {
            if let Ok(image) = parse_vinvl(text, DIM, TagChoice::Objects, tags_only) {
                assert!(matches!(image.boxes, SourceBoxes::Pixels(_)));
                assert_image(&image);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn changed_files(form in 0usize..9, changes in changes()) {
        let picture = &pictures(4, DIM)[2];
        let mut objects = picture.objects();
        for object in objects.as_array_mut().expect("a list") {
            object["feature"] = base64(&[0.5; DIM], false).into();
        }
        let features = npy_f32(&picture.features.concat(), DIM);
        let view = |name: &'static str, shape: Vec<usize>, data: Vec<u8>| (name, shape, data);
        let tensors = [
            view("features", vec![3, DIM], bytemuck::cast_slice(&picture.features.concat()).to_vec()),
            view("boxes", vec![3, 4], bytemuck::cast_slice(&picture.boxes).to_vec()),
        ];
        let tensors = tensors.iter().map(|(name, shape, data)| {
            let dtype = safetensors::Dtype::F32;
            (*name, safetensors::tensor::TensorView::new(dtype, shape.clone(), data).expect("a view"))
        });
        let valid = match form {
            0 => feature_row(picture, false).into_bytes(),
            1 => caption_row(picture, true).into_bytes(),
            2 => lxmert_row(picture).into_bytes(),
            3 => picture_npz(picture),
            4 => features,
            5 => safetensors::serialize(tensors, None).expect("a file"),
            6 => serde_json::json!({"objects": objects, "image_h": 100, "image_w": 200})
                .to_string().into_bytes(),
            7 => br#"{"a": 0, "b": 1, "c": 2}"#.to_vec(),
            _ => b"0\n10\n200\n".to_vec(),
        };
        parse_all(&changed(valid, &changes));
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse_all(&bytes);
    }
}
