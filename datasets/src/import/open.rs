//! Opens published region features of any known format.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use oscar_core::input::LabelNames;

use super::detect::detect;
use super::lines::Lines;
use super::official::OfficialSource;
use super::options::{Format, SourceOptions};
use super::per_image::PerImage;
use super::pt::PtSource;
use super::source::{FeatureSource, Provenance, SourceBoxes, SourceImage};
use super::vocabulary::Vocabularies;
use super::{lxmert, vinvl};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::official::{
    LabelFile, OfficialFiles, OfficialImages, OfficialOptions, PartFiles, SizeTable, TagChoice,
};
use crate::yaml::Tables;

/// Published region features to import, with what was given of them elsewhere.
pub struct Source {
    reader: Box<dyn FeatureSource>,
    /// Rows of the reader that belong to the data set; all if nothing lists them.
    lines: Option<Lines>,
    labels: Option<LabelFile>,
    /// An image that `labels` does not name, once there was one.
    unlabelled: OnceLock<String>,
    sizes: Option<SizeTable>,
    tags: TagChoice,
    format: Format,
    provenance: Provenance,
}

impl Source {
    /// Opens the features at `path`.
    ///
    /// # Errors
    /// If they are of no known format, or could be of several; an option that does not apply to the
    /// format; or as the format's reader reports.
    pub fn open(path: &Path, options: SourceOptions) -> Result<Self> {
        options.check_feature_dim(path)?;
        let found = detect(path, options.format, options.feature_dim)?;
        let yaml = Tables::is_one(&found.path);
        let tables = match yaml {
            true => Tables::read(&found.path)?,
            false => Tables::default(),
        };
        let format = match found.format {
            Format::Vinvl if options.features.is_some() => Format::Official,
            format => format,
        };
        options.check(path, format)?;
        let reader = open_reader(format, &found.path, yaml, &tables, &options)?;
        let lines = tables.linelist.as_deref();
        let mut source = Self {
            lines: lines
                .map(|lines| Lines::read(lines, reader.len()))
                .transpose()?,
            reader,
            labels: None,
            unlabelled: OnceLock::new(),
            sizes: None,
            tags: options.tags,
            format,
            provenance: provenance(path, format, &options),
        };
        if format != Format::Official {
            // Official files are opened with theirs.
            source.labels = options.labels.as_deref().map(LabelFile::open).transpose()?;
            let sizes = options.sizes.or(tables.hw);
            source.sizes = sizes.as_deref().map(SizeTable::open).transpose()?;
            source.require_companions()?;
        }
        Ok(source)
    }

    /// The format of the features.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where the features come from and how they are read.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The keys of the images, as far as they are known unread.
    fn keys(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(move |row| self.key(row))
    }

    /// Refuses labels and sizes of other images altogether.
    fn require_companions(&self) -> Result<()> {
        if let Some(labels) = &self.labels {
            labels.require(self.keys())?;
        }
        match &self.sizes {
            Some(sizes) => sizes.require(self.keys()),
            None => Ok(()),
        }
    }

    fn row(&self, row: usize) -> usize {
        self.lines.as_ref().map_or(row, |lines| lines.rows[row])
    }

    /// Gives `image` what the table of labels says of it.
    fn take_labels(&self, image: &mut SourceImage) -> Result<()> {
        let Some(labels) = &self.labels else {
            return Ok(());
        };
        match labels.find(&image.key) {
            Some(row) => image.take_labels(labels.read_named(row, self.tags)?),
            None => {
                self.unlabelled.get_or_init(|| image.key.clone());
            }
        }
        Ok(())
    }

    /// Gives `image` the size that the table of sizes says, which it must if boxes need one.
    fn take_size(&self, image: &mut SourceImage, row: usize) -> Result<()> {
        let Some(sizes) = &self.sizes else {
            return Ok(());
        };
        if let Some(size) = sizes.find(&image.key)? {
            image.size = Some(size);
        }
        let in_pixels = matches!(&image.boxes, SourceBoxes::Pixels(boxes) if !boxes.is_empty());
        if in_pixels && image.size.is_none() {
            let found = format!(
                "its boxes are in pixels, and {} does not name it",
                sizes.path().display()
            );
            let fix = "name images alike in both, or add its size";
            return Err(self.locate(row, Defect::new(found, fix)));
        }
        Ok(())
    }
}

/// That `labels` has nothing about `image`, and how it calls its images.
fn missing(labels: &LabelFile, image: &str) -> String {
    let (path, keys) = (labels.path().display(), labels.keys());
    let examples: Vec<String> = (0..keys.len().min(2))
        .map(|row| format!("`{}`", keys.key(row)))
        .collect();
    format!(
        "{path} does not name every image: `{image}` is not among its keys, which are such as {}",
        examples.join(", ")
    )
}

fn provenance(path: &Path, format: Format, options: &SourceOptions) -> Provenance {
    let show = |path: &Option<PathBuf>| match path {
        Some(path) => path.display().to_string(),
        None => "none".into(),
    };
    let settings = [
        ("tags", format!("{:?}", options.tags)),
        ("labels", show(&options.labels)),
        ("sizes", show(&options.sizes)),
        ("features", show(&options.features)),
        ("classes", show(&options.classes)),
        ("attributes", show(&options.attributes)),
        ("tags_only", options.tags_only.to_string()),
    ];
    Provenance {
        path: path.to_path_buf(),
        format: format.name().into(),
        description: format!("imported from {format} files"),
        feature_dim: options.feature_dim,
        pictures: None,
        extractor: None,
        settings: settings.map(|(name, value)| (name.into(), value)).into(),
    }
}

fn open_reader(
    format: Format,
    path: &Path,
    yaml: bool,
    tables: &Tables,
    options: &SourceOptions,
) -> Result<Box<dyn FeatureSource>> {
    let (dim, repeated) = (options.feature_dim, options.repeated_keys);
    let names = Vocabularies::open(options.classes.as_deref(), options.attributes.as_deref())?;
    Ok(match format {
        Format::Official => Box::new(open_official(path, yaml, tables, options)?),
        Format::Vinvl => {
            let path = table_of_objects(path, yaml, tables)?;
            Box::new(vinvl::open(
                path,
                dim,
                options.tags,
                options.tags_only,
                repeated,
            )?)
        }
        Format::Lxmert => Box::new(lxmert::open(path, dim, names, repeated)?),
        Format::Npz | Format::Npy | Format::Safetensors => {
            Box::new(PerImage::open(path, format, dim, names, repeated)?)
        }
        Format::Pt => Box::new(PtSource::open(path, dim)?),
    })
}

/// Official feature files: by themselves, named by a YAML file, or given as `features`.
fn open_official(
    path: &Path,
    yaml: bool,
    tables: &Tables,
    options: &SourceOptions,
) -> Result<OfficialSource> {
    let files = match options.features.as_ref().or(tables.feature.as_ref()) {
        Some(features) => {
            let mut part = PartFiles::beside(features)?;
            // A table of objects that features are given to has their labels.
            let table = (!yaml).then(|| path.to_path_buf());
            part.labels = tables.label.clone().or(table).or(part.labels);
            part.sizes = tables.hw.clone().or(part.sizes);
            OfficialFiles {
                parts: vec![part],
                ignored: vec![],
            }
        }
        None => OfficialFiles::find(path)?.ok_or_else(|| DatasetError::Missing {
            path: path.join(crate::official::FEATURES_FILE),
            hint: "it is the official feature file; give its path or folder",
        })?,
    };
    let official = OfficialOptions {
        feature_dim: options.feature_dim,
        labels: options.labels.clone(),
        sizes: options.sizes.clone(),
        tags: options.tags,
        repeated_keys: options.repeated_keys,
    };
    let images = OfficialImages::open_files(path, &files, official)?;
    Ok(OfficialSource::new(images, files.ignored))
}

/// A table of objects: by itself, or named by a YAML file.
fn table_of_objects<'a>(path: &'a Path, yaml: bool, tables: &'a Tables) -> Result<&'a Path> {
    match (&tables.label, yaml) {
        (Some(labels), _) => Ok(labels),
        (None, false) => Ok(path),
        (None, true) => {
            let found = "it names neither features nor labels";
            let fix = "add `feature: FILE.tsv` or `label: FILE.tsv`";
            Err(DatasetError::malformed(path, found, fix))
        }
    }
}

impl FeatureSource for Source {
    fn len(&self) -> usize {
        let lines = self.lines.as_ref();
        lines.map_or(self.reader.len(), |lines| lines.rows.len())
    }

    fn key(&self, row: usize) -> Option<&str> {
        self.reader.key(self.row(row))
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        let mut image = self.reader.read(self.row(row))?;
        self.take_labels(&mut image)?;
        self.take_size(&mut image, row)?;
        Ok(image)
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        self.reader.locate(self.row(row), defect)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.reader.files();
        files.extend(self.lines.iter().map(|lines| lines.path.clone()));
        files.extend(self.labels.iter().map(|l| l.path().to_path_buf()));
        files.extend(self.sizes.iter().map(|s| s.path().to_path_buf()));
        files
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        self.reader.label_names()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.reader.notes();
        if let Some(lines) = &self.lines {
            notes.push(format!(
                "{} of {} rows, those in {}; {} are listed again there, and stored once",
                lines.rows.len(),
                self.reader.len(),
                lines.path.display(),
                lines.again
            ));
        }
        if let Some(labels) = &self.labels {
            notes.push(format!("tags from {}", labels.path().display()));
            notes.extend(self.unlabelled.get().map(|image| missing(labels, image)));
        }
        notes
    }
}
