//! Finds out what lies at a path, and opens it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::detect::detect;
use super::journal::Identity;
use super::lxmert::LxmertSource;
use super::official::OfficialSource;
use super::per_image::{Form, PerImage};
use super::pt::PtSource;
use super::source::{FeatureSource, SourceImage};
use super::subset::Subset;
use super::vinvl::VinvlSource;
use super::vocabulary::Vocabularies;
use super::yaml::Tables;
use crate::defect::Defect;
use crate::error::{DatasetError, Result};
use crate::official::{
    FEATURE_DIM, LabelFile, OfficialFiles, OfficialImages, OfficialOptions, PartFiles, SizeTable,
    TagChoice,
};

/// A published form of region features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Official feature tables, single or in chunks.
    Official,
    /// Tables of the VinVL tools: objects with their features, or objects alone.
    Vinvl,
    /// Tables of LXMERT or of bottom-up attention.
    Lxmert,
    /// One `.npz` archive per image, of bottom-up attention.
    Npz,
    /// One `.npy` array per image.
    Npy,
    /// One safetensors file per image.
    Safetensors,
    /// A dictionary of tensors, saved by PyTorch.
    Pt,
}

impl Format {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Vinvl => "vinvl",
            Self::Lxmert => "lxmert",
            Self::Npz => "npz",
            Self::Npy => "npy",
            Self::Safetensors => "safetensors",
            Self::Pt => "pt",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// More values than any detector gives.
const MAX_FEATURE_DIM: usize = 1 << 16;

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The format; found out by default.
    pub format: Option<Format>,
    /// Appearance values per region; [`FEATURE_DIM`] by default.
    pub feature_dim: usize,
    /// Label TSV with the object tags.
    pub labels: Option<PathBuf>,
    /// Image sizes: an `hw.tsv`, or a JSON object.
    pub sizes: Option<PathBuf>,
    /// Feature file of a data set whose own tables have objects alone.
    pub features: Option<PathBuf>,
    /// Names of the classes that [`Format::Lxmert`] and [`Format::Npz`] give by number.
    pub classes: Option<PathBuf>,
    /// Names of the attributes that [`Format::Lxmert`] gives by number.
    pub attributes: Option<PathBuf>,
    /// Which objects of label rows are the tags.
    pub tags: TagChoice,
    /// Import the objects of [`Format::Vinvl`] tables without features; off by default.
    pub tags_only: bool,
    /// Open a file in which a key occurs twice; the importer will refuse the second.
    pub repeated_keys: bool,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            format: None,
            feature_dim: FEATURE_DIM,
            labels: None,
            sizes: None,
            features: None,
            classes: None,
            attributes: None,
            tags: TagChoice::default(),
            tags_only: false,
            repeated_keys: false,
        }
    }
}

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
        let dim = options.feature_dim;
        if dim == 0 || dim > MAX_FEATURE_DIM {
            let found = format!("features of {dim} values were asked for");
            let fix = "give a --feature-dim from 1 to 65536";
            return Err(DatasetError::malformed(path, found, fix));
        }
        let candidate = detect(path, options.format, dim)?;
        let yaml = candidate
            .path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml");
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
        let reader = match &tables.lines {
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
            let sizes = source.options.sizes.clone().or(tables.sizes);
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

impl SourceOptions {
    /// Refuses what a format has no use for, rather than ignore it.
    fn check(&self, path: &Path, format: Format) -> Result<()> {
        let numbered = matches!(format, Format::Lxmert | Format::Npz);
        let unused = [
            (
                "--features",
                self.features.is_some() && format != Format::Official,
            ),
            ("--tags-only", self.tags_only && format != Format::Vinvl),
            ("--classes", self.classes.is_some() && !numbered),
            (
                "--attributes",
                self.attributes.is_some() && format != Format::Lxmert,
            ),
        ];
        match unused.iter().find(|(_, unused)| *unused) {
            None => Ok(()),
            Some((flag, _)) => {
                let found = format!("{flag} is given, which the format {format} has no use for");
                Err(DatasetError::malformed(path, found, "leave it out"))
            }
        }
    }
}

/// Official feature files: by themselves, named by a YAML file, or given with `--features`.
fn open_official(
    path: &Path,
    yaml: bool,
    tables: &Tables,
    options: &SourceOptions,
) -> Result<OfficialSource> {
    let files = match options.features.as_ref().or(tables.features.as_ref()) {
        Some(features) => {
            let mut part = PartFiles::beside(features)?;
            // A table of objects that features are given to has their labels.
            let table = (!yaml).then(|| path.to_path_buf());
            part.labels = tables.labels.clone().or(table).or(part.labels);
            part.sizes = tables.sizes.clone().or(part.sizes);
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
    let table = match (&tables.labels, yaml) {
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
