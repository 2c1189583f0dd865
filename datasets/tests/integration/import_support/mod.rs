//! Makes region features and writes them in the published formats.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use oscar_datasets::import::{ImportOptions, OnBad, Source, SourceOptions, Summary, import};
use oscar_datasets::{RegionStore, Result, StoreDtype, Tag};
use tempfile::TempDir;

/// Appearance values per region in these tests.
pub const DIM: usize = 8;

/// Image with regions, as a detector gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub key: String,
    pub width: u32,
    pub height: u32,
    /// `[regions, dim]`
    pub features: Vec<Vec<f32>>,
    /// Pixels.
    pub boxes: Vec<[f32; 4]>,
    pub classes: Vec<String>,
}

/// Numbers that look random, the same each time.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }
}

/// `count` pictures with 0 to 5 regions of `dim` values.
pub fn pictures(count: usize, dim: usize) -> Vec<Picture> {
    let mut numbers = Numbers(count as u64);
    (0..count)
        .map(|n| {
            let (width, height) = (200 + n as u32 % 7, 100 + n as u32 % 3);
            let regions = (n + 1) % 6;
            let boxes = (0..regions).map(|_| {
                let (x, y) = (numbers.next() * 150.0, numbers.next() * 60.0);
                [
                    x,
                    y,
                    x + 1.0 + numbers.next() * 48.0,
                    y + 1.0 + numbers.next() * 38.0,
                ]
            });
            let boxes: Vec<_> = boxes.collect();
            Picture {
                key: format!("COCO_val2014_{:012}", 7919 * (n + 1) % 100_003),
                width,
                height,
                features: (0..regions)
                    .map(|_| (0..dim).map(|_| numbers.next() * 9.0).collect())
                    .collect(),
                boxes,
                classes: (0..regions)
                    .map(|r| format!("thing {}", (n + r) % 5))
                    .collect(),
            }
        })
        .collect()
}

impl Picture {
    /// x1/W, y1/H, x2/W, y2/H, w/W, h/H of each region.
    pub fn relative(&self) -> Vec<[f32; 6]> {
        let (w, h) = (self.width as f32, self.height as f32);
        let shares = |[x1, y1, x2, y2]: &[f32; 4]| {
            [x1 / w, y1 / h, x2 / w, y2 / h, (x2 - x1) / w, (y2 - y1) / h]
        };
        self.boxes.iter().map(shares).collect()
    }

    /// Features and geometry, `[regions, dim + 6]`.
    pub fn values(&self) -> Vec<f32> {
        let regions = self.features.iter().zip(self.relative());
        regions
            .flat_map(|(f, b)| f.iter().copied().chain(b).collect::<Vec<_>>())
            .collect()
    }

    /// Its objects as JSON.
    pub fn objects(&self) -> serde_json::Value {
        let object = |(class, rect): (&String, &[f32; 4])| serde_json::json!({"class": class, "rect": rect, "conf": 0.5});
        self.classes.iter().zip(&self.boxes).map(object).collect()
    }
}

/// Values as base64 of 32-bit or 16-bit floats.
pub fn base64(values: &[f32], half: bool) -> String {
    let bytes: Vec<u8> = match half {
        true => values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect(),
        false => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    base64_simd::STANDARD.encode_to_string(&bytes)
}

/// Writes rows as a table, with its `.lineidx`.
pub fn write_table(path: &Path, rows: &[String]) {
    let (mut text, mut index) = (String::new(), String::new());
    for row in rows {
        index += &format!("{}\n", text.len());
        text += &format!("{row}\n");
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a table");
    fs::write(path.with_extension("lineidx"), index).expect("an index");
}

/// The row of a feature file: `key, num_boxes, base64`.
pub fn feature_row(picture: &Picture, half: bool) -> String {
    let blob = base64(&picture.values(), half);
    format!("{}\t{}\t{blob}", picture.key, picture.boxes.len())
}

/// The row of a captioning feature file.
pub fn caption_row(picture: &Picture, half: bool) -> String {
    let blob = base64(&picture.values(), half);
    let content = serde_json::json!({"num_boxes": picture.boxes.len(), "features": blob});
    format!("{}\t{content}", picture.key)
}

/// Writes `features.tsv`, `predictions.tsv` with sizes, and `imageid2idx.json`.
pub fn write_folder(dir: &Path, pictures: &[Picture], half: bool) {
    let rows: Vec<_> = pictures.iter().map(|p| feature_row(p, half)).collect();
    write_table(&dir.join("features.tsv"), &rows);
    // In another order, as published ones are.
    let labels = pictures.iter().rev().map(|p| {
        let labels = serde_json::json!({
            "objects": p.objects(), "image_h": p.height, "image_w": p.width
        });
        format!("{}\t{labels}", p.key)
    });
    write_table(&dir.join("predictions.tsv"), &labels.collect::<Vec<_>>());
    let rows = pictures
        .iter()
        .enumerate()
        .map(|(row, p)| (p.key.clone(), row.into()));
    let rows: serde_json::Map<_, _> = rows.collect();
    fs::write(
        dir.join("imageid2idx.json"),
        serde_json::Value::from(rows).to_string(),
    )
    .expect("a map");
}

/// Options for features of [`DIM`] values.
pub fn options() -> SourceOptions {
    SourceOptions {
        feature_dim: DIM,
        ..SourceOptions::default()
    }
}

/// Imports without rounding, verifies, and returns what came out.
pub fn import_f32(source: &Path, options: SourceOptions, out: &Path) -> Result<Summary> {
    let how = ImportOptions {
        dtype: StoreDtype::F32,
        verify: true,
        ..ImportOptions::default()
    };
    run(&Source::open(source, options)?, out, &how)
}

/// Imports, leaving bad images out.
pub fn import_skipping(source: &Path, options: SourceOptions, out: &Path) -> Result<Summary> {
    let how = ImportOptions {
        on_bad: OnBad::Skip,
        ..ImportOptions::default()
    };
    run(&Source::open(source, options)?, out, &how)
}

/// Asserts that a store holds exactly these pictures, its boxes to the bit, its features as
/// `round` makes them.
pub fn assert_stored(dir: &Path, pictures: &[Picture], round: impl Fn(f32) -> f32) {
    let store = RegionStore::open(dir).expect("a store");
    assert_eq!(store.check(), []);
    let keys: Vec<_> = store.keys().map(String::from).collect();
    assert_eq!(
        keys,
        pictures.iter().map(|p| p.key.clone()).collect::<Vec<_>>()
    );
    for (row, picture) in pictures.iter().enumerate() {
        assert_eq!(store.num_regions(row), picture.boxes.len());
        let mut values = vec![f32::NAN; picture.boxes.len() * store.region_dim()];
        store.copy_regions(row, &mut values);
        for (region, values) in values.chunks_exact(store.region_dim()).enumerate() {
            let features: Vec<f32> = picture.features[region].iter().map(|v| round(*v)).collect();
            assert_eq!(
                values[..features.len()],
                features,
                "{} {region}",
                picture.key
            );
            let wanted = picture.relative()[region].map(&round);
            assert_eq!(values[features.len()..], wanted, "{} {region}", picture.key);
        }
    }
}

/// As a value reads after it was stored with 16 bits.
pub fn halved(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// A NumPy array file.
pub fn npy(descr: &str, fortran: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let fortran = if fortran { "True" } else { "False" };
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({sides}), }}");
    text += &" ".repeat(63 - (10 + text.len()) % 64);
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.extend(data);
    bytes
}

/// 32-bit floats in a NumPy array file of `cols` columns.
pub fn npy_f32(values: &[f32], cols: usize) -> Vec<u8> {
    npy(
        "<f4",
        false,
        &[values.len() / cols, cols],
        bytemuck::cast_slice(values),
    )
}

/// One number in a NumPy array file.
pub fn npy_number(value: i64) -> Vec<u8> {
    npy("<i8", false, &[], &value.to_le_bytes())
}

/// Arrays as NumPy's compressed archive.
pub fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("{name}.npy"), options)
            .expect("an entry");
        std::io::Write::write_all(&mut zip, bytes).expect("an entry");
    }
    zip.finish().expect("an archive").into_inner()
}

/// The archive of a picture as bottom-up attention writes it.
pub fn picture_npz(picture: &Picture) -> Vec<u8> {
    let dim = picture.features.first().map_or(DIM, Vec::len);
    npz(&[
        ("x", npy_f32(&picture.features.concat(), dim)),
        ("bbox", npy_f32(picture.boxes.as_flattened(), 4)),
        ("num_bbox", npy_number(picture.boxes.len() as i64)),
        ("image_w", npy_number(i64::from(picture.width))),
        ("image_h", npy_number(i64::from(picture.height))),
    ])
}

/// Writes a table of sizes.
pub fn write_sizes(path: &Path, pictures: &[Picture]) {
    let row = |p: &Picture| {
        format!(
            "{}\t[{{\"height\": {}, \"width\": {}}}]",
            p.key, p.height, p.width
        )
    };
    write_table(path, &pictures.iter().map(row).collect::<Vec<_>>());
}

/// Imports a source.
pub fn run(source: &Source, out: &Path, how: &ImportOptions) -> Result<Summary> {
    import(source, source.provenance(), out, how)
}

/// A folder to import from, and the place of the store.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn import(&self, source: &str, options: SourceOptions) -> Result<Summary> {
        import_f32(&self.path(source), options, &self.path("store"))
    }

    /// The pictures are in the store, ordered by key as files in a folder are.
    pub fn assert_holds(&self, pictures: &[Picture]) {
        let mut sorted = pictures.to_vec();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        assert_stored(&self.path("store"), &sorted, |v| v);
    }

    pub fn tags(&self, row: usize) -> Vec<Tag> {
        RegionStore::open(&self.path("store"))
            .unwrap()
            .tags(row)
            .unwrap()
    }
}
