//! Finds out what lies at a path, and opens it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::detect::detect;
use super::journal::Identity;
use super::lxmert::LxmertSource;
use super::official::OfficialSource;
use super::options::{Format, SourceOptions};
use super::per_image::{Form, PerImage};
use super::pt::PtSource;
use super::source::{FeatureSource, SourceImage};
use super::subset::Subset;
use super::vinvl::VinvlSource;
use super::vocabulary::Vocabularies;
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::official::{
    LabelFile, OfficialFiles, OfficialImages, OfficialOptions, PartFiles, SizeTable,
};
use crate::yaml::Tables;

/// Images to import, with what was given of them elsewhere.
pub struct Source {
    path: PathBuf,
    format: Format,
    options: SourceOptions,
    reader: Box<dyn FeatureSource>,
    labels: Option<LabelFile>,
    sizes: Option<SizeTable>,
}

impl Source {
    /// Opens what lies at `path`.
    ///
    /// # Errors
    /// If it is of no known format, or could be of several; an option that the format has no use
    /// for; or as the format's reader reports.
    pub fn open(path: &Path, options: SourceOptions) -> Result<Self> {
        options.check_feature_dim(path)?;
        let dim = options.feature_dim;
        let candidate = detect(path, options.format, dim)?;
        let yaml = Tables::is_one(&candidate.path);
        let tables = match yaml {
            true => Tables::read(&candidate.path)?,
            false => Tables::default(),
        };
        let mut format = candidate.format;
        if format == Format::Vinvl && options.features.is_some() {
            format = Format::Official;
        }
        options.check(path, format)?;
        let vocabularies =
            Vocabularies::open(options.classes.as_deref(), options.attributes.as_deref())?;
        let form = |form| {
            let repeated = options.repeated_keys;
            PerImage::open(&candidate.path, form, dim, vocabularies.clone(), repeated)
        };
        let reader: Box<dyn FeatureSource> = match format {
            Format::Official => Box::new(open_official(&candidate.path, yaml, &tables, &options)?),
            Format::Vinvl => Box::new(open_vinvl(&candidate.path, yaml, &tables, &options)?),
            Format::Lxmert => Box::new(LxmertSource::open(
                &candidate.path,
                dim,
                vocabularies,
                options.repeated_keys,
            )?),
            Format::Npz => Box::new(form(Form::Npz)?),
            Format::Npy => Box::new(form(Form::Npy)?),
            Format::Safetensors => Box::new(form(Form::Safetensors)?),
            Format::Pt => Box::new(PtSource::open(&candidate.path, dim)?),
        };
        let reader = match &tables.linelist {
            Some(lines) => Box::new(Subset::new(reader, lines)?),
            None => reader,
        };
        let mut source = Self {
            path: path.to_path_buf(),
            format,
            reader,
            labels: None,
            sizes: None,
            options,
        };
        if format != Format::Official {
            // Official files are opened with theirs.
            let sizes = source.options.sizes.clone().or(tables.hw);
            source.labels = source
                .options
                .labels
                .as_deref()
                .map(LabelFile::open)
                .transpose()?;
            source.sizes = sizes.as_deref().map(SizeTable::open).transpose()?;
        }
        Ok(source)
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appearance values per region.
    pub fn feature_dim(&self) -> usize {
        self.options.feature_dim
    }

    /// What a user should know of how the files were understood.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.reader.notes();
        if let Some(labels) = &self.labels {
            notes.push(format!("tags from {}", labels.path().display()));
        }
        notes
    }

    /// Size of all files in bytes.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.stat()?.1)
    }

    /// Number of files, their bytes, and the newest modification in nanoseconds.
    fn stat(&self) -> Result<(usize, u64, u128)> {
        let files = self.files();
        let (mut bytes, mut newest) = (0, 0);
        for file in &files {
            let meta = fs::metadata(file).map_err(DatasetError::io("read", file))?;
            bytes += meta.len();
            let modified = meta.modified().ok();
            let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            newest = newest.max(since.map_or(0, |since| since.as_nanos()));
        }
        Ok((files.len(), bytes, newest))
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.reader.files();
        files.extend(self.labels.iter().map(|l| l.path().to_path_buf()));
        files.extend(self.sizes.iter().map(|s| s.path().to_path_buf()));
        files
    }

    /// What must be the same for an import to go on.
    pub(super) fn identity(&self) -> Result<Identity> {
        let (files, bytes, newest) = self.stat()?;
        let path = fs::canonicalize(&self.path).map_err(DatasetError::io("read", &self.path))?;
        let entries = [
            ("source", path.display().to_string()),
            ("format", self.format.name().into()),
            ("files of the source", files.to_string()),
            ("bytes of the source", bytes.to_string()),
            ("last change of the source", newest.to_string()),
            ("feature_dim", self.options.feature_dim.to_string()),
            ("tags", format!("{:?}", self.options.tags)),
            ("labels", show(self.options.labels.as_deref())),
            ("sizes", show(self.options.sizes.as_deref())),
            ("features", show(self.options.features.as_deref())),
            ("classes", show(self.options.classes.as_deref())),
            ("attributes", show(self.options.attributes.as_deref())),
            ("tags_only", self.options.tags_only.to_string()),
        ];
        Ok(entries
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect())
    }
}

/// Official feature files: by themselves, named by a YAML file, or given with `--features`.
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
fn open_vinvl(
    path: &Path,
    yaml: bool,
    tables: &Tables,
    options: &SourceOptions,
) -> Result<VinvlSource> {
    let table = match (&tables.label, yaml) {
        (Some(labels), _) => labels,
        (None, false) => path,
        (None, true) => {
            let found = "it names neither features nor labels";
            let fix = "add `feature: FILE.tsv` or `label: FILE.tsv`";
            return Err(DatasetError::malformed(path, found, fix));
        }
    };
    let (dim, tags) = (options.feature_dim, options.tags);
    VinvlSource::open(table, dim, tags, options.tags_only, options.repeated_keys)
}

fn show(path: Option<&Path>) -> String {
    path.map_or("none".into(), |path| path.display().to_string())
}

impl FeatureSource for Source {
    fn len(&self) -> usize {
        self.reader.len()
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        let mut image = self.reader.read(row)?;
        if let Some(labels) = &self.labels
            && let Some(row) = labels.keys().find(&image.key)
        {
            image.take_labels(labels.read(row, self.options.tags)?);
        }
        if let Some(sizes) = &self.sizes
            && let Some(size) = sizes.find(&image.key)?
        {
            image.size = Some(size);
        }
        Ok(image)
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        self.reader.locate(row, defect)
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files()
    }
}
