//! A folder of drawings, imported by the extractor, gives the regions that the NLVR v1 builder makes.

use crate::common;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use common::{drawing, message, sample, save};
use oscar_datasets::import::{ExtractedRegions, ImportOptions, OnBad, Summary, import};
use oscar_datasets::{RegionStore, Result, recorded_pictures};
use oscar_sample::nlvr1::{BuildOptions, build};
use oscar_vision::drawings::DrawingReader;

fn extract(pictures: &Path, out: &Path, options: &ImportOptions) -> Result<Summary> {
    let source = ExtractedRegions::open(pictures, Arc::new(DrawingReader))?;
    import(&source, &source.provenance(), out, options)
}

fn unzip(archive: &Path, dir: &Path) {
    fs::create_dir(dir).unwrap();
    let mut archive = zip::ZipArchive::new(fs::File::open(archive).unwrap()).unwrap();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).unwrap();
        let name = Path::new(entry.name()).file_name().unwrap().to_owned();
        io::copy(&mut entry, &mut fs::File::create(dir.join(name)).unwrap()).unwrap();
    }
}

#[test]
fn regions_are_those_of_the_builder() {
    let dir = tempfile::tempdir().unwrap();
    let archive = sample().join("dev_images.zip");
    let built = dir.path().join("built");
    let annotations = sample().join("dev.jsonl.gz");
    build(&archive, &annotations, &built, &BuildOptions::default()).unwrap();
    let wanted = RegionStore::open(&built.join("images")).unwrap();

    let folder = dir.path().join("pictures");
    unzip(&archive, &folder);
    let out = dir.path().join("regions");
    let verified = ImportOptions {
        verify: true,
        ..ImportOptions::default()
    };
    let summary = extract(&folder, &out, &verified).unwrap();
    assert_eq!(
        (summary.format.as_str(), summary.counts.images),
        ("drawings", 989)
    );
    let found = RegionStore::open(&out).unwrap();
    assert_eq!(
        found.source(),
        "extracted from pictures by drawings (version=1)"
    );
    assert_eq!(
        recorded_pictures(&found),
        Some(folder.canonicalize().unwrap())
    );
    let mut without_objects = found.len();
    for row in 0..wanted.len() {
        let key = format!("{}-0", wanted.key(row));
        let same = found.find(&key).unwrap();
        assert_eq!(found.size(same), wanted.size(row));
        assert_eq!(found.tags(same).unwrap(), wanted.tags(row).unwrap());
        let values = |store: &RegionStore, row: usize| {
            let mut values = vec![0.0; store.num_regions(row) * store.region_dim()];
            store.copy_regions(row, &mut values);
            values
        };
        assert_eq!(values(&found, same), values(&wanted, row), "{key}");
        without_objects -= 1;
    }
    assert_eq!(without_objects, summary.counts.images_without_regions);

    // The archive gives the same store but for the place of the pictures and their order.
    let zipped = extract(&archive, &dir.path().join("zipped"), &verified).unwrap();
    assert_eq!(zipped.counts, summary.counts);
}

#[test]
fn pictures_that_are_not_drawings_are_named_and_can_be_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pictures");
    save(&folder, &[("7-0", &drawing())]);
    image::RgbImage::new(40, 30)
        .save(folder.join("photo.png"))
        .unwrap();
    fs::write(folder.join("text.jpg"), "hello").unwrap();
    let out = dir.path().join("out");
    let found = message(extract(&folder, &out, &ImportOptions::default()));
    assert!(
        found.contains("photo.png in ") && found.contains("40x30 pixels"),
        "{found}"
    );
    let skip = ImportOptions {
        on_bad: OnBad::Skip,
        ..ImportOptions::default()
    };
    let summary = extract(&folder, &out, &skip).unwrap();
    assert_eq!((summary.counts.images, summary.skipped.total), (1, 2));
    assert!(
        summary.skipped.first[1].contains("text.jpg in "),
        "{:?}",
        summary.skipped
    );

    fs::create_dir(dir.path().join("empty")).unwrap();
    let found = message(extract(&dir.path().join("empty"), &out, &skip));
    assert!(found.contains("empty: no picture"), "{found}");
}
