//! Dictionaries of tensors that PyTorch saved: read without running what is in them.

use crate::common;
use crate::import_support;

use std::fs;
use std::io::Write;

use common::message;
use import_support::*;
use oscar_datasets::import::{Source, SourceOptions};

/// A pickle being written.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.op(b"X")
            .op(&(text.len() as u32).to_le_bytes())
            .op(text.as_bytes())
    }

    fn int(&mut self, value: usize) -> &mut Self {
        self.op(b"J").op(&(value as u32).to_le_bytes())
    }

    /// A tensor of `shape` in storage `storage`, at `offset`, with `strides`.
    fn tensor(
        &mut self,
        storage: (usize, usize),
        offset: usize,
        shape: [usize; 2],
        strides: [usize; 2],
    ) -> &mut Self {
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage")
            .op(b"ctorch\nFloatStorage\n")
            .text(&storage.0.to_string());
        self.text("cpu").int(storage.1).op(b"tQ").int(offset);
        self.op(b"(").int(shape[0]).int(shape[1]).op(b"t(");
        self.int(strides[0])
            .int(strides[1])
            .op(b"t\x89ccollections\nOrderedDict\n)RtR")
    }
}

/// A file of `torch.save` with this pickle and these storages.
fn torch_file(pickle: &[u8], storages: &[&[f32]]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("data.pkl", pickle);
    for (number, storage) in storages.iter().enumerate() {
        add(&format!("data/{number}"), bytemuck::cast_slice(storage));
    }
    add("version", b"3\n");
    zip.finish().unwrap().into_inner()
}

#[test]
fn tensors_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let pictures: Vec<_> = pictures(5, DIM)
        .into_iter()
        .filter(|p| !p.boxes.is_empty())
        .collect();
    let mut pickle = Pickle::default();
    pickle.op(b"\x80\x02}");
    let storages: Vec<Vec<f32>> = pictures.iter().map(Picture::values).collect();
    for (number, picture) in pictures.iter().enumerate() {
        let regions = picture.boxes.len();
        pickle.text(&picture.key);
        let storage = (number, storages[number].len());
        pickle
            .tensor(storage, 0, [regions, DIM + 6], [DIM + 6, 1])
            .op(b"s");
    }
    pickle.op(b".");
    let storages: Vec<&[f32]> = storages.iter().map(Vec::as_slice).collect();
    let path = dir.path().join("feats.pt");
    fs::write(&path, torch_file(&pickle.0, &storages)).unwrap();
    let out = dir.path().join("store");
    let summary = import_f32(&path, options(), &out).unwrap();
    assert_eq!(
        (summary.format.as_str(), summary.counts.images_without_tags),
        ("pt", 5)
    );
    assert_stored(&out, &pictures, |v| v);

    // Without boxes, those of labels; keys that are numbers.
    let picture = &pictures[3];
    let values = picture.features.concat();
    let mut pickle = Pickle::default();
    pickle.op(b"\x80\x02}").int(17);
    pickle
        .tensor((0, values.len()), 0, [picture.boxes.len(), DIM], [DIM, 1])
        .op(b"s.");
    fs::write(&path, torch_file(&pickle.0, &[&values])).unwrap();
    let objects = picture.objects();
    let labels = serde_json::json!({
        "objects": objects, "image_h": picture.height, "image_w": picture.width
    });
    write_table(&dir.path().join("labels.tsv"), &[format!("17\t{labels}")]);
    let labelled = SourceOptions {
        labels: Some(dir.path().join("labels.tsv")),
        ..options()
    };
    let found = message(import_f32(&path, options(), &dir.path().join("none")));
    assert!(
        found.contains("feats.pt: image `17`: 4 regions without boxes"),
        "{found}"
    );
    import_f32(&path, labelled, &dir.path().join("labelled")).unwrap();
    let wanted = Picture {
        key: "17".into(),
        ..picture.clone()
    };
    assert_stored(&dir.path().join("labelled"), &[wanted], |v| v);
}

#[test]
fn dictionaries_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let picture = &pictures(5, DIM)[3];
    let regions = picture.boxes.len();
    let (features, boxes) = (picture.features.concat(), picture.boxes.as_flattened());
    let mut pickle = Pickle::default();
    pickle.op(b"\x80\x02}").text("17").op(b"}");
    pickle
        .text("features")
        .tensor((0, features.len()), 0, [regions, DIM], [DIM, 1])
        .op(b"s")
        .text("boxes")
        .tensor((1, boxes.len()), 0, [regions, 4], [4, 1])
        .op(b"s");
    for (side, pixels) in [("image_w", picture.width), ("image_h", picture.height)] {
        pickle.text(side).int(pixels as usize).op(b"s");
    }
    pickle.op(b"s.");
    let path = dir.path().join("feats.pt");
    fs::write(&path, torch_file(&pickle.0, &[&features, boxes])).unwrap();
    let out = dir.path().join("store");
    import_f32(&path, options(), &out).unwrap();
    let wanted = Picture {
        key: "17".into(),
        ..picture.clone()
    };
    assert_stored(&out, &[wanted], |v| v);

    // A view that repeats a few bytes, and a dictionary of something else.
    for (name, rows, wanted) in [
        ("features", 10_000, "repeats"),
        ("scores", 2, "no x or features"),
    ] {
        let mut pickle = Pickle::default();
        pickle.op(b"\x80\x02}").text("17").op(b"}").text(name);
        pickle
            .tensor((0, features.len()), 0, [rows, DIM], [0, 1])
            .op(b"ss.");
        fs::write(&path, torch_file(&pickle.0, &[&features])).unwrap();
        let found = message(import_f32(&path, options(), &dir.path().join("none")));
        assert!(
            found.contains("feats.pt: image `17`") && found.contains(wanted),
            "{found}"
        );
    }
}

#[test]
fn files_that_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("feats.pt");
    let trap = dir.path().join("trap");
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let found = message(
            Source::open(&path, options())
                .and_then(|_| import_f32(&path, options(), &dir.path().join("store"))),
        );
        assert!(found.contains("feats.pt"), "{found}");
        assert!(!trap.exists(), "something was executed");
        found
    };
    // What `pickle.load` would run.
    let command = format!("cos\nsystem\n(S'touch {}'\ntR.", trap.display());
    for bytes in [
        command.clone().into_bytes(),
        torch_file(command.as_bytes(), &[]),
    ] {
        let found = open(&bytes);
        assert!(found.contains("os.system"), "{found}");
    }
    let values = vec![1.0; 2 * (DIM + 6)];
    let one = |write: &dyn Fn(&mut Pickle)| {
        let mut pickle = Pickle::default();
        pickle.op(b"\x80\x02}").text("k");
        write(&mut pickle);
        pickle.op(b"s.");
        torch_file(&pickle.0, &[&values])
    };
    let size = values.len();
    let whole = one(&|p| {
        p.tensor((0, size), 0, [2, DIM + 6], [DIM + 6, 1]);
    });
    let found = open(&whole[..whole.len() / 2]);
    assert!(found.contains("not a complete PyTorch file"), "{found}");
    // A few bytes that would become gigabytes.
    let found = open(&one(&|p| {
        p.tensor((0, size), 0, [500_000_000, DIM + 6], [0, 1]);
    }));
    assert!(found.contains("feats.pt"), "{found}");
    let found = open(&one(&|p| {
        p.tensor((0, size), 4, [2, DIM + 6], [DIM + 6, 1]);
    }));
    assert!(found.contains("storage"), "{found}");
    let found = open(&one(&|p| {
        p.tensor((0, size), 0, [2, DIM + 5], [DIM + 6, 1]);
    }));
    assert!(
        found.contains("image `k`: features of shape [2, 13]"),
        "{found}"
    );
    let found = open(&one(&|p| {
        p.text("no tensor");
    }));
    assert!(
        found.contains("image `k`: a str, where its features are expected"),
        "{found}"
    );
    assert!(open(b"\x80\x02]q\x00.").contains("it holds a list"));
    assert!(open(b"\x80\x02}N]s.").contains("a key of its dictionary is a None"));
    assert!(open(b"hello").contains("feats.pt"));
}
