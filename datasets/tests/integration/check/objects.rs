//! Objects with their features, and folders of arrays.

use oscar_datasets::check::{Kind, check};
use serde_json::{Value, json};

use super::{Files, REGION, assert_problems, base64, count, of_dim_two};

#[test]
fn objects_with_their_features() {
    let files = Files::new();
    let object = |rect: [f32; 4], feature: &[f32]| json!({"class": "dog", "rect": rect, "conf": 0.5, "feature": base64(feature)});
    let row = |key: &str, object: Value| {
        let labels = json!({"image_h": 50, "image_w": 100, "objects": [object]});
        format!("{key}\t{labels}\n")
    };
    let table = [
        row("a", object([1.0, 1.0, 9.0, 9.0], &[0.5, 1.5])),
        row("b", object([1.0, 1.0, 9.0, 9.0], &[0.5, 1.5, 2.5])),
        row("c", object([1.0, 60.0, 9.0, 70.0], &[0.5, 1.5])),
    ];
    let table = files.write("predictions.tsv", table.concat());
    let report = check(&[table], &of_dim_two()).unwrap();
    let file = "predictions.tsv";
    assert_problems(
        &report,
        &[
            (file, "b", Kind::Field, "12 bytes"),
            (file, "c", Kind::Box, "reaches 20 pixels outside"),
            (
                file,
                "c",
                Kind::TagBox,
                "reaches outside the image (100x50 pixels)",
            ),
        ],
    );
    assert_eq!(count(&report, 0, "regions"), 2);
}

#[test]
fn a_folder_of_arrays() {
    let files = Files::new();
    let npy = |rows: usize, columns: usize, values: &[f32]| {
        let header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        let header = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    };
    let good = npy(1, 8, &REGION);
    files.write("a.npy", &good);
    files.write(
        "b.npy",
        npy(1, 8, &[f32::INFINITY, 0.0, 0.0, 0.0, 0.5, 0.25, 0.5, 0.25]),
    );
    files.write("c.npy", &good[..good.len() - 1]);
    files.write(
        "d.npy",
        npy(1, 8, &[1.0, 0.0, 0.5, 0.0, 0.25, 0.25, 0.5, 0.25]),
    );
    let report = check(&[files.0.path().to_path_buf()], &of_dim_two()).unwrap();
    let said: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(
        said[0].contains("`b`") || said[0].contains("b.npy"),
        "{said:#?}"
    );
    assert!(said[1].contains("c.npy"), "{said:#?}");
    assert!(said[2].contains("`d`: region 0 has box"), "{said:#?}");
    assert_eq!(report.checked[0].format, "npy");
}
